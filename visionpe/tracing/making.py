"""Sites, made of what the two runs found."""

from dataclasses import replace
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from visionpe.places import Places
from visionpe.tracing.calls import Attended
from visionpe.tracing.codes import squash, varies
from visionpe.tracing.lattices import Lattice, fit
from visionpe.tracing.layouts import layout
from visionpe.tracing.rules_product import Convolved
from visionpe.tracing.sites import Kind, Scattered, Site

_CLOSE = 1e-3  # cells: places of logits are rounded


class Output(NamedTuple):
    """What a module returned: its shape, and the places in it."""

    module: str
    shape: tuple[int, ...]
    places: Tensor


def output_site(y: Output, x: Output, extent: tuple[int, int]) -> Site | None:
    """The site of a module's output; None: it is not at places."""
    lost = y.places.isnan() | x.places.isnan()
    if bool(lost.all()):
        return None
    held = layout(y.places, x.places, y.shape)
    where = torch.broadcast_tensors(y.places, x.places)
    lattice = fit(where[0][~lost], where[1][~lost], extent)
    scattered = None
    if held is not None and held.windows is None:
        order = _order(where, lost, lattice)
        if order is None:
            lattice = None  # of fewer cells than elements
        elif lattice is not None and order != tuple(range(len(order))):
            scattered = Scattered(lattice, order) if held.tokens is not None else None
            lattice = None
    if held is None:
        shared = any(varies(y.places, d) and varies(x.places, d) for d in range(len(y.shape)))
        kind: Kind = "tokens" if shared else "map"
        return Site(y.module, kind, y.shape, None, lattice)
    kind = "tokens" if "L" in held.name else "map"
    prefix = suffix = 0
    windows, window = 1, None
    if held.windows is not None:
        windows = y.shape[held.windows]
        one = [t.select(held.windows, min(1, t.shape[held.windows]) - 1) for t in where]
        whole = ~(one[0].isnan() | one[1].isnan())
        cell = fit(one[0][whole], one[1][whole], extent)
        window = (cell.h, cell.w) if cell else None
    if held.tokens is not None:
        # Tokens last: ... L
        rows = (
            lost.expand(where[0].shape).movedim(held.tokens, -1).reshape(-1, y.shape[held.tokens])
        )
        ends = _ends(rows)
        if ends is None:
            return Site(y.module, kind, y.shape, None, lattice)
        prefix, suffix = ends
    return Site(
        y.module,
        kind,
        y.shape,
        held.name,
        lattice,
        scattered,
        prefix,
        suffix,
        windows,
        window,
    )


def _order(where: list[Tensor], lost: Tensor, lattice: Lattice | None) -> tuple[int, ...] | None:
    """Which cell of the lattice, row by row, each placed element is; None: not each one once."""
    if lattice is None:
        return None
    rows, columns = (
        ((t[~lost] - first) / step).round()
        for t, first, step in zip(where, lattice.offset, lattice.spacing, strict=True)
    )
    cells = (rows * lattice.w + columns).long()
    if cells.numel() != lattice.h * lattice.w or cells.unique().numel() != cells.numel():
        return None
    return tuple(cells.tolist())


def conv_site(y: Convolved, x: Convolved, extent: tuple[int, int]) -> Site | None:
    """The site of a convolution's input; None: it is not at places."""
    found = output_site(
        Output(y.module, y.shape, y.places), Output(x.module, x.shape, x.places), extent
    )
    if found is None or len(y.kernel) != 2:
        return None
    return replace(found, kind="conv", kernel=y.kernel, stride=y.stride, transposed=y.transposed)


def attention_site(y: Attended, x: Attended, extent: tuple[int, int]) -> Site | None:
    """The site of a call of attention; None: it is not one to places."""
    if y.keys is None or x.keys is None:
        return None
    pairs = [(y.keys, x.keys)]
    placed = y.queries is not None and x.queries is not None
    if y.queries is not None and x.queries is not None:
        pairs.insert(0, (y.queries, x.queries))
    tensors = [t for pair in pairs for t in pair]
    lead = torch.broadcast_shapes(y.lead, *(t.shape[:-1] for t in tensors))
    heads, axis, folded = (y.heads, None, 1) if y.heads else _heads(tensors, lead)
    points = [_windows(*pair, lead, axis, folded) for pair in pairs]  # queries, keys
    lattices = [_lattice(p, extent) for p in points]
    cell = lattices[0].spacing if lattices[0] else (1.0, 1.0)
    places = [_places(p, cell, extent) for p in points]
    first = places[0]
    return Site(
        y.module,
        "attention",
        (*lead, tensors[0].shape[-1]),
        lattice=lattices[0],
        prefix=first.prefix if first else 0,
        suffix=first.suffix if first else 0,
        windows=len(points[0]),
        window=row_by_row(first.positions) if first else None,
        call=y.call,
        number=y.number,
        product=y.product,
        heads=heads,
        head_dim=y.width,
        head_axis=axis,
        queries=first if placed else None,
        keys=places[-1],
        key_lattice=lattices[-1],
    )


