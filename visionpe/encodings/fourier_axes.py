"""Fourier features along the axes: arXiv 2003.08934 (NeRF), and 2006.10739's "log-axis" code.

Fixed frequencies, made from scalars at each call. The channels are all sines (of `y`, then of `x`),
then all cosines; NeRF alternates them.
"""

from typing import final

from jaxtyping import Float
from torch import Tensor
from typing_extensions import override

from visionpe.encodings.base import PointEncoding
from visionpe.encodings.fourier import append_fourier, append_fourier_tokens
from visionpe.encodings.frequencies import (
    log_axis_frequencies,
    octave_frequencies,
    require_bands,
    require_log_axis,
)
from visionpe.frame import Frame
from visionpe.places import Places


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
        return append_fourier(x, octave_frequencies(self.octaves, device=x.device), frame)

    def tokens(self, x: Float[Tensor, "b n c"], places: Places) -> Float[Tensor, "b n d"]:
        """The tokens with the features behind them, in the tokens' dtype."""
        return append_fourier_tokens(x, octave_frequencies(self.octaves, device=x.device), places)

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
        return append_fourier(x, self._matrix(x), frame)

    def tokens(self, x: Float[Tensor, "b n c"], places: Places) -> Float[Tensor, "b n d"]:
        """The tokens with the features behind them, in the tokens' dtype."""
        return append_fourier_tokens(x, self._matrix(x), places)

    @override
    def out_channels(self, in_channels: int) -> int:
        return in_channels + 2 * self.bands

    def _matrix(self, x: Tensor) -> Float[Tensor, "bands 2"]:
        return log_axis_frequencies(self.bands, octaves=self.octaves, device=x.device)

    def __repr__(self) -> str:
        return f"LogAxisFeatures({self.bands}, octaves={self.octaves})"
