"""Learned tables of rows and of columns, added: factorised embeddings, arXiv 2307.06304 (NaViT).

`rows + columns` entries serve every size and shape. The paper's two readings are both here:
fractional (the share of the side, at cell centres and not at the paper's `i / n`), the default,
and absolute (the index of the row). Entries between two are read linearly.
"""

from typing import Any, final

import torch
from jaxtyping import Float
from torch import Tensor, nn
from typing_extensions import override

from visionpe.encodings._stored import stored
from visionpe.encodings._taps import entries, lattice_axes, sample_axis
from visionpe.encodings.base import (
    PointEncoding,
    pad_tokens,
    require_batch,
    require_channels,
    require_floating,
    require_tokens,
)
from visionpe.encodings.learned import refuse_other_size, require_table
from visionpe.encodings.precision import rounded_once, widest_dtype
from visionpe.frame import Frame
from visionpe.grids import axis, grid, line_positions, positions
from visionpe.places import Places


def factorised2d(
    rows: Float[Tensor, "d r"],
    columns: Float[Tensor, "d c"],
    h: int,
    w: int,
    frame: Frame | None = None,
) -> Float[Tensor, "*b d h w"]:
    """The sum of a row's and a column's entry, the tables spread over the whole image.

    Args:
        rows, columns: the axes' tables, of any numbers of entries.
        h, w: rows and columns of the map.
        frame: where the map sits in its image; without it, the map is the whole image.

    >>> factorised2d(torch.tensor([[0.0, 10.0]]), torch.tensor([[1.0, 2.0]]), 2, 2).tolist()
    [[[1.0, 2.0], [11.0, 12.0]]]
    """
    device, exact = rows.device, widest_dtype(rows.device)
    if frame is None:  # the same samples, one axis each
        y = sample_axis(rows, entries(axis(h, device=device, dtype=exact), rows.shape[-1]))
        x = sample_axis(columns, entries(axis(w, device=device, dtype=exact), columns.shape[-1]))
        return stored(y)[:, :, None] + stored(x)[:, None, :]
    y, x = grid(h, w, frame, device=device, dtype=exact).unbind(-3)
    code = _sum(rows, columns, entries(y, rows.shape[-1]), entries(x, columns.shape[-1]))
    return code.movedim(0, -3)  # d *b h w -> *b d h w


def factorised2d_index(
    rows: Float[Tensor, "d r"],
    columns: Float[Tensor, "d c"],
    h: int,
    w: int,
    frame: Frame | None = None,
) -> Float[Tensor, "*b d h w"]:
    """`factorised2d` with the entry of a row's index in cells, whatever the image's size.

    Cells beyond the tables read their last entry.

    >>> long = torch.tensor([[0.0, 10.0, 20.0, 30.0]])
    >>> factorised2d_index(long, torch.zeros(1, 1), 2, 1).flatten().tolist()
    [0.0, 10.0]
    """
    dtype = widest_dtype(rows.device)
    if frame is None:
        y = sample_axis(rows, line_positions(h, device=rows.device, dtype=dtype))
        x = sample_axis(columns, line_positions(w, device=rows.device, dtype=dtype))
        return stored(y)[:, :, None] + stored(x)[:, None, :]
    y, x = positions(h, w, frame, device=rows.device, dtype=dtype).unbind(-3)
    return _sum(rows, columns, y, x).movedim(0, -3)  # d *b h w -> *b d h w


