"""`visionpe.check`: runs the conformance checks on a module, ours or a stranger's."""

import copy
import inspect
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from difflib import get_close_matches
from typing import Any

import torch
from torch import nn

from visionpe.checking import (
    behaviour,
    caches,
    gradients,
    graphs,
    offsets,
    persistence,
    precision,
    shapes,
)
from visionpe.checking.layouts import LAYOUTS, inputs_of, require_widths, takes
from visionpe.checking.result import CheckResult, Finding, Verdict, failed
from visionpe.checking.subject import Attending, Calling, Inputs, Size, Subject, reason, run
from visionpe.encodings.attention import AttentionEncoding
from visionpe.encodings.base import MapEncoding

CHECKS: Mapping[str, Callable[[Subject], Verdict]] = {
    check.__name__: check
    for check in (
        shapes.rectangular,
        shapes.single_cells,
        shapes.odd_width,
        shapes.empty_batch,
        shapes.channels_last,
        offsets.offsets,
        precision.bfloat16_input,
        precision.float16_input,
        precision.bfloat16_module,
        precision.float16_module,
        precision.autocast,
        caches.stale_dtype,
        caches.stale_device,
        caches.stale_size,
        caches.stale_state,
        caches.modes,
        caches.growth,
        caches.batch_copies,
        persistence.meta,
        persistence.meta_after_use,
        persistence.meta_constants,
        persistence.copies,
        gradients.gradients,
        behaviour.inputs_untouched,
        behaviour.own_output,
        behaviour.deterministic,
        graphs.compiled,
        graphs.export,
        graphs.export_after_use,
        graphs.onnx,
    )
}


def check(
    module_or_factory: nn.Module | Callable[[], nn.Module],
    *,
    layout: str | None = None,
    channels: int | None = None,
    heads: int | None = None,
    head_dim: int | None = None,
    inputs: Inputs | None = None,
    method: str = "forward",
    offset: Callable[[int, int], dict[str, Any]] | None = None,
    sizes: Sequence[Size] | None = None,
    no_grad: Iterable[str] = (),
    aspect: bool = False,
    only: Iterable[str] | None = None,
) -> CheckResult:
    """Looks for the faults that position encodings commonly have.

    Runs on the CPU, on copies: the module given is not changed, nor the state of the random
    numbers. `docs/check.md` says what each check is and why.

    Args:
        module_or_factory: a module, or something that makes one when called without arguments; a
            module is copied wherever a fresh one is needed, so give one that was not used yet.
        layout: what a call takes: `bchw`, `bhwc`, `bnc`, `q` or `qk` (queries, or queries and
            keys, `b heads n d`). Not needed for encodings of visionpe, nor with `inputs`.
        channels: of the map or tokens; 8 for encodings of visionpe if left out.
        heads, head_dim: of the queries; what the encoding is made for, else 2 and 16.
        inputs: makes the arguments of a call, `inputs(h, w, batch, dtype, device)`, for a module
            that no layout fits; the same seed must give the same arguments.
        method: what to call instead of the module itself.
        offset: `offset(y, x)`: the keyword arguments that tell a call that its first cell is at
            `(y, x)`; for tokens, `y` is 0.
        sizes: the `(h, w)` that the module accepts, the first not square; any if left out.
        no_grad: parameters that rightly get no gradient in such a call.
        aspect: one axis' code may depend on the other axis' length.
        only: names of checks, if not all.

    Raises:
        TypeError: if there is no module, and nothing that makes one.
        ValueError: if an argument is missing or unknown, or the module cannot be called so.

    >>> from visionpe import Sinusoidal2d
    >>> check(Sinusoidal2d(), only=["stale_size"])["stale_size"].outcome.value
    'ok'
    """
    names = _chosen(only)
    devices = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()
    # Whatever the caller is under: a check asks for gradients, and turns them off, by itself.
    with torch.inference_mode(False), torch.enable_grad(), torch.random.fork_rng(devices=devices):
        make = _maker(module_or_factory)
        subject = _subject(
            make, layout, channels, heads, head_dim, inputs, method, offset, sizes, no_grad, aspect
        )
        return CheckResult(repr(make()), tuple(_finding(name, subject) for name in names))


