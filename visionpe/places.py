"""Where the tokens of a transformer sit: what `visionpe.grids` is to maps, for sequences.

A token is a cell of some map, in any order and number, so its place is a position in cells; tokens
that stand for no cell (class, registers, memory) are counted, and have no place.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from visionpe.frame import Frame
from visionpe.grids import cell_counts, positions


class Places(NamedTuple):
    """The places of the tokens of a sequence, which may begin and end with tokens that have none.

    A named tuple, as `Frame` is: it passes through `torch.compile` and `torch.export`. `Places.of`
    makes one for a map, `Places.at` one for any points, `Places.stack` one of several samples';
    torch's default collate would join the counts too: let samples carry frames or points.

    Attributes:
        positions: `*b n 2`; `(y, x)` of the `n` placed tokens, in cells: the first cell of the
            image is at 0.
        extent: `*b 2`; rows and columns of the whole original image, in cells.
        prefix: number of tokens without a place before them.
        suffix: number of tokens without a place behind them.
        shape: `(h, w)` if the placed tokens are the cells of an `h x w` map, row by row, one cell
            apart, `y` changing from row to row only and `x` from column to column only; else None.

    >>> Places.of(1, 3, prefix=1).positions.tolist()
    [[0.0, 0.0], [0.0, 1.0], [0.0, 2.0]]
    """

    positions: Float[Tensor, "*b n 2"]
    extent: Float[Tensor, "*b 2"]
    prefix: int = 0
    suffix: int = 0
    shape: tuple[int, int] | None = None

    @staticmethod
    def of(
        h: int,
        w: int,
        frame: Frame | None = None,
        *,
        cells: tuple[int, int] | None = None,
        prefix: int = 0,
        suffix: int = 0,
        device: torch.device | str | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> "Places":
        """The places of the cells of an `h x w` map, row by row.

        Args:
            h, w: rows and columns of the map.
            frame: where the map sits in its image; without it, the map is the whole image.
            cells: `(rows, columns)` that the whole image counts as; see `visionpe.positions`.
            prefix, suffix: how many tokens without a place stand before and behind them.

        Raises:
            ValueError: if `h`, `w` or one of `cells` is below 1, or `prefix` or `suffix` negative.
        """
        _require_count("prefix", prefix)
        _require_count("suffix", suffix)
        points = positions(h, w, frame, cells=cells, device=device, dtype=dtype)
        extent = cell_counts(h, w, frame, cells=cells, device=points.device, dtype=dtype)
        # A frame may turn the map, and a count of cells may stretch it.
        shape = (h, w) if frame is None and cells in (None, (h, w)) else None
        return Places(points.flatten(-2).mT, extent, prefix, suffix, shape)

    @staticmethod
    def at(
        points: Float[Tensor, "*b n 2"],
        extent: Float[Tensor, "*#b 2"] | tuple[float, float],
        *,
        prefix: int = 0,
        suffix: int = 0,
    ) -> "Places":
        """Tokens at any points, one set for all samples or one for each (packed sequences).

        Args:
            points: `(y, x)` in cells, the first cell of the image at 0, whole or not. Tokens
                beyond a short sample's end can be anywhere (0), if the attention masks them.
            extent: rows and columns of the whole image, in cells, for all samples or each.
            prefix, suffix: how many tokens without a place stand before and behind them.

        Raises:
            TypeError: if `points` are not floating point numbers.
            ValueError: if `points` are not pairs or not finite, `extent` is not positive, or
                `prefix` or `suffix` is negative.

        >>> Places.at(torch.tensor([[0.0, 2.0]]), (1, 3)).coordinates().tolist()
        [[0.0, 0.6666666865348816]]
        """
        _require_count("prefix", prefix)
        _require_count("suffix", suffix)
        if not points.is_floating_point():
            raise TypeError(f"`points` must be floating point numbers, but are {points.dtype}.")
        if points.dim() < 2 or points.shape[-1] != 2:
            raise ValueError(
                f"`points` must be (y, x) pairs, `*b n 2`, but have shape {tuple(points.shape)}."
            )
        size = torch.as_tensor(extent, dtype=points.dtype, device=points.device)
        if not torch.compiler.is_compiling():
            if not bool(points.isfinite().all()):
                raise ValueError(
                    "`points` must be finite, but hold NaN or infinity. "
                    "Tokens without a place are counted by `prefix` and `suffix`."
                )
            if not bool((size > 0).all()):
                raise ValueError(f"`extent` must be positive, but is {size.tolist()}.")
        return Places(points, size.expand(*points.shape[:-2], 2), prefix, suffix)

    @staticmethod
    def stack(places: "Sequence[Places]") -> "Places":
        """The places of several samples, each without a batch axis, as those of one batch.

        Raises:
            ValueError: if there are none, or they differ in their number of tokens.

        >>> one = Places.of(1, 2, prefix=1)
        >>> Places.stack([one, one]).positions.shape
        torch.Size([2, 2, 2])
        """
        if not places:
            raise ValueError("`places` must hold at least one sample's, but is empty.")
        first = places[0]
        counts = {(len(each.positions), each.prefix, each.suffix) for each in places}
        if len(counts) > 1:
            raise ValueError(
                "`places` must be of as many tokens, prefixes and suffixes in each sample, but are "
                f"{sorted(counts)}. Pad the short ones, at any points, and mask them."
            )
        same = all(each.shape == first.shape for each in places)
        return Places(
            torch.stack([each.positions for each in places]),
            torch.stack([each.extent for each in places]),
            first.prefix,
            first.suffix,
            first.shape if same else None,
        )

    @property
    def tokens(self) -> int:
        """How many tokens the sequence has, with and without a place."""
        return token_count(self)

    def coordinates(self) -> Float[Tensor, "*b n 2"]:
        """The places in [-1, 1] over the original image, as `visionpe.grid` gives them."""
        extent = self.extent[..., None, :]
        return (2 * self.positions + (1 - extent)) / extent

    def inside(self) -> Bool[Tensor, "*b n"]:
        """Which placed tokens have their centre in the original image, not in a border."""
        return (self.coordinates().abs() < 1).all(-1)

    def to(
        self, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> "Places":
        """The same places on another device, or in another precision."""
        return self._replace(
            positions=self.positions.to(device, dtype), extent=self.extent.to(device, dtype)
        )


def _require_count(name: str, value: int) -> None:
    if value < 0:
        raise ValueError(f"`{name}` must be at least 0 tokens, but is {value}.")


def token_count(places: Places) -> int:
    """`places.tokens`, which torch 2.10 cannot capture in a graph: a property of a tuple."""
    return places.prefix + places.positions.shape[-2] + places.suffix
