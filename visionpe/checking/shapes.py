"""Sizes and shapes: not square, one cell, odd widths, no samples, channels last."""

import torch
from torch import Tensor

from visionpe.checking.result import Verdict, failed, ok, skipped
from visionpe.checking.subject import Size, Subject, distance, reason, run, seen

_FLAT, _VARIES = 1e-6, 1e-3  # along an axis, a channel does not vary; it does
_TYPED = (ValueError, TypeError, RuntimeError)  # torch's own operators raise the last


def rectangular(subject: Subject) -> Verdict:
    """Maps that are not square work, and height and width keep their roles."""
    module = subject.fresh()
    if subject.layout in ("bnc", "q", "qk"):
        return skipped("tokens have one axis")
    try:
        wide, tall = (run(module, subject.args(size)) for size in _pair(subject))
    except Exception as error:
        return failed(f"refuses maps that are not square: {reason(error)}")
    if subject.layout == "attention":
        gap = distance(tall, wide)
        if gap == 0:
            return failed("a wide lattice and a tall one give one result", difference=gap)
        return ok("the shape of the lattice reaches the result", difference=gap)
    if subject.layout == "inputs":
        return ok("works at h != w")
    if subject.sizes is None:
        return _axes(subject)
    for size in _pair(subject):
        problem = _misshapen(subject, run(module, subject.args(size))[0], size)
        if problem:
            return failed(problem)
    return ok("works at h != w")


def _axes(subject: Subject) -> Verdict:
    """Which axes each channel varies along must not depend on the size; nor y on the width."""
    patterns, lines = {}, {}
    for size in ((6, 6), (5, 7), (7, 5), (5, 9), (8, 7)):
        module = subject.fresh()
        args = _constant(subject, size)
        out = run(module, args)[0]
        problem = _misshapen(subject, out, size)
        if problem:
            return failed(problem)
        grid = subject.as_map(out)
        assert grid is not None
        patterns[size] = torch.stack([_variation(grid, -2), _variation(grid, -1)])
        lines[size] = grid[0]
    for size, pattern in patterns.items():
        # A wave may be the same in all cells of some size; but not turn from one axis to the other.
        flat, varies = patterns[6, 6] < _FLAT, patterns[6, 6] > _VARIES
        turned = flat & (pattern > _VARIES) & varies.flip(0)
        wrong = turned.any(0).nonzero().flatten().tolist()
        if wrong:
            return failed(
                f"channel {wrong[0]} varies along other axes at {size[0]}x{size[1]} than at 6x6: "
                "are h and w swapped?",
                channels=len(wrong),
            )
    rows, columns = patterns[6, 6] > _FLAT
    only_y, only_x = rows & ~columns, columns & ~rows
    along_y = _spread(lines[5, 7][only_y, :, 0], lines[5, 9][only_y, :, 0])
    along_x = _spread(lines[5, 7][only_x, 0], lines[8, 7][only_x, 0])
    figures = {"varies along y": int(rows.sum()), "varies along x": int(columns.sum())}
    if not subject.aspect and max(along_y, along_x) > 1e-5:
        axis, other = ("y", "width") if along_y > 1e-5 else ("x", "height")
        return failed(
            f"the code along {axis} changes with the map's {other}: is {axis} divided by the other "
            "axis' length? (`aspect=True` if it is meant)",
            change=max(along_y, along_x),
            **figures,
        )
    return ok(
        f"{figures['varies along y']} channels vary along y, "
        f"{figures['varies along x']} along x, at every size",
        **figures,
    )


def single_cells(subject: Subject) -> Verdict:
    """One row, one column and one cell give finite numbers."""
    module = subject.fresh()
    sizes = [(1, 6), (6, 1), (1, 1)]
    if subject.sizes is not None:
        sizes = [size for size in subject.sizes if min(size) == 1]
        if not sizes:
            return skipped("`sizes` has no single row or column")
    for size in sizes:
        try:
            outs = run(module, subject.args(size))
        except Exception as error:
            return failed(f"refuses {size[0]}x{size[1]}: {reason(error)}")
        bad = sum(int((~out.isfinite()).sum()) for out in outs)
        if bad:
            return failed(f"{bad} values are not finite at {size[0]}x{size[1]}", values=bad)
        problem = _misshapen(subject, outs[0], size)
        if problem:
            return failed(problem)
    return ok("finite at " + ", ".join(f"{h}x{w}" for h, w in sizes))


