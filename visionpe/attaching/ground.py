"""The places of a site's tokens, at the size and the frame of a call."""

import math
from functools import partial
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from visionpe.attaching.calling import Call
from visionpe.attaching.errors import AttachError
from visionpe.frame import Frame
from visionpe.places import Places
from visionpe.tracing.lattices import Lattice
from visionpe.tracing.sites import Site

Size = tuple[int, int]


class Ground(NamedTuple):
    """A site of attention, as it was traced for images of one size."""

    site: Site
    size: Size

    def places(self, call: Call, n: int, m: int, batch: int, like: Tensor) -> tuple[Places, Places]:
        """Where `n` queries and `m` keys sit in a call.

        Args:
            batch: of queries `b heads n d`: samples times windows, the samples slowest.
            like: its device is where they are made.

        Raises:
            AttachError: if places of so many tokens are not known for images of this size.
        """
        queries, keys = self.site.queries, self.site.keys
        assert queries is not None
        assert keys is not None
        return (
            self._of(queries, self.site.lattice, n, call, batch, like),
            self._of(keys, self.site.key_lattice, m, call, batch, like),
        )

    def _of(
        self, traced: Places, lattice: Lattice | None, n: int, call: Call, batch: int, like: Tensor
    ) -> Places:
        points, extent = self._view(traced, lattice, n, call)
        points, extent = points.to(like.device), extent.to(like.device)
        if call.frame is not None:
            points, extent = framed(points, extent, call.frame)  # *b w n 2, *b 2
        if points.shape[-3] == 1:
            points = points.squeeze(-3)  # *b n 2
        else:
            extent = extent[..., None, :].expand(*points.shape[:-2], 2)
            points, extent = (t.reshape(-1, *t.shape[s:]) for t, s in ((points, -2), (extent, -1)))
        if points.dim() == 3 and points.shape[0] not in (1, batch):
            windowed = len(traced.positions) > 1
            points, extent = (self._spread(t, batch, windowed) for t in (points, extent))
        shape = None
        if points.dim() == 2 and call.frame is None:
            shape = _shape(traced, lattice, self.site.lattice, n)
        return Places(points, extent, traced.prefix, traced.suffix, shape)

    def _spread(self, x: Tensor, batch: int, windowed: bool) -> Tensor:
        """One row for each sample and window, of one for each sample, or for each window."""
        more = batch // x.shape[0]
        if more * x.shape[0] != batch:
            raise AttachError(
                f"`{self.site.module}` was traced with {x.shape[0]} windows or samples, but "
                f"attends in {batch}. {_again(self.size)}"
            )
        if windowed:
            return x.repeat(more, *[1] * (x.dim() - 1))
        return x.repeat_interleave(more, 0)

    def _view(
        self, traced: Places, lattice: Lattice | None, n: int, call: Call
    ) -> tuple[Tensor, Tensor]:
        """`windows n 2` and `2`: positions in the view, in its cells, and its size in cells."""
        if call.size in (None, self.size):
            if n != traced.tokens:
                raise AttachError(
                    f"`{self.site.module}` was traced with {traced.tokens} tokens, for images of "
                    f"{_by(self.size)} pixels, but has {n}. {_again(call.size)}"
                )
            return traced.positions, traced.extent[0]
        cell = self.site.lattice
        if cell is None or lattice is None or traced.shape != (lattice.h, lattice.w):
            raise AttachError(
                f"`{self.site.module}` attends in windows or between irregular places, which are "
                f"known for images of {_by(self.size)} pixels only, but these have "
                f"{_by(call.size)}. {_again(call.size)}"
            )
        placed = n - traced.prefix - traced.suffix
        h, w = cells_at(self.site.module, lattice, placed, self.size, call)
        rows, columns = (
            (torch.arange(count) * lattice.spacing[i] + lattice.offset[i]) / cell.spacing[i] - 0.5
            for i, count in enumerate((h, w))
        )
        extent = torch.tensor([s / c for s, c in zip(call.size, cell.spacing, strict=True)])
        return torch.cartesian_prod(rows, columns).view(1, -1, 2), extent


def cells_at(module: str, lattice: Lattice, n: int, size: Size, call: Call) -> tuple[int, int]:
    """Rows and columns of a map of `n` cells, at the size of a call.

    Without a cache: from the lattice's spacing in pixels, or its own numbers where the model makes
    the same of every size.

    Args:
        lattice: of the map for images of `size`.

    Raises:
        AttachError: if no such map has `n` cells.
    """
    known = (lattice.h, lattice.w)
    if call.size in (None, size):
        if n == math.prod(known):
            return known
    else:
        exact = [s / c for s, c in zip(call.size, lattice.spacing, strict=True)]
        counts = [
            sorted({math.floor(e), math.ceil(e), k} - {0}, key=partial(_distance, e))
            for e, k in zip(exact, known, strict=True)
        ]
        for h in counts[0]:
            for w in counts[1]:
                if h * w == n:
                    return h, w
    raise AttachError(
        f"`{module}` was traced with a map of {_by(known)} cells, for images of {_by(size)} "
        f"pixels, but has {n} cells. {_again(call.size)}"
    )


def framed(
    points: Float[Tensor, "w n 2"], extent: Float[Tensor, " 2"], frame: Frame
) -> tuple[Float[Tensor, "*b w n 2"], Float[Tensor, "*b 2"]]:
    """Positions in cells of a view as positions in cells of its original image, and their number.

    As `visionpe.positions`, at any points.

    >>> right_half = Frame.identity(2, 4).crop(0, 2, h=2, w=2)
    >>> framed(torch.zeros(1, 1, 2), torch.tensor([2.0, 2.0]), right_half)[0].tolist()
    [[[0.0, 2.0]]]
    """
    affine, view, whole = (part.to(points) for part in frame)
    step = view / extent  # of a cell, in pixels of the view
    pixels = (points + 0.5) * step[..., None, None, :]
    linear = affine[..., None, None, :, :2]
    moved = (linear * pixels[..., None, :]).sum(-1) + affine[..., None, None, :, 2]
    cell = (affine[..., :2] * step[..., None, :]).square().sum(-1).sqrt()
    return moved / cell[..., None, None, :] - 0.5, whole / cell


def _shape(
    traced: Places, lattice: Lattice | None, cell: Lattice | None, n: int
) -> tuple[int, int] | None:
    """Rows and columns where cells are one apart, row by row, as `Places.shape` promises."""
    if lattice is None or cell is None or traced.shape != (lattice.h, lattice.w):
        return None
    one_apart = all(
        count == 1 or own == unit
        for count, own, unit in zip(traced.shape, lattice.spacing, cell.spacing, strict=True)
    )
    return traced.shape if one_apart and n == traced.tokens else None


def _distance(a: float, b: float) -> float:
    return abs(a - b)


def _by(size: Size | None) -> str:
    return "another number of" if size is None else f"{size[0]} x {size[1]}"


def _again(size: Size | None) -> str:
    if size is None:
        return "Call the model itself, not a part of it, or attach with `size=` of these images."
    return f"Detach, and attach again with `size=({size[0]}, {size[1]})`."
