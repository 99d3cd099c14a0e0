"""Captured graphs: compile, export and ONNX, with height and width left open."""

import importlib.util
import logging
import warnings
from typing import Any

import torch

from visionpe.checking.result import Verdict, failed, ok, skipped
from visionpe.checking.subject import Size, Subject, distance, flat, reason, run
from visionpe.frame import Frame

_CLOSE = 1e-5


def compiled(subject: Subject) -> Verdict:
    """`torch.compile(fullgraph=True)` gives the same values, and two graphs at most for 6 sizes.

    Sizes without a side of one cell: torch makes a graph of its own for each such side.
    """
    sizes = _open_sizes(subject, 6)
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    module = subject.fresh()
    call = torch.compile(module, fullgraph=True, backend="eager")
    worst = 0.0
    try:
        with _quiet():
            for size in sizes:
                args = subject.args(size)
                worst = max(worst, distance(run(call, args), run(module, args)))
    except Exception as error:
        return failed(f"does not compile as one graph: {reason(error)}")
    finally:
        graphs = int(torch._dynamo.utils.counters["stats"]["unique_graphs"])
        torch._dynamo.reset()
    figures = {"graphs": graphs, "sizes": len(sizes), "difference": worst}
    if worst > _CLOSE:
        return failed("compiled, it gives other values", **figures)
    if graphs > 2:
        return failed(f"compiles {graphs} graphs for {len(sizes)} sizes", **figures)
    return ok(f"{graphs} graphs for {len(sizes)} sizes", **figures)


def export(subject: Subject) -> Verdict:
    """`torch.export` with open height and width gives the same values at another size."""
    return _export(subject, used=False)


def export_after_use(subject: Subject) -> Verdict:
    """The same for a module that was called before, at the size of the export."""
    return _export(subject, used=True)


def onnx(subject: Subject) -> Verdict:
    """The ONNX form, made in eval mode without gradients, gives the same values at another size."""
    for package in ("onnx", "onnxscript", "onnxruntime"):
        if importlib.util.find_spec(package) is None:
            return skipped(f"{package} is not installed")
    sizes = _open_sizes(subject)
    if len(sizes) < 3:
        return skipped("three sizes are needed, fewer are accepted")
    if _fixed(subject, sizes):
        return skipped("no argument changes with the size")
    import onnxruntime

    module = subject.fresh()
    try:
        with _quiet(), torch.no_grad():
            program = torch.onnx.export(_exported(subject), (), dynamo=True, verbose=False)
        assert program is not None
        session = onnxruntime.InferenceSession(program.model_proto.SerializeToString())
        args = subject.args(sizes[2])
        names = [node.name for node in session.get_inputs()]
        feed = {n: a.numpy() for n, a in zip(names, flat(args), strict=True)}
        got = [torch.from_numpy(out) for out in session.run(None, feed)]
    except Exception as error:
        return failed(f"has no ONNX form: {reason(error)}")
    gap = distance(got, run(module, args))
    figures = {"difference": gap}
    if gap > _CLOSE:
        return failed(f"as ONNX, it gives other values at {_named(sizes[2])}", **figures)
    return ok(f"the same at {_named(sizes[2])}", **figures)


def _export(subject: Subject, *, used: bool) -> Verdict:
    sizes = _open_sizes(subject)
    if len(sizes) < 3:
        return skipped("three sizes are needed, fewer are accepted")
    if _fixed(subject, sizes):
        return skipped("no argument changes with the size")
    framed = subject.takes_frame and subject.layout == "bchw" and not used
    worst = 0.0
    for frame in (False, True) if framed else (False,):
        calls = [_call(subject, size, frame=frame) for size in sizes]
        words = " with a frame" if frame else ""
        try:
            with _quiet(), torch.no_grad():
                program = _exported(subject, frame=frame, used=used)
        except Exception as error:
            return failed(f"does not export with open sizes{words}: {reason(error)}")
        try:
            got = run(program.module(), calls[2])
        except Exception as error:
            return failed(f"exported{words}, it refuses {_named(sizes[2])}: {reason(error)}")
        gap = distance(got, run(subject.fresh(), calls[2]))
        worst = max(worst, gap)
        if gap > _CLOSE:
            return failed(
                f"exported{words} at {_named(sizes[0])}, it gives other values at "
                f"{_named(sizes[2])}",
                difference=gap,
            )
    return ok(f"exported at {_named(sizes[0])}, the same at {_named(sizes[2])}", difference=worst)


def _call(subject: Subject, size: Size, *, frame: bool) -> tuple[Any, ...]:
    args = subject.args(size)
    return (*args, Frame.identity(*size)) if frame else args


def _exported(subject: Subject, *, frame: bool = False, used: bool = False) -> Any:
    """The program of a fresh module; what differs between two calls is left open."""
    if (frame, used) not in subject.programs:
        first, other = (_call(subject, size, frame=frame) for size in _open_sizes(subject, 2))
        module = subject.fresh()
        if used:
            run(module, first)
        others = torch.export.AdditionalInputs()
        others.add(other)
        program = torch.export.export(module, first, dynamic_shapes=others)
        subject.programs[frame, used] = program
    return subject.programs[frame, used]


def _fixed(subject: Subject, sizes: list[Size]) -> bool:
    """Whether the arguments have the same shapes at every size."""
    shapes = [[part.shape for part in flat(subject.args(size))] for size in sizes]
    return all(shape == shapes[0] for shape in shapes)


def _open_sizes(subject: Subject, count: int = 3) -> list[Size]:
    """Sizes that differ in the number of cells; the second from the first in both axes.

    The third is the other way up, if one is, and the largest of those: a graph may hold which side
    is the longer, or that there are no more cells than in an earlier call.
    """
    h, w = first = subject.several(1)[0]
    chosen = [first]
    for size in subject.several(100):
        other_cells = all(size[0] * size[1] != s[0] * s[1] for s in chosen)
        if other_cells and (len(chosen) > 1 or (size[0] != h and size[1] != w)):
            chosen.append(size)
    rest = sorted(chosen[2:], key=lambda s: ((s[0] < s[1]) == (h < w), -s[0] * s[1]))
    return [*chosen[:2], *rest][:count]


def _named(size: Size) -> str:
    return f"{size[0]}x{size[1]}"


class _quiet(warnings.catch_warnings):  # noqa: N801 # a context manager, used as a word
    """Without the warnings that capturing a graph gives about torch itself."""

    def __enter__(self) -> Any:
        entered = super().__enter__()
        warnings.simplefilter("ignore")
        self.level = logging.root.manager.disable
        logging.disable(logging.WARNING)
        return entered

    def __exit__(self, *details: Any) -> None:
        logging.disable(self.level)
        super().__exit__(*details)