def odd_width(subject: Subject) -> Verdict:
    """An odd number of channels works, or is refused with an error that says so."""
    if subject.layout == "inputs":
        return skipped("`inputs` knows the width alone")
    name = "channels" if subject.layout in ("bchw", "bhwc", "bnc") else "head_dim"
    width = getattr(subject, name)
    odd = width + 1 if width % 2 == 0 else width
    from visionpe.checking.layouts import inputs_of

    inputs = inputs_of(
        subject.layout,
        **{
            "channels": subject.channels,
            "heads": subject.heads,
            "head_dim": subject.head_dim,
            name: odd,
        },
    )
    h, w = subject.base
    try:
        outs = run(subject.fresh(), inputs(h, w, 2, torch.float32, torch.device("cpu")))
    except _TYPED as error:
        return ok(f"{odd} {name}: refused, {reason(error)}", width=odd)
    except Exception as error:
        return failed(f"{odd} {name}: breaks with {reason(error)}", width=odd)
    bad = sum(int((~out.isfinite()).sum()) for out in outs)
    if bad:
        return failed(f"{odd} {name}: {bad} values are not finite", width=odd)
    problem = _misshapen(subject, outs[0], subject.base)
    return failed(f"{odd} {name}: {problem}") if problem else ok(f"{odd} {name} work", width=odd)


def empty_batch(subject: Subject) -> Verdict:
    """A batch without samples gives an empty result, or is refused with an error that says so."""
    try:
        outs = run(subject.fresh(), subject.args(batch=0))
    except (ValueError, TypeError) as error:
        return ok(f"refused, {reason(error)}")
    except Exception as error:
        return failed(f"breaks with {reason(error)}")
    return ok(f"gives {seen(outs)}")


def channels_last(subject: Subject) -> Verdict:
    """A map in the memory format `channels_last` gives the same values."""
    if subject.layout not in ("bchw", "attention"):
        return skipped("the layout has no memory formats")
    module, args = subject.fresh(), subject.args()
    turned = tuple(
        part.contiguous(memory_format=torch.channels_last)
        if isinstance(part, Tensor) and part.dim() == 4
        else part
        for part in args
    )
    gap = distance(run(module, turned), run(module, args))
    if gap > 1e-5:
        return failed("other values than for a contiguous map", difference=gap)
    return ok(difference=gap)


def _pair(subject: Subject) -> tuple[Size, Size]:
    """A wide and a tall map."""
    if subject.sizes is None:
        return (5, 7), (7, 5)
    wide = [s for s in subject.sizes if s[0] < s[1]] or [subject.base]
    tall = [s for s in subject.sizes if s[0] > s[1]] or wide
    return max(wide, key=min), max(tall, key=min)


def _constant(subject: Subject, size: Size) -> tuple[Tensor, ...]:
    """One and the same random vector in every cell."""
    (cell,) = subject.args((1, 1))
    h, w = size
    shape = (-1, -1, h, w) if subject.layout == "bchw" else (-1, h, w, -1)
    return (cell.expand(shape).contiguous(),)


def _variation(grid: Tensor, axis: int) -> Tensor:
    """How far each channel varies along an axis, in units of the largest value."""
    spread = grid.amax(axis) - grid.amin(axis)  # b d n
    return spread.amax((0, 2)) / grid.abs().max().clamp(min=1)


def _spread(ours: Tensor, theirs: Tensor) -> float:
    return float((ours - theirs).abs().max()) if ours.numel() else 0.0


def _misshapen(subject: Subject, out: Tensor, size: Size) -> str:
    """What is wrong with the shape of a map's result; nothing: the empty string."""
    grid = subject.as_map(out)
    if grid is None or size[0] == size[1] or tuple(grid.shape[-2:]) != size[::-1]:
        return ""
    return f"{size[0]}x{size[1]} gives {grid.shape[-2]}x{grid.shape[-1]}: are h and w swapped?"