@final
class Factorised2d(PointEncoding):
    """Adds a learned code of the row and one of the column to a map or to tokens.

    Zero at first, so that what it is attached to does not change. Cells outside the image, or
    beyond the tables, read the tables' ends. Tokens without a place keep their value.

    Args:
        channels: of the maps.
        cells: `(rows, columns)`: the numbers of entries of the two tables.
        fractional: spread the tables over the image, whatever its size; else entry `i` is the code
            of row `i`, and `cells` is the largest size.
        init_std: standard deviation of the initial values, 0.02 in ViT.

    Raises:
        ValueError: if `channels` or one of `cells` is below 1, or `init_std` negative; at the call,
            if the input has another number of channels, or is larger than tables of indices.

    >>> pos = Factorised2d(1, (2, 1))
    >>> _ = pos.rows.data.copy_(torch.tensor([[1.0, 3.0]]))
    >>> pos(torch.zeros(1, 1, 2, 2)).tolist()
    [[[[1.0, 1.0], [3.0, 3.0]]]]
    """

    def __init__(
        self,
        channels: int,
        cells: tuple[int, int],
        *,
        fractional: bool = True,
        init_std: float = 0.0,
    ) -> None:
        super().__init__()
        require_table(channels, cells, init_std)
        self.channels: int = channels
        self.cells = (cells[0], cells[1])
        self.fractional = fractional
        self.init_std = init_std
        self.rows = nn.Parameter(torch.empty(channels, cells[0]))
        self.columns = nn.Parameter(torch.empty(channels, cells[1]))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draws the tables anew: zeros, or normal numbers of standard deviation `init_std`."""
        nn.init.normal_(self.rows, std=self.init_std)
        nn.init.normal_(self.columns, std=self.init_std)

    def forward(
        self, x: Float[Tensor, "b c h w"], frame: Frame | None = None
    ) -> Float[Tensor, "b c h w"]:
        """The map with the code added, in the map's dtype."""
        require_batch(frame, x.shape[0])
        require_floating("x", x)
        require_channels(self, self.channels, x.shape[1])
        h, w = x.shape[-2:]
        if frame is None and not self.fractional and not torch.compiler.is_compiling():
            self._require_size(h, w)
        code = (factorised2d if self.fractional else factorised2d_index)(
            *self._tables(x), h, w, frame
        )
        return x + code.to(x.dtype)

    def tokens(self, x: Float[Tensor, "b n c"], places: Places) -> Float[Tensor, "b n c"]:
        """The tokens with the code added to those that have a place."""
        require_tokens("x", x, places)
        require_channels(self, self.channels, x.shape[-1])
        rows, columns = self._tables(x)
        places = places.to(x.device, widest_dtype(x.device))
        if not self.fractional and places.shape is not None and not torch.compiler.is_compiling():
            self._require_size(*places.shape)
        points = places.coordinates() if self.fractional else places.positions
        if places.shape is None:
            y, along = points.unbind(-1)  # *b n
        else:
            y, along = lattice_axes(points, places.shape)  # *b h, *b w
        if self.fractional:
            y, along = entries(y, self.cells[0]), entries(along, self.cells[1])
        # As `x` lies in memory: adding a transposed code takes several times as long.
        down, across = (
            stored(part.movedim(0, -1).contiguous())  # d *b n -> *b n d
            for part in (sample_axis(rows, y), sample_axis(columns, along))
        )
        if places.shape is None:
            code = down + across
        else:
            code = (down[..., :, None, :] + across[..., None, :, :]).flatten(-3, -2)
        return x + pad_tokens(code.to(x.dtype), places)

    def _tables(self, x: Tensor) -> tuple[Tensor, Tensor]:
        dtype = rounded_once(x)
        return self.rows.to(dtype), self.columns.to(dtype)

    def _require_size(self, h: int, w: int) -> None:
        if h > self.cells[0] or w > self.cells[1]:
            raise ValueError(
                f"`x` must have at most the {self.cells[0]} x {self.cells[1]} cells of the tables, "
                f"but has {h} x {w}. Give more `cells`, or `fractional=True`."
            )

    @override
    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        # Entries that are indices are not to be stretched.
        call = "resample_axis_table({{}}, {})" if self.fractional else ""
        calls = {"rows": call.format(self.cells[0]), "columns": call.format(self.cells[1])}
        if not refuse_other_size(self, state_dict, prefix, args[-1], calls):
            super()._load_from_state_dict(state_dict, prefix, *args)

    def __repr__(self) -> str:
        return (
            f"Factorised2d({self.channels}, {self.cells}, fractional={self.fractional}, "
            f"init_std={self.init_std})"
        )


def _sum(
    rows: Float[Tensor, "d r"],
    columns: Float[Tensor, "d c"],
    y: Float[Tensor, "*s"],
    x: Float[Tensor, "*s"],
) -> Float[Tensor, "d *s"]:
    """The sum of the tables' entries at fractional entries `y` and `x`."""
    return sample_axis(rows, y) + sample_axis(columns, x)
