"""Fixed two-dimensional sinusoids on maps and tokens: arXiv 1706.03762 along each axis.

The order of the channels is that of `sinusoidal2d`; other libraries' orders stand beside it in
`visionpe.encodings.sinusoidal_orders`.
"""

from typing import final

import torch
from jaxtyping import Float, Int
from torch import Tensor
from typing_extensions import override

from visionpe.encodings._crossed import add_crossed, crossed
from visionpe.encodings._taps import lattice_axes
from visionpe.encodings.base import (
    PointEncoding,
    append_code,
    append_token_code,
    pad_tokens,
    require_batch,
    require_floating,
    require_tokens,
)
from visionpe.encodings.precision import wide_dtype, widest_dtype
from visionpe.encodings.sinusoid import require_temperature, sinusoid, sinusoid_last
from visionpe.encodings.sinusoidal_orders import band_counts, sinusoidal2d
from visionpe.frame import Frame
from visionpe.grids import line_positions, positions, require_pair
from visionpe.places import Places


def sinusoidal2d_code(
    h: int,
    w: int,
    width: int,
    frame: Frame | None = None,
    *,
    temperature: float = 10000.0,
    cells: tuple[int, int] | None = None,
    device: torch.device | str | None = None,
    dtype: torch.dtype = torch.float32,
) -> Float[Tensor, "*b d h w"]:
    """`sinusoidal2d` at the cells of an `h x w` map, from `h + w` sines where the axes separate.

    Args:
        h, w: rows and columns of the map.
        width: number of channels, at least 2; see `sinusoidal2d`.
        frame: where the map sits in its image; without it, the map is the whole image.
        temperature: the longest wavelength, in units of 2 pi cells.
        cells: `(rows, columns)` that the whole image counts as; see `visionpe.positions`.

    >>> code = sinusoidal2d_code(2, 3, 8)
    >>> bool((code == sinusoidal2d(positions(2, 3), 8)).all())
    True
    """
    if frame is not None:
        exact = widest_dtype(frame.affine.device if device is None else device)
        points = positions(h, w, frame, cells=cells, device=device, dtype=exact)
        return sinusoidal2d(points, width, temperature=temperature).to(dtype)
    # The whole image: y changes down the columns only and x along the rows only.
    if cells is None:  # each counts from 0: the waves of the longer serve both
        # A graph with open sizes must not ask which that is.
        longer = h + w if torch.compiler.is_compiling() else max(h, w)
        waves = _waves(torch.arange(longer, device=device), width, temperature, dtype)
        rows, columns = waves[:, :h], waves[:, :w]
    else:
        exact = widest_dtype(device)
        y = line_positions(h, cells=cells[0], device=device, dtype=exact)
        x = line_positions(w, cells=cells[1], device=device, dtype=exact)
        # One call for both axes: on small maps the number of calls is the cost.
        rows, columns = _waves(torch.cat([y, x]), width, temperature, dtype).split([h, w], -1)
    rows, columns = _channels(rows, columns, width, 0)  # dy h, dx w
    return torch.cat([rows[:, :, None].expand(-1, -1, w), columns[:, None].expand(-1, h, -1)])


@final
class Sinusoidal2d(PointEncoding):
    """Adds the two-dimensional sinusoidal code to a map or to tokens, as wide as they are.

    Positions are counted in cells of the whole image at the map's resolution, as in ViTs with fixed
    sinusoids. With `cells`, the whole image counts as so many cells whatever the resolution: the
    code of a pixel is then the same at every scale.

    Args:
        temperature: the longest wavelength, in units of 2 pi cells.
        cells: `(rows, columns)` that the whole image counts as.

    Raises:
        ValueError: if `temperature` or one of `cells` is not positive; at the call, if the map
            has a single channel.

    >>> Sinusoidal2d()(torch.zeros(1, 4, 1, 1)).flatten().tolist()
    [0.0, 1.0, 0.0, 1.0]
    """

    def __init__(
        self, *, temperature: float = 10000.0, cells: tuple[int, int] | None = None
    ) -> None:
        super().__init__()
        _require_options(temperature, cells)
        self.temperature = temperature
        self.cells = cells

    def forward(
        self, x: Float[Tensor, "b c h w"], frame: Frame | None = None
    ) -> Float[Tensor, "b c h w"]:
        """The map with the code added, in the map's dtype."""
        return x + _code_for(x, x.shape[1], frame, self.temperature, self.cells)

    @override
    def tokens(self, x: Float[Tensor, "b n c"], places: Places) -> Float[Tensor, "b n c"]:
        if places.shape is None:
            return x + _code_of(x, x.shape[-1], places, self.temperature, self.cells)
        rows, columns = _lines_of(x, x.shape[-1], places, self.temperature, self.cells)
        return add_crossed(x, rows, columns, places)

    @override
    def out_channels(self, in_channels: int) -> int:
        band_counts(in_channels)
        return in_channels

    def __repr__(self) -> str:
        return f"Sinusoidal2d(temperature={self.temperature}, cells={self.cells})"