def _heads(tensors: list[Tensor], lead: tuple[int, ...]) -> tuple[int, int | None, int]:
    """How many heads there are, the dimension that counts them, and how many are folded in one."""
    full = [t.expand(*lead, t.shape[-1]) for t in tensors]
    still = [d for d, n in enumerate(lead) if n > 1 and not any(varies(t, d) for t in full)]
    if still and still[-1] > 0:
        return lead[still[-1]], still[-1] - len(lead) - 2, 1
    if still:
        return lead[0], None, lead[0]  # the first dimension is the batch's: heads within it
    if lead and lead[0] > 1:
        return (run := _repeats(full, lead[0])), None, run
    return 1, None, 1


def _repeats(tensors: list[Tensor], n: int) -> int:
    """How often each window is repeated one after the other in the first dimension: its heads."""
    same = torch.ones(n - 1, dtype=torch.bool)
    for t in tensors:
        rows = t.reshape(n, -1).nan_to_num(-1.0)
        same &= (rows[1:] == rows[:-1]).all(1)
    if not bool(same.any()):
        return 1
    run = int((~same).nonzero()[0]) + 1 if not bool(same.all()) else n
    return run if n % run == 0 else 1


def _windows(y: Tensor, x: Tensor, lead: tuple[int, ...], axis: int | None, folded: int) -> Tensor:
    """`windows n 2`: one row for each window, whatever the number of heads."""
    points = torch.stack([t.expand(*lead, t.shape[-1]) for t in (y, x)], -1)  # ... n 2
    if axis is not None:
        points = points.select(axis, 0)
    if folded > 1:
        points = points[::folded]
    points = points.reshape(-1, *points.shape[-2:])
    return points if varies(points, 0) else points[:1]


def _lattice(points: Tensor, extent: tuple[int, int]) -> Lattice | None:
    y, x = points[~points.isnan().any(-1)].unbind(-1)
    return fit(y, x, extent)


def _places(points: Tensor, cell: tuple[float, float], extent: tuple[int, int]) -> Places | None:
    """In cells, the first of an image that they tile at 0; None: tokens without a place between."""
    ends = _ends(points.isnan().any(-1))
    if ends is None:
        return None
    prefix, suffix = ends
    size = points.new_tensor(cell)
    placed = (points[:, prefix : points.shape[1] - suffix] / size - 0.5).float()
    whole = (points.new_tensor(extent) / size).float().expand(len(points), 2)
    return Places(placed, whole, prefix, suffix, _one_apart(placed))


def _ends(lost: Tensor) -> tuple[int, int] | None:
    """How many tokens at the beginning and the end have no place, if that is all that have none."""
    if not bool((lost == lost[:1]).all()):
        return None
    kept = (~lost[0]).nonzero().flatten()
    if not kept.numel():
        return None
    first, last = int(kept[0]), int(kept[-1])
    return (first, lost.shape[1] - 1 - last) if kept.numel() == last + 1 - first else None


def row_by_row(points: Float[Tensor, "windows n 2"]) -> tuple[int, int] | None:
    """Rows and columns of windows whose cells all go row by row; None: they do not.

    >>> row_by_row(torch.tensor([[[0.0, 0.0], [0.0, 8.0], [4.0, 0.0], [4.0, 8.0]]]))
    (2, 2)
    """
    y = points[..., 0]
    n = points.shape[1]
    step = (y[0, 1:] != y[0, :-1]).nonzero()
    w = int(step[0]) + 1 if step.numel() else n
    if n % w:
        return None
    block = points.reshape(-1, n // w, w, 2)
    same_y = bool((block[..., 0] == block[:, :, :1, 0]).all())
    same_x = bool((block[..., 1] == block[:, :1, :, 1]).all())
    return (n // w, w) if same_y and same_x else None


def _one_apart(points: Float[Tensor, "windows n 2"]) -> tuple[int, int] | None:
    """What `Places.shape` promises: one map, row by row, its cells one apart."""
    shape = row_by_row(points) if len(points) == 1 else None
    if shape is None:
        return None
    cells = points[0].unflatten(0, shape)
    steps = torch.cat([cells[:, 0, 0].diff(), cells[0, :, 1].diff()])
    return shape if bool(((steps - 1).abs() < _CLOSE).all()) else None


def squashed(module: str, output: Tensor) -> Output:
    """A module's output, kept as small as it can be."""
    return Output(module, tuple(output.shape), squash(output.detach()).clone())
