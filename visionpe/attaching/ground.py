"""The places of a site's tokens, at the size and the frame of a call."""

import math
from dataclasses import dataclass, field
from functools import partial
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from visionpe.attaching.calling import Call
from visionpe.attaching.errors import AttachError
from visionpe.frame import Frame
from visionpe.places import Places, token_count
from visionpe.tracing.lattices import Lattice
from visionpe.tracing.making import row_by_row
from visionpe.tracing.sites import Scattered, Site

Size = tuple[int, int]


@final
@dataclass(frozen=True, eq=False)
class Ground:
    """A site of attention, as it was traced for images of one size.

    Attributes:
        lattices: of queries and keys, where these are its cells row by row, so that their places
            follow for images of another size; else None.
    """

    site: Site
    size: Size
    lattices: tuple[Lattice | None, Lattice | None] = field(init=False)

    def __post_init__(self) -> None:
        pairs = ((self.site.queries, self.site.lattice), (self.site.keys, self.site.key_lattice))
        object.__setattr__(self, "lattices", tuple(_followed(*pair) for pair in pairs))

    def places(
        self, call: Call, n: int, m: int, like: Tensor, batch: int | None = None
    ) -> tuple[Places, Places]:
        """Where `n` queries and `m` keys sit in a call.

        Args:
            like: its device is where they are made.
            batch: of queries `b heads n d`: samples times windows, the samples slowest; without
                it, the places of each window are given once.

        Raises:
            AttachError: if places of so many tokens are not known for images of this size.
        """
        queries, keys = self.site.queries, self.site.keys
        assert queries is not None
        assert keys is not None
        return (
            self._of(queries, self.lattices[0], n, call, like, batch),
            self._of(keys, self.lattices[1], m, call, like, batch),
        )

    def spread(self, x: Tensor, batch: int, *, windowed: bool = True) -> Tensor:
        """One row for each sample and window, of one for each window, or for each sample.

        Raises:
            AttachError: if `batch` is no multiple of the rows.
        """
        if x.shape[0] in (1, batch):
            return x
        more = batch // x.shape[0]
        if more * x.shape[0] != batch:
            raise AttachError(
                f"`{self.site.module}` was traced with {x.shape[0]} windows or samples, but "
                f"attends in {batch}. {_again(self.size)}"
            )
        if windowed:
            return x.repeat(more, *[1] * (x.dim() - 1))
        return x.repeat_interleave(more, 0)

    def _of(
        self,
        traced: Places,
        lattice: Lattice | None,
        n: int,
        call: Call,
        like: Tensor,
        batch: int | None,
    ) -> Places:
        points, extent, shape = self._view(traced, lattice, n, call)
        points, extent = points.to(like.device), extent.to(like.device)
        if call.frame is not None:
            points, extent = framed(points, extent, call.frame)  # *b w n 2, *b 2
            shape = None
        if points.shape[-3] == 1:
            points = points.squeeze(-3)  # *b n 2
        else:
            extent = extent[..., None, :].expand(*points.shape[:-2], 2)
            points, extent = (t.reshape(-1, *t.shape[s:]) for t, s in ((points, -2), (extent, -1)))
        if points.dim() == 3 and batch is not None:
            windowed = len(traced.positions) > 1
            points, extent = (self.spread(t, batch, windowed=windowed) for t in (points, extent))
        return Places(points, extent, traced.prefix, traced.suffix, shape)

    def _view(
        self, traced: Places, lattice: Lattice | None, n: int, call: Call
    ) -> tuple[Tensor, Tensor, Size | None]:
        """Positions in the view, in its cells, `windows n 2`; its size in cells; `Places.shape`."""
        if call.size is None or _same(call.size, self.size):
            if n != token_count(traced):
                raise AttachError(
                    f"`{self.site.module}` was traced with {traced.tokens} tokens, for images of "
                    f"{_by(self.size)} pixels, but has {n}. {_again(call.size)}"
                )
            return traced.positions, traced.extent[0], traced.shape
        cell = self.site.lattice
        if cell is None or lattice is None:
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
        extent = torch.stack(
            [torch.full((), s / c) for s, c in zip(call.size, cell.spacing, strict=True)]
        )
        one_apart = all(
            own == unit or count == 1  # in this order: a count may be open
            for count, own, unit in zip((h, w), lattice.spacing, cell.spacing, strict=True)
        )
        points = torch.cartesian_prod(rows, columns).view(1, -1, 2)
        return points, extent, (h, w) if one_apart else None


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
    if call.size is None or _same(call.size, size):
        if n == math.prod(known):
            return known
    elif _is_open(call.size):
        h, w = _open_cells(lattice, size, call.size)
        torch._check(h * w == n)
        return h, w
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


def scattered_at(module: str, scattered: Scattered, size: Size, call: Call) -> Size:
    """Rows and columns of cells in another order, which is known for images of one size.

    Raises:
        AttachError: if the images have another one.
    """
    if call.size is not None and not _same(call.size, size):
        raise AttachError(
            f"`{module}` holds its cells in an order that is known for images of {_by(size)} "
            f"pixels only, but these have {_by(call.size)}. {_again(call.size)}"
        )
    return scattered.lattice.h, scattered.lattice.w


def _is_open(size: Size) -> bool:
    """Whether a graph is captured for images of any size."""
    return any(isinstance(n, torch.SymInt) for n in size)


def _same(a: Size, b: Size) -> bool:
    """Whether two sizes are the same; an open one is none in particular."""
    return not _is_open(a) and a == b


def _open_cells(lattice: Lattice, traced: Size, size: Size) -> tuple[int, int]:
    """Rows and columns at an open size, rounded as they were at the traced one."""
    counts = []
    for n, known, before, step in zip(
        size, (lattice.h, lattice.w), traced, lattice.spacing, strict=True
    ):
        cell = round(step)
        counts.append(n // cell if known == before // cell else -(-n // cell))
    return counts[0], counts[1]


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


def _followed(traced: Places | None, lattice: Lattice | None) -> Lattice | None:
    """The lattice, if the tokens are its cells row by row."""
    if traced is None or lattice is None or len(traced.positions) > 1:
        return None
    return lattice if row_by_row(traced.positions) == (lattice.h, lattice.w) else None


def _distance(a: float, b: float) -> float:
    return abs(a - b)


def _by(size: Size | None) -> str:
    if size is None:
        return "another number of"
    return "an open size" if _is_open(size) else f"{size[0]} x {size[1]}"


def _again(size: Size | None) -> str:
    if size is None:
        return "Call the model itself, not a part of it, or attach with `size=` of these images."
    if _is_open(size):
        return "Capture the graph with height and width fixed to those it was attached for."
    return f"Detach, and attach again with `size=({size[0]}, {size[1]})`."