@final
class AppendSinusoidal2d(PointEncoding):
    """Appends `width` channels of the two-dimensional sinusoidal code to a map or to tokens.

    Args:
        width: number of channels to append, at least 2; see `sinusoidal2d`.
        temperature, cells: as of `Sinusoidal2d`.

    Raises:
        ValueError: if `width` is below 2, or `temperature` or one of `cells` is not positive.

    >>> AppendSinusoidal2d(4)(torch.ones(1, 1, 1, 1)).flatten().tolist()
    [1.0, 0.0, 1.0, 0.0, 1.0]
    """

    def __init__(
        self, width: int, *, temperature: float = 10000.0, cells: tuple[int, int] | None = None
    ) -> None:
        super().__init__()
        band_counts(width)
        _require_options(temperature, cells)
        self.width = width
        self.temperature = temperature
        self.cells = cells

    def forward(
        self, x: Float[Tensor, "b c h w"], frame: Frame | None = None
    ) -> Float[Tensor, "b d h w"]:
        """The map with the code behind it, in the map's dtype."""
        code = _code_for(x, self.width, frame, self.temperature, self.cells)
        return append_code(x, code)

    @override
    def tokens(self, x: Float[Tensor, "b n c"], places: Places) -> Float[Tensor, "b n d"]:
        code = _code_of(x, self.width, places, self.temperature, self.cells)
        return append_token_code(x, code)

    @override
    def out_channels(self, in_channels: int) -> int:
        return in_channels + self.width

    def __repr__(self) -> str:
        return (
            f"AppendSinusoidal2d({self.width}, temperature={self.temperature}, cells={self.cells})"
        )


def _code_for(
    x: Tensor,
    width: int,
    frame: Frame | None,
    temperature: float,
    cells: tuple[int, int] | None,
) -> Tensor:
    """The code for the map `x`: made in float32 or better, given in the map's dtype."""
    require_batch(frame, x.shape[0])
    require_floating("x", x)
    precise = wide_dtype(x)
    h, w = x.shape[-2:]
    return sinusoidal2d_code(
        h, w, width, frame, temperature=temperature, cells=cells, device=x.device, dtype=precise
    ).to(x.dtype)


def _code_of(
    x: Tensor,
    width: int,
    places: Places,
    temperature: float,
    cells: tuple[int, int] | None,
) -> Float[Tensor, "*b n d"]:
    """The code for the tokens `x`, zeros for those without a place."""
    if places.shape is not None:
        code = crossed(*_lines_of(x, width, places, temperature, cells))
    else:
        points = _points(x, places, cells)
        code = sinusoidal2d(points.mT[..., None], width, temperature=temperature)[..., 0].mT
        # As `x` lies in memory: adding a transposed code takes several times as long.
        code = code.to(x.dtype).contiguous()
    return pad_tokens(code, places)


def _lines_of(
    x: Tensor,
    width: int,
    places: Places,
    temperature: float,
    cells: tuple[int, int] | None,
) -> tuple[Float[Tensor, "*b h dy"], Float[Tensor, "*b w dx"]]:
    """For tokens on a lattice, the channels of the code that are a row's, and a column's."""
    assert places.shape is not None
    lines = torch.cat(lattice_axes(_points(x, places, cells), places.shape), -1)
    bands = band_counts(width)[0]
    waves = sinusoid_last(lines, 2 * bands, temperature=temperature, dtype=x.dtype)
    rows, columns = waves.split(list(places.shape), -2)
    return _channels(rows, columns, width, -1)


def _points(x: Tensor, places: Places, cells: tuple[int, int] | None) -> Float[Tensor, "*b n 2"]:
    """Positions in cells, of which the whole image has its own number, or so many."""
    require_tokens("x", x, places)
    places = places.to(x.device, widest_dtype(x.device))
    if cells is None:
        return places.positions
    count = torch.tensor(cells, device=x.device, dtype=places.positions.dtype)
    return (places.coordinates() * count + (count - 1)) / 2


def _waves(
    points: Float[Tensor, " n"] | Int[Tensor, " n"],
    width: int,
    temperature: float,
    dtype: torch.dtype,
) -> Float[Tensor, "channels n"]:
    """All sines, then all cosines, of positions on one axis."""
    waves = sinusoid(points, 2 * band_counts(width)[0], temperature=temperature, dtype=dtype)
    return waves.flatten(0, 1)


def _channels(
    rows: Tensor, columns: Tensor, width: int, dim: int
) -> tuple[Float[Tensor, "..."], Float[Tensor, "..."]]:
    """Of each axis' sines and cosines, along `dim`, those that a code of this width has."""
    sin_y, cos_y, sin_x, cos_x = band_counts(width)
    if sin_y == cos_x:  # all
        return rows, columns
    parts = [columns.narrow(dim, 0, sin_x), columns.narrow(dim, sin_y, cos_x)]
    return rows.narrow(dim, 0, sin_y + cos_y), torch.cat(parts, dim)


def _require_options(temperature: float, cells: tuple[int, int] | None) -> None:
    require_temperature(temperature)
    if cells is not None:
        require_pair("cells", cells)
    if cells is not None and min(cells) < 1:
        raise ValueError(f"`cells` must be at least 1 cell an axis, but is {tuple(cells)}.")
