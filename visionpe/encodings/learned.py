"""Learned absolute position table, arXiv 2010.11929 (ViT), as a function of coordinates.

The table lies over the whole image and is read where a cell is, so that a crop, tile, flip or
resize of an image reads the codes of its own pixels; the paper's is an entry a token, resized by
interpolation when the size changes, which is what this is without a frame.
"""

from typing import Any, final

import torch
from jaxtyping import Float
from torch import Tensor, nn
from typing_extensions import override

from visionpe.encodings._taps import (
    cubic_taps,
    entries,
    lattice_axes,
    linear_taps,
    sample_lattice,
    sample_plane,
    sample_tokens,
)
from visionpe.encodings.base import (
    PointEncoding,
    pad_tokens,
    require_batch,
    require_channels,
    require_floating,
    require_tokens,
)
from visionpe.encodings.precision import rounded_once, widest_dtype
from visionpe.frame import Frame
from visionpe.grids import axis, grid, require_pair
from visionpe.places import Places


def sample_bilinear(
    table: Float[Tensor, "d rows columns"], points: Float[Tensor, "*b 2 h w"]
) -> Float[Tensor, "*b d h w"]:
    """A table that covers an image, read bilinearly at coordinates; beyond the edges, its border.

    Args:
        table: its cells fill [-1, 1] along both axes, values at cell centres.
        points: `(y, x)` in [-1, 1], as of `visionpe.grid`.

    >>> sample_bilinear(torch.tensor([[[0.0], [4.0]]]), grid(4, 1)).flatten().tolist()
    [0.0, 1.0, 3.0, 4.0]
    """
    y, x = _entries(table, points)
    return sample_plane(table, y, x, linear_taps).movedim(0, -3)  # d *b h w -> *b d h w


def sample_bicubic(
    table: Float[Tensor, "d rows columns"], points: Float[Tensor, "*b 2 h w"]
) -> Float[Tensor, "*b d h w"]:
    """`sample_bilinear` with a cubic convolution, as ViTs resize their tables; same arguments.

    >>> sample_bicubic(torch.tensor([[[1.0, 3.0]]]), grid(1, 1)).flatten().tolist()
    [2.0]
    """
    y, x = _entries(table, points)
    return sample_plane(table, y, x, cubic_taps).movedim(0, -3)  # d *b h w -> *b d h w


def learned2d_code(
    table: Float[Tensor, "d rows columns"],
    h: int,
    w: int,
    frame: Frame | None = None,
    *,
    bicubic: bool = True,
) -> Float[Tensor, "*b d h w"]:
    """A table at the cells of an `h x w` map: at its own size, without a frame, the table itself.

    Args:
        table: covers the whole image.
        h, w: rows and columns of the map.
        frame: where the map sits in its image; without it, the map is the whole image.
        bicubic: `sample_bicubic`, else `sample_bilinear`.

    >>> learned2d_code(torch.tensor([[[1.0, 3.0]]]), 1, 2).tolist()
    [[[1.0, 3.0]]]
    """
    device, exact = table.device, widest_dtype(table.device)
    if frame is None:  # the same samples, axis by axis
        if not torch.compiler.is_compiling() and table.shape[-2:] == (h, w):
            return table  # what they come to; a graph with open sizes must not ask
        y = entries(axis(h, device=device, dtype=exact), table.shape[-2])
        x = entries(axis(w, device=device, dtype=exact), table.shape[-1])
        return sample_lattice(table, y, x, cubic_taps if bicubic else linear_taps)
    points = grid(h, w, frame, device=device, dtype=exact)
    return (sample_bicubic if bicubic else sample_bilinear)(table, points)


