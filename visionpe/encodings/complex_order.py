"""Complex order: waves with a learned amplitude, frequency and phase, arXiv 1912.12333.

Each complex dimension is `r exp(i (w pos + phi))`, kept as two real channels. In the paper all
three may belong to a word too; features have no vocabulary, so here they belong to the dimension.
In two dimensions `w pos` becomes `w_y y + w_x x`, a frequency an axis and dimension: the product
of one wave along each axis. A shift of the place then still turns the code by an angle that does
not depend on the place, and the code stays within the amplitude: the paper's two requirements.
"""

from collections.abc import Callable
from typing import Any, final

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from typing_extensions import override

from visionpe.encodings.base import (
    PointEncoding,
    append_code,
    append_token_code,
    pad_tokens,
    require_batch,
    require_channels,
    require_floating,
    require_tokens,
)
from visionpe.encodings.precision import code_dtype, default_dtype, kept_precise, widest_dtype
from visionpe.encodings.sinusoid import require_temperature
from visionpe.frame import Frame
from visionpe.grids import positions, require_pair
from visionpe.places import Places


def complex_order(
    points: Float[Tensor, "*b n 2"] | Int[Tensor, "*b n 2"],
    amplitude: Float[Tensor, " d"],
    frequency: Float[Tensor, "2 d"],
    phase: Float[Tensor, " d"],
) -> Float[Tensor, "*b n width"]:
    """`d` complex waves at each point: their real parts, then their imaginary parts.

    Args:
        points: `(y, x)` in cells, whole or not.
        amplitude: `r`, of any sign.
        frequency: along y and along x, in radians a cell.
        phase: in radians.

    Returns:
        `2 d` channels in the dtype of `points`, of whole numbers in the default one; angles are
        computed in float64 where there is one.

    >>> one = torch.ones(1)
    >>> complex_order(torch.zeros(1, 2), 2 * one, torch.ones(2, 1), 0 * one).tolist()
    [[2.0, 0.0]]
    """
    precise = widest_dtype(points.device)
    y, x = points[..., :1].to(precise), points[..., 1:].to(precise)  # *b n 1
    along_y, along_x = frequency.to(precise).unbind(0)
    angle = y * along_y + x * along_x + phase.to(precise)  # *b n d
    code = torch.cat([angle.cos(), angle.sin()], -1) * amplitude.to(precise).repeat(2)
    return code.to(code_dtype(points))