def _finding(name: str, subject: Subject) -> Finding:
    start = time.perf_counter()
    try:
        verdict = CHECKS[name](subject)
    except Exception as error:  # the fault of the module under check, whatever it is
        verdict = failed(f"raises {reason(error)}")
    return Finding(name, *verdict, seconds=time.perf_counter() - start)


def _chosen(only: Iterable[str] | None) -> list[str]:
    names = list(CHECKS) if only is None else list(only)
    for name in names:
        if name not in CHECKS:
            near = get_close_matches(name, CHECKS, n=1)
            hint = f" Did you mean `{near[0]}`?" if near else ""
            raise ValueError(
                f"`only` must name checks of {', '.join(CHECKS)}, but has {name!r}.{hint}"
            )
    return names


def _maker(module_or_factory: object) -> Callable[[], nn.Module]:
    if isinstance(module_or_factory, nn.Module):
        kept = copy.deepcopy(module_or_factory)
        return lambda: copy.deepcopy(kept)
    name = getattr(module_or_factory, "__name__", type(module_or_factory).__name__)
    if not callable(module_or_factory):
        raise TypeError(
            "`module_or_factory` must be an nn.Module or something that makes one, "
            f"but is {type(module_or_factory).__name__}."
        )
    try:
        made = module_or_factory()
    except TypeError as error:
        raise ValueError(
            f"`module_or_factory` must make a module without arguments, but {name}() gives "
            f"{reason(error)}. Give `lambda: {name}(...)`, or a function that calls it."
        ) from error
    if not isinstance(made, nn.Module):
        raise TypeError(
            f"`module_or_factory` must make an nn.Module, but {name}() gives {type(made).__name__}."
        )
    return module_or_factory


def _subject(
    make: Callable[[], nn.Module],
    layout: str | None,
    channels: int | None,
    heads: int | None,
    head_dim: int | None,
    inputs: Inputs | None,
    method: str,
    offset: Callable[[int, int], dict[str, Any]] | None,
    sizes: Sequence[Size] | None,
    no_grad: Iterable[str],
    aspect: bool,
) -> Subject:
    module = make()
    if not callable(getattr(module, method, None)):
        raise ValueError(
            f"`method` must be a method of {type(module).__name__}, but it has no {method!r}."
        )
    ours = isinstance(module, MapEncoding | AttentionEncoding)
    if inputs is not None:
        layout = "inputs"
    elif isinstance(module, AttentionEncoding) and layout is None:
        layout = "attention"
        heads = heads or module.heads or 2
        head_dim = head_dim or module.head_dim or 16
    elif isinstance(module, MapEncoding) and layout is None:
        layout = "bchw"
    if layout not in (*LAYOUTS, "attention", "inputs") or (layout == "attention" and not ours):
        says = ", ".join(f"`{name}` ({what})" for name, what in LAYOUTS.items())
        raise ValueError(
            f"`layout` must be one of {says}, but is {layout!r}. Or give `inputs`, which makes the "
            "arguments of a call."
        )
    require_widths(layout, ours, channels, heads, head_dim)
    widths = {"channels": channels or 8, "heads": heads or 2, "head_dim": head_dim or 16}
    build = inputs or inputs_of(layout, **widths)
    if method != "forward":
        wrapped: Callable[[], nn.Module] = lambda: Calling(make(), method)  # noqa: E731
    elif layout == "attention":
        wrapped = lambda: Attending(make(), widths["heads"])  # type: ignore[arg-type] # noqa: E731
    else:
        wrapped = make
    takes_frame = "frame" in inspect.signature(getattr(module, method)).parameters
    base, error = (5, 7), None
    for base in list(sizes or ()) or [(5, 7), (6, 6)]:
        subject = Subject(
            make=wrapped,
            layout=layout,
            inputs=build,
            **widths,
            sizes=tuple(sizes) if sizes is not None else None,
            base=base,
            takes_frame=takes_frame,
            offset=offset,
            no_grad=tuple(no_grad),
            aspect=aspect,
        )
        try:
            run(subject.fresh(), subject.args())
        except Exception as caught:
            error = error or caught
            continue
        return subject
    raise ValueError(
        f"`module_or_factory` must take what `layout` says, {takes(layout, widths)}, but raises "
        f"{reason(error) if error else ''}. Say other widths, another `layout`, or `inputs`."
    ) from error