@final
class Learned2d(PointEncoding):
    """Adds a learned table, read at each cell's place in the image, to a map or to tokens.

    Zero at first, so that what it is attached to does not change. Cells outside the image read the
    table's border: see `visionpe.inside`. Tokens without a place keep their value.

    Args:
        channels: of the maps.
        cells: `(rows, columns)` of the table, at best as many as the maps' in training.
        bicubic: read the table bicubically, as ViTs resize it, else bilinearly.
        init_std: standard deviation of the initial values, 0.02 in ViT.

    Raises:
        ValueError: if `channels` or one of `cells` is below 1, or `init_std` negative; at the call,
            if the input has another number of channels.

    >>> pos = Learned2d(1, (1, 2))
    >>> _ = pos.table.data.copy_(torch.tensor([[[1.0, 3.0]]]))
    >>> pos(torch.zeros(1, 1, 1, 2)).flatten().tolist()
    [1.0, 3.0]
    """

    def __init__(
        self,
        channels: int,
        cells: tuple[int, int],
        *,
        bicubic: bool = True,
        init_std: float = 0.0,
    ) -> None:
        super().__init__()
        require_table(channels, cells, init_std)
        self.channels: int = channels
        self.cells = (cells[0], cells[1])
        self.bicubic = bicubic
        self.init_std = init_std
        self.table = nn.Parameter(torch.empty(channels, *self.cells))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draws the table anew: zeros, or normal numbers of standard deviation `init_std`."""
        nn.init.normal_(self.table, std=self.init_std)

    def forward(
        self, x: Float[Tensor, "b c h w"], frame: Frame | None = None
    ) -> Float[Tensor, "b c h w"]:
        """The map with the code added, in the map's dtype."""
        require_batch(frame, x.shape[0])
        require_floating("x", x)
        require_channels(self, self.channels, x.shape[1])
        table = self.table.to(rounded_once(x))
        code = learned2d_code(table, x.shape[-2], x.shape[-1], frame, bicubic=self.bicubic)
        return x + code.to(x.dtype)

    def tokens(self, x: Float[Tensor, "b n c"], places: Places) -> Float[Tensor, "b n c"]:
        """The tokens with the code added to those that have a place."""
        require_tokens("x", x, places)
        require_channels(self, self.channels, x.shape[-1])
        table = self.table.to(rounded_once(x))
        kernel = cubic_taps if self.bicubic else linear_taps
        rows, columns = self.cells
        points = places.to(x.device, widest_dtype(x.device)).coordinates()
        if places.shape is None:
            y, along = points.unbind(-1)  # *b n
            code = sample_plane(table, entries(y, rows), entries(along, columns), kernel)
            code = code.movedim(0, -1)  # d *b n -> *b n d
        else:
            y, along = lattice_axes(points, places.shape)
            code = sample_tokens(table, entries(y, rows), entries(along, columns), kernel)
        # As `x` lies in memory: adding a transposed code takes several times as long.
        return x + pad_tokens(code.to(x.dtype).contiguous(), places)

    @override
    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        call = f"resample_table({{}}, {self.cells[0]}, {self.cells[1]})"
        if not refuse_other_size(self, state_dict, prefix, args[-1], {"table": call}):
            super()._load_from_state_dict(state_dict, prefix, *args)

    def __repr__(self) -> str:
        return (
            f"Learned2d({self.channels}, {self.cells}, bicubic={self.bicubic}, "
            f"init_std={self.init_std})"
        )


def refuse_other_size(
    module: nn.Module,
    state: dict[str, Any],
    prefix: str,
    errors: list[str],
    calls: dict[str, str],
) -> bool:
    """Adds one message for each table of another size in `state`: key, both shapes, the remedy.

    Args:
        calls: by parameter, the call that resamples a table, the table left open as `{}`; empty
            if none does.
    """
    before = len(errors)
    for name, call in calls.items():
        key = prefix + name
        wanted = tuple(module.get_parameter(name).shape)
        given = tuple(state[key].shape) if key in state else wanted
        if given == wanted:
            continue
        if call and len(given) == len(wanted) and given[0] == wanted[0]:
            entry = f'state["{key}"]'
            remedy = f"Resample it first: {entry} = visionpe.{call.format(entry)}."
        else:
            remedy = f"Load it into an encoding of its own shape, not into {module!r}."
        errors.append(
            f"`{key}` must have shape {wanted}, but has {given} in the state given. {remedy}"
        )
    return len(errors) > before


def require_table(channels: int, cells: tuple[int, int], init_std: float) -> None:
    """Refuses a table that cannot be made."""
    if channels < 1:
        raise ValueError(f"`channels` must be at least 1, but is {channels}.")
    require_pair("cells", cells)
    if min(cells) < 1:
        raise ValueError(f"`cells` must be at least 1 cell an axis, but is {tuple(cells)}.")
    if not init_std >= 0:
        raise ValueError(f"`init_std` must be at least 0, but is {init_std}.")


def _entries(table: Tensor, points: Tensor) -> tuple[Tensor, Tensor]:
    y, x = points.unbind(-3)
    return entries(y, table.shape[-2]), entries(x, table.shape[-1])
