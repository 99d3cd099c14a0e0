"""Fourier features along the axes: arXiv 2003.08934 (NeRF), and 2006.10739's "log-axis" code.

Fixed frequencies, made from scalars at each call. The channels are all sines (of `y`, then of `x`),
then all cosines; NeRF alternates them.
"""

from typing import final

import torch
from jaxtyping import Float
from torch import Tensor
from typing_extensions import override

from visionpe.encodings.base import (
    PointEncoding,
    append_code,
    append_token_code,
    pad_tokens,
    require_batch,
    require_floating,
    require_tokens,
)
from visionpe.encodings.fourier import waves
from visionpe.encodings.frequencies import (
    log_axis_scale,
    octave_scale,
    require_bands,
    require_log_axis,
)
from visionpe.encodings.precision import rounded_once, widest_dtype
from visionpe.frame import Frame
from visionpe.grids import axis, grid
from visionpe.places import Places


def axis_fourier_code(
    h: int,
    w: int,
    frequencies: Float[Tensor, " bands"],
    frame: Frame | None = None,
    *,
    dtype: torch.dtype = torch.float32,
) -> Float[Tensor, "*b d h w"]:
    """Sines of `pi f y` and `pi f x`, then their cosines, at the cells of an `h x w` map.

    `fourier_code` of waves along the axes, from `h + w` sines a frequency, `h` if the map is
    square: `4 * bands` channels. Angles are computed in double precision.

    Args:
        h, w: rows and columns of the map.
        frequencies: in cycles a side of the image, on both axes.
        frame: where the map sits in its image; without it, the map is the whole image.

    >>> axis_fourier_code(1, 2, torch.tensor([1.0]))[:3].flatten(1).tolist()  # 0 is the middle
    [[0.0, 0.0], [-1.0, 1.0], [1.0, 1.0]]
    """
    exact = widest_dtype(frequencies.device)
    if frame is not None:
        points = grid(h, w, frame, device=frequencies.device, dtype=exact)
        return _at_points(points, frequencies, dtype)
    # A graph with open sizes must not ask whether they are equal.
    square = not torch.compiler.is_compiling() and h == w
    sides = [
        axis(n, device=frequencies.device, dtype=exact) / 2 for n in ([h] if square else [h, w])
    ]
    parts: list[Tensor] = []
    for wave in waves(frequencies.to(exact)[:, None] * torch.cat(sides), dtype):
        down, across = (wave, wave) if square else wave.split([h, w], -1)
        parts += [down[..., None].expand(-1, h, w), across[:, None].expand(-1, h, w)]
    return torch.cat(parts)


@final
class NerfFeatures(PointEncoding):
    """Appends `sin` and `cos` of `2^k pi y` and `2^k pi x`, `k` from 0, to a map or to tokens.

    The positional encoding of NeRF, on the image's coordinates. Tokens without a place get zeros.

    Args:
        octaves: the paper's `L`; `4 * octaves` channels are appended.

    Raises:
        ValueError: if `octaves` is below 1.

    >>> import torch
    >>> NerfFeatures(1)(torch.ones(1, 1, 1, 1)).flatten().tolist()
    [1.0, 0.0, 0.0, 1.0, 1.0]
    """

    def __init__(self, octaves: int) -> None:
        super().__init__()
        require_bands("octaves", octaves)
        self.octaves = octaves

    def forward(
        self, x: Float[Tensor, "b c h w"], frame: Frame | None = None
    ) -> Float[Tensor, "b d h w"]:
        """The map with the features behind it, in the map's dtype."""
        return _append(x, octave_scale(self.octaves, device=x.device), frame)

    def tokens(self, x: Float[Tensor, "b n c"], places: Places) -> Float[Tensor, "b n d"]:
        """The tokens with the features behind them, in the tokens' dtype."""
        return _append_to_tokens(x, octave_scale(self.octaves, device=x.device), places)

    @override
    def out_channels(self, in_channels: int) -> int:
        return in_channels + 4 * self.octaves

    def __repr__(self) -> str:
        return f"NerfFeatures({self.octaves})"


@final
class LogAxisFeatures(PointEncoding):
    """Appends `sin` and `cos` of waves of `2^s - 1` cycles along each axis to a map or to tokens.

    Like `NerfFeatures`, with as many steps between 0 and `octaves` as one likes. Tokens without a
    place get zeros.

    Args:
        bands: number of waves on both axes together, even; `2 * bands` channels are appended.
        octaves: the largest `s`, not necessarily whole: 6 for natural images in the paper.

    Raises:
        ValueError: if `bands` is odd or below 2, or `octaves` not positive.

    >>> import torch
    >>> LogAxisFeatures(2)(torch.ones(1, 1, 1, 1)).flatten().tolist()
    [1.0, 0.0, 0.0, 1.0, 1.0]
    """

    def __init__(self, bands: int, *, octaves: float = 6.0) -> None:
        super().__init__()
        require_log_axis(bands, octaves)
        self.bands = bands
        self.octaves = octaves

    def forward(
        self, x: Float[Tensor, "b c h w"], frame: Frame | None = None
    ) -> Float[Tensor, "b d h w"]:
        """The map with the features behind it, in the map's dtype."""
        return _append(x, self._scale(x), frame)

    def tokens(self, x: Float[Tensor, "b n c"], places: Places) -> Float[Tensor, "b n d"]:
        """The tokens with the features behind them, in the tokens' dtype."""
        return _append_to_tokens(x, self._scale(x), places)

    @override
    def out_channels(self, in_channels: int) -> int:
        return in_channels + 2 * self.bands

    def _scale(self, x: Tensor) -> Float[Tensor, " waves"]:
        return log_axis_scale(self.bands // 2, octaves=self.octaves, device=x.device)

    def __repr__(self) -> str:
        return f"LogAxisFeatures({self.bands}, octaves={self.octaves})"


def _append(
    x: Float[Tensor, "b c h w"], frequencies: Float[Tensor, " bands"], frame: Frame | None
) -> Float[Tensor, "b d h w"]:
    require_batch(frame, x.shape[0])
    require_floating("x", x)
    h, w = x.shape[-2:]
    return append_code(x, axis_fourier_code(h, w, frequencies, frame, dtype=rounded_once(x)))


def _append_to_tokens(
    x: Float[Tensor, "b n c"], frequencies: Float[Tensor, " bands"], places: Places
) -> Float[Tensor, "b n d"]:
    require_tokens("x", x, places)
    points = places.to(x.device, widest_dtype(x.device)).coordinates().mT[..., None]  # *b 2 n 1
    code = _at_points(points, frequencies, rounded_once(x))[..., 0].mT  # *b d n 1 -> *b n d
    return append_token_code(x, pad_tokens(code, places))


def _at_points(
    points: Float[Tensor, "*b 2 h w"], frequencies: Float[Tensor, " bands"], dtype: torch.dtype
) -> Float[Tensor, "*b d h w"]:
    along = frequencies.to(points.dtype)[:, None, None] / 2
    cycles = (along * points[..., :, None, :, :]).flatten(-4, -3)  # *b 2 bands h w
    return torch.cat(waves(cycles, dtype), -3)
