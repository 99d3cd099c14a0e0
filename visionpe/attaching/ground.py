"""The places of a site's tokens, at the size and the frame of a call."""

from dataclasses import dataclass, field
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from visionpe.attaching.calling import Call
from visionpe.attaching.cells import Size, cells_at, in_words, remedy, same
from visionpe.attaching.errors import AttachError
from visionpe.frame import Frame
from visionpe.places import Places, token_count
from visionpe.tracing.lattices import Lattice
from visionpe.tracing.making import row_by_row
from visionpe.tracing.sites import Site


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
                f"attends in {batch}. {remedy(self.size)}"
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
        if call.size is None or same(call.size, self.size):
            if n != token_count(traced):
                raise AttachError(
                    f"`{self.site.module}` was traced with {traced.tokens} tokens, for images of "
                    f"{in_words(self.size)} pixels, but has {n}. {remedy(call.size, self.size)}"
                )
            return traced.positions, traced.extent[0], traced.shape
        cell = self.site.lattice
        if cell is None or lattice is None:
            raise AttachError(
                f"`{self.site.module}` attends in windows or between irregular places, which are "
                f"known for images of {in_words(self.size)} pixels only, but these have "
                f"{in_words(call.size)}. {remedy(call.size)}"
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