@final
class ComplexOrder(PointEncoding):
    """Adds learned complex waves to a map or to tokens: two channels a wave.

    The waves start as fixed sinusoids do, half along y and half along x, and may turn.
    Frequencies and phases stay in float32 if the module is made half precision.

    Args:
        channels: of the map or tokens, an even number.
        temperature: the longest wavelength at the start, in units of 2 pi cells.
        cells: `(rows, columns)` that the whole image counts as; see `visionpe.positions`.
        zero_init: start with amplitude 0, the identity, where only amplitudes have a gradient in
            the first step; otherwise with amplitude 1.

    Raises:
        ValueError: if `channels` is odd or below 2, or `temperature` or one of `cells` is not
            positive.

    >>> ComplexOrder(2, zero_init=False)(torch.zeros(1, 2, 1, 1)).flatten().tolist()
    [1.0, 0.0]
    """

    def __init__(
        self,
        channels: int,
        *,
        temperature: float = 10000.0,
        cells: tuple[int, int] | None = None,
        zero_init: bool = True,
    ) -> None:
        super().__init__()
        _require_options("channels", channels, temperature, cells)
        self.channels: int = channels
        self.temperature = temperature
        self.cells = cells
        self.zero_init = zero_init
        self.waves = _Waves(channels // 2, temperature, zero_init)

    def forward(
        self, x: Float[Tensor, "b c h w"], frame: Frame | None = None
    ) -> Float[Tensor, "b c h w"]:
        """The map with the waves added, in the map's dtype."""
        require_channels(self, self.channels, x.shape[1])
        return x + self.waves.on_map(x, frame, self.cells)

    @override
    def tokens(self, x: Float[Tensor, "b n c"], places: Places) -> Float[Tensor, "b n c"]:
        require_channels(self, self.channels, x.shape[-1])
        return x + self.waves.on_tokens(x, places, self.cells)

    def __repr__(self) -> str:
        return (
            f"ComplexOrder({self.channels}, temperature={self.temperature}, cells={self.cells}, "
            f"zero_init={self.zero_init})"
        )


@final
class AppendComplexOrder(PointEncoding):
    """Appends learned complex waves to a map or to tokens: two channels a wave.

    Args:
        width: number of channels to append, even.
        temperature, cells, zero_init: as of `ComplexOrder`. Started at zero, the new channels are
            zeros.

    Raises:
        ValueError: as `ComplexOrder` does, of `width`.

    >>> AppendComplexOrder(2, zero_init=False)(torch.ones(1, 1, 1, 1)).flatten().tolist()
    [1.0, 1.0, 0.0]
    """

    def __init__(
        self,
        width: int,
        *,
        temperature: float = 10000.0,
        cells: tuple[int, int] | None = None,
        zero_init: bool = True,
    ) -> None:
        super().__init__()
        _require_options("width", width, temperature, cells)
        self.width = width
        self.temperature = temperature
        self.cells = cells
        self.zero_init = zero_init
        self.waves = _Waves(width // 2, temperature, zero_init)

    def forward(
        self, x: Float[Tensor, "b c h w"], frame: Frame | None = None
    ) -> Float[Tensor, "b d h w"]:
        """The map with the waves behind it, in the map's dtype."""
        code = self.waves.on_map(x, frame, self.cells)
        return append_code(x, code)

    @override
    def tokens(self, x: Float[Tensor, "b n c"], places: Places) -> Float[Tensor, "b n d"]:
        code = self.waves.on_tokens(x, places, self.cells)
        return append_token_code(x, code)

    @override
    def out_channels(self, in_channels: int) -> int:
        return in_channels + self.width

    def __repr__(self) -> str:
        return (
            f"AppendComplexOrder({self.width}, temperature={self.temperature}, "
            f"cells={self.cells}, zero_init={self.zero_init})"
        )


class _Waves(nn.Module):
    """The parameters of `complex_order`, frequencies and phases in float32 or better."""

    def __init__(self, count: int, temperature: float, zero_init: bool) -> None:
        super().__init__()
        self.temperature = temperature
        self.zero_init = zero_init
        dtype = default_dtype()
        self.amplitude = nn.Parameter(torch.empty(count))
        self.frequency = nn.Parameter(torch.empty(2, count, dtype=dtype))
        self.phase = nn.Parameter(torch.empty(count, dtype=dtype))
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Sets amplitudes, frequencies and phases as at construction."""
        count = self.phase.shape[0]
        rows = (count + 1) // 2  # waves that start along y; the others along x
        steps = torch.arange(rows, dtype=self.phase.dtype, device=self.phase.device)
        scale = self.temperature ** -(steps / rows)
        self.frequency.zero_()
        self.frequency[0, :rows] = scale
        self.frequency[1, rows:] = scale[: count - rows]
        self.amplitude.fill_(float(not self.zero_init))
        self.phase.zero_()

    def forward(self, points: Float[Tensor, "*b n 2"]) -> Float[Tensor, "*b n d"]:
        return complex_order(points, self.amplitude, self.frequency, self.phase)

    def on_map(self, x: Tensor, frame: Frame | None, cells: tuple[int, int] | None) -> Tensor:
        """The code of the map `x`, `*b d h w`."""
        require_batch(frame, x.shape[0])
        require_floating("x", x)
        h, w = x.shape[-2:]
        exact = widest_dtype(x.device)
        points = positions(h, w, frame, cells=cells, device=x.device, dtype=exact)
        code = self(points.flatten(-2).mT)  # *b 2 h w -> *b hw d
        fmap: Tensor = code.to(x.dtype).mT.unflatten(-1, (h, w))
        return fmap

    def on_tokens(self, x: Tensor, places: Places, cells: tuple[int, int] | None) -> Tensor:
        """The code of the tokens `x`, `*b n d`, zeros for those without a place."""
        require_tokens("x", x, places)
        places = places.to(x.device, widest_dtype(x.device))
        points = places.positions
        if cells is not None:
            count = torch.tensor(cells, device=x.device, dtype=points.dtype)
            points = (places.coordinates() * count + (count - 1)) / 2
        return pad_tokens(self(points).to(x.dtype), places)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Any:
        precise = kept_precise(fn, self.frequency, self.phase)
        return super()._apply(precise, recurse)  # type: ignore[no-untyped-call] # torch has none


def _require_options(
    name: str, width: int, temperature: float, cells: tuple[int, int] | None
) -> None:
    if width < 2 or width % 2:
        raise ValueError(
            f"`{name}` must be an even number of at least 2, but is {width}. "
            "A complex number is two channels."
        )
    require_temperature(temperature)
    if cells is not None:
        require_pair("cells", cells)
    if cells is not None and min(cells) < 1:
        raise ValueError(f"`cells` must be at least 1 cell an axis, but is {tuple(cells)}.")
