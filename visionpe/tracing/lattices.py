"""Rows and columns, fitted to places."""

from typing import NamedTuple

import torch
from torch import Tensor

_CLOSE = 0.05  # pixels: places nearer than this are one
_STRAY = 0.26  # cells: how far a row may be from where a regular lattice has it


class Lattice(NamedTuple):
    """The cells of a map, in pixels of the image.

    The pixel in row `i` covers `[i, i + 1)`, so that the first patch of 16 pixels is centred at 8.

    Attributes:
        h, w: rows and columns.
        spacing: `(y, x)`, from one cell to the next; the image's size along an axis of one cell.
        offset: `(y, x)` of the centre of the first cell.
    """

    h: int
    w: int
    spacing: tuple[float, float]
    offset: tuple[float, float]

    def points(self) -> Tensor:
        """`n 2`: the centres `(y, x)` of the cells, row by row.

        >>> Lattice(1, 2, (8.0, 4.0), (4.0, 2.0)).points().tolist()
        [[4.0, 2.0], [4.0, 6.0]]
        """
        y = torch.arange(self.h, dtype=torch.float64) * self.spacing[0] + self.offset[0]
        x = torch.arange(self.w, dtype=torch.float64) * self.spacing[1] + self.offset[1]
        return torch.cartesian_prod(y, x)

    def __str__(self) -> str:
        """Rows x columns."""
        return f"{self.h} x {self.w}"


def fit(y: Tensor, x: Tensor, extent: tuple[int, int]) -> Lattice | None:
    """The lattice all of whose cells, and nothing else, are among the places.

    Args:
        y, x: of elements in any order, any number of times, in pixels.
        extent: height and width of the image, in pixels.

    >>> fit(torch.tensor([1.0, 1.0, 3.0, 3.0]), torch.tensor([2.0, 6.0, 2.0, 6.0]), (4, 8))
    Lattice(h=2, w=2, spacing=(2.0, 4.0), offset=(1.0, 2.0))
    >>> fit(torch.tensor([0.0, 1.0]), torch.tensor([0.0, 1.0]), (2, 2))  # a diagonal
    """
    rows, columns = _levels(y, float(extent[0])), _levels(x, float(extent[1]))
    if rows is None or columns is None:
        return None
    (h, dy, top), (w, dx, left) = rows, columns
    cells = ((y - top) / dy).round() * w + ((x - left) / dx).round()
    if cells.unique().numel() != h * w:
        return None
    return Lattice(h, w, (dy, dx), (top, left))


def _levels(v: Tensor, extent: float) -> tuple[int, float, float] | None:
    """How many regular levels there are, their distance, and the first; None: irregular."""
    v = v.unique()
    if not v.numel():
        return None
    v = v[torch.cat([v.new_ones(1, dtype=torch.bool), v.diff() > _CLOSE])]
    n = v.numel()
    if n == 1:
        return 1, extent, round(v[0].item(), 3)
    first = v[0].item()
    spacing = (v[-1].item() - first) / (n - 1)
    stray = (v - (first + spacing * torch.arange(n, dtype=v.dtype))).abs().max().item()
    return (n, round(spacing, 3), round(first, 3)) if stray < _STRAY * spacing else None
