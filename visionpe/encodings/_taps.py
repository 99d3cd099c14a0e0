"""Interpolation along one axis of a table: which entries a place reads, and with what weights.

Linear, and cubic convolution with `a = -3/4` as torch, OpenCV and thus all ViT code have it. Beyond
the ends the first and last entry go on for ever.
"""

from collections.abc import Callable

from jaxtyping import Float, Int
from torch import Tensor

Taps = list[tuple[Int[Tensor, "*s"], Float[Tensor, "*s"]]]
Kernel = Callable[[Tensor, int], Taps]

_STEPS = 2.0**40  # an entry's parts that places are rounded to


def linear_taps(entry: Float[Tensor, "*s"], n: int) -> Taps:
    """The two entries around `entry` (0 to `n - 1`, whole or not), with their weights."""
    low, t = _split(entry, n)
    return [(_clamped(low, 0, n), 1 - t), (_clamped(low, 1, n), t)]


def cubic_taps(entry: Float[Tensor, "*s"], n: int) -> Taps:
    """The four entries around `entry`, with the weights of the cubic convolution."""
    a = -0.75
    low, t = _split(entry, n)
    s = 1 - t
    near = [((a + 2) * r - (a + 3)) * r * r + 1 for r in (t, s)]  # distances below 1
    far = [((a * r - 5 * a) * r + 8 * a) * r - 4 * a for r in (1 + t, 1 + s)]  # from 1 to 2
    weights = [far[0], near[0], near[1], far[1]]
    return [(_clamped(low, k - 1, n), weight) for k, weight in enumerate(weights)]


def sample_axis(table: Float[Tensor, "d n"], entry: Float[Tensor, "*s"]) -> Float[Tensor, "d *s"]:
    """A table of one axis read linearly at fractional entries."""
    code = None
    for index, weight in linear_taps(entry, table.shape[-1]):
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
    across = kernel(x, columns)
    code = None
    for row, row_weight in kernel(y, rows):
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
    tall = None
    for index, weight in kernel(y, table.shape[-2]):
        part = table.index_select(-2, index) * weight.to(table.dtype)[:, None]
        tall = part if tall is None else tall + part
    assert tall is not None  # d h columns
    code = None
    for index, weight in kernel(x, table.shape[-1]):
        part = tall.index_select(-1, index) * weight.to(table.dtype)
        code = part if code is None else code + part
    assert code is not None
    return code


def entries(coordinate: Float[Tensor, "*s"], n: int) -> Float[Tensor, "*s"]:
    """Coordinates in [-1, 1] as fractional entries of a table of `n` cells, at their centres."""
    return ((coordinate + 1) * n - 1) / 2


def _split(entry: Tensor, n: int) -> tuple[Tensor, Tensor]:
    entry = entry.clamp(-2, n + 1)  # all the same beyond, and infinity has no whole number
    # A place on an entry reads just that entry, to the last bit; gradients pass as if unrounded.
    entry = entry + ((entry * _STEPS).round() / _STEPS - entry).detach()
    low = entry.floor()
    return low.long(), entry - low


def _clamped(low: Tensor, step: int, n: int) -> Tensor:
    return (low + step).clamp(0, n - 1)
