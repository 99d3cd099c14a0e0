"""Interpolation in tables: which entries a place reads along an axis, and with what weights.

Linear, and cubic convolution with `a = -3/4` as torch, OpenCV and thus all ViT code have it. Beyond
the ends the first and last entry go on for ever.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from visionpe.encodings.precision import exactly

Taps = tuple[Int[Tensor, "*s taps"], Float[Tensor, "*s taps"]]
Kernel = Callable[[Tensor, int], Taps]

_STEPS = 2.0**40  # an entry's parts that places are rounded to


def linear_taps(entry: Float[Tensor, "*s"], n: int) -> Taps:
    """The two entries around `entry` (0 to `n - 1`, whole or not), with their weights."""
    low, t = _split(entry, n)
    return _clamped(low, range(2), n), torch.stack([1 - t, t], -1)


def cubic_taps(entry: Float[Tensor, "*s"], n: int) -> Taps:
    """The four entries around `entry`, with the weights of the cubic convolution."""
    a = -0.75
    low, t = _split(entry, n)
    r = torch.stack([t, 1 - t], -1)
    rest = r.flip(-1)  # 1 - r
    near = ((1 - (a + 2) * r) * r + 1) * rest  # distances r, below 1
    far = a * r * rest * rest  # 1 + r, from 1 to 2
    weights = torch.cat([far[..., :1], near, far[..., 1:]], -1)
    return _clamped(low, range(-1, 3), n), weights


def sample_axis(table: Float[Tensor, "d n"], entry: Float[Tensor, "*s"]) -> Float[Tensor, "d *s"]:
    """A table of one axis read linearly at fractional entries."""
    code = None
    for index, weight in _each(linear_taps(entry, table.shape[-1])):
        part = table.index_select(-1, index.flatten()) * weight.flatten().to(table.dtype)
        code = part if code is None else code + part
    assert code is not None
    return code.reshape(table.shape[0], *entry.shape)


def sample_plane(
    table: Float[Tensor, "d rows columns"],
    y: Float[Tensor, "*s"],
    x: Float[Tensor, "*s"],
    kernel: Kernel,
) -> Float[Tensor, "d *s"]:
    """A table of two axes read at fractional entries `(y, x)`."""
    rows, columns = table.shape[-2:]
    flat = table.flatten(-2)
    across = _each(kernel(x, columns))
    code = None
    for row, row_weight in _each(kernel(y, rows)):
        for column, column_weight in across:
            weight = (row_weight * column_weight).flatten().to(table.dtype)
            part = flat.index_select(-1, (row * columns + column).flatten()) * weight
            code = part if code is None else code + part
    assert code is not None
    return code.reshape(table.shape[0], *y.shape)


def sample_lattice(
    table: Float[Tensor, "d rows columns"],
    y: Float[Tensor, " h"],
    x: Float[Tensor, " w"],
    kernel: Kernel,
) -> Float[Tensor, "d h w"]:
    """`sample_plane` where rows and columns cross: one axis, then the other."""
    down, along = _matrices(table, y, x, kernel)
    with exactly(table.device):
        return down @ (table @ along.mT)  # d rows w -> d h w


def sample_tokens(
    table: Float[Tensor, "d rows columns"],
    y: Float[Tensor, "*b h"],
    x: Float[Tensor, "*b w"],
    kernel: Kernel,
) -> Float[Tensor, "*b n d"]:
    """`sample_lattice` as tokens, row by row, their channels side by side in memory."""
    d, rows, columns = table.shape
    down, along = _matrices(table, y, x, kernel)
    turned = table.permute(1, 2, 0)  # rows columns d
    with exactly(table.device):
        if down.dim() == 2:  # products read it as it lies: turning it costs more than they do
            wide = torch.bmm(along.expand(rows, -1, -1), turned)  # rows w d
            return (down @ wide.flatten(1)).reshape(-1, d)
        tall = down @ turned.reshape(rows, columns * d)  # *b h (columns d)
        code: Tensor = along[..., None, :, :] @ tall.unflatten(-1, (columns, d))  # *b h w d
    return code.flatten(-3, -2)


def lattice_axes(
    points: Float[Tensor, "*b n 2"], shape: tuple[int, int]
) -> tuple[Float[Tensor, "*b h"], Float[Tensor, "*b w"]]:
    """What the rows, and what the columns, of a lattice of `shape` have in common."""
    lattice = points.unflatten(-2, shape)  # *b h w 2
    return lattice[..., :, 0, 0], lattice[..., 0, :, 1]


def entries(coordinate: Float[Tensor, "*s"], n: int) -> Float[Tensor, "*s"]:
    """Coordinates in [-1, 1] as fractional entries of a table of `n` cells, at their centres."""
    return coordinate * (n / 2) + (n - 1) / 2


def _matrices(
    table: Float[Tensor, "d rows columns"],
    y: Float[Tensor, "*b h"],
    x: Float[Tensor, "*b w"],
    kernel: Kernel,
) -> tuple[Float[Tensor, "*b h rows"], Float[Tensor, "*b w columns"]]:
    """The weights of all entries along both axes, those that are not read with zeros.

    A product with them is one pass over the result, not one a tap, forward and backward.
    """
    rows, columns = table.shape[-2:]
    if rows == columns:  # together: for few places the number of calls is the cost
        both = _matrix(torch.cat([y, x], -1), rows, kernel).to(table.dtype)
        return both[..., : y.shape[-1], :], both[..., y.shape[-1] :, :]
    down, along = _matrix(y, rows, kernel), _matrix(x, columns, kernel)
    return down.to(table.dtype), along.to(table.dtype)


def _matrix(entry: Float[Tensor, "*b s"], n: int, kernel: Kernel) -> Float[Tensor, "*b s n"]:
    index, weight = kernel(entry, n)
    # Entries repeated beyond an end add up.
    return weight.new_zeros(*entry.shape, n).scatter_add(-1, index, weight)


def _split(entry: Tensor, n: int) -> tuple[Tensor, Tensor]:
    entry = entry.clamp(-2, n + 1)  # all the same beyond, and infinity has no whole number
    # A place on an entry reads just that entry, to the last bit; gradients pass as if unrounded.
    entry = entry + ((entry * _STEPS).round() / _STEPS - entry).detach()
    low = entry.floor()
    return low.long(), entry - low


def _clamped(low: Tensor, steps: range, n: int) -> Tensor:
    around = torch.arange(steps.start, steps.stop, device=low.device)
    return (low[..., None] + around).clamp(0, n - 1)


def _each(taps: Taps) -> list[tuple[Tensor, Tensor]]:
    """The taps one by one, each `*s`."""
    index, weight = taps
    return list(zip(index.unbind(-1), weight.unbind(-1), strict=True))
