"""Fourier features, arXiv 2006.10739, added to a map through a learned projection."""

from collections.abc import Callable
from typing import Any, final

import torch
from jaxtyping import Float
from torch import Tensor, nn
from typing_extensions import override

from visionpe.encodings.base import (
    PointEncoding,
    pad_tokens,
    require_batch,
    require_channels,
    require_floating,
    require_tokens,
)
from visionpe.encodings.fourier import fourier_code, token_features
from visionpe.encodings.frequencies import redraw, require_gaussian
from visionpe.encodings.precision import default_dtype, exactly, kept_precise, wide_dtype
from visionpe.frame import Frame
from visionpe.places import Places


@final
class AddFourierFeatures(PointEncoding):
    """Adds a learned projection of random Fourier features to a map or to tokens.

    The projection is zero at first, so that what it is attached to does not change (and trainable
    wave vectors begin to move with the second step). Tokens without a place keep their value.

    Args:
        channels: of the maps.
        bands: number of waves.
        sigma, trainable, seed: as of `FourierFeatures`.
        init_std: standard deviation of the projection's initial weights.

    Raises:
        ValueError: if `channels` or `bands` is below 1, `sigma` not positive, or `init_std`
            negative; at the call, if the input has another number of channels.

    >>> AddFourierFeatures(1, 3, seed=0)(torch.ones(1, 1, 1, 2)).tolist()
    [[[[1.0, 1.0]]]]
    """

    matrix: Tensor

    def __init__(
        self,
        channels: int,
        bands: int,
        *,
        sigma: float = 10.0,
        trainable: bool = False,
        seed: int | None = None,
        init_std: float = 0.0,
    ) -> None:
        super().__init__()
        if channels < 1:
            raise ValueError(f"`channels` must be at least 1, but is {channels}.")
        require_gaussian(bands, sigma)
        if not init_std >= 0:
            raise ValueError(f"`init_std` must be at least 0, but is {init_std}.")
        self.channels: int = channels
        self.bands = bands
        self.sigma = sigma
        self.trainable = trainable
        self.seed = seed
        self.init_std = init_std
        matrix = torch.empty(bands, 2, dtype=default_dtype())
        if trainable:
            self.matrix = nn.Parameter(matrix)
        else:
            self.register_buffer("matrix", matrix)
        self.weight = nn.Parameter(torch.empty(channels, 2 * bands))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draws the wave vectors and the projection anew."""
        redraw(self.matrix, self.sigma, self.seed)
        nn.init.normal_(self.weight, std=self.init_std)

    def forward(
        self, x: Float[Tensor, "b c h w"], frame: Frame | None = None
    ) -> Float[Tensor, "b c h w"]:
        """The map with the projected features added, in the map's dtype."""
        require_batch(frame, x.shape[0])
        require_floating("x", x)
        require_channels(self, self.channels, x.shape[1])
        h, w = x.shape[-2:]
        features = fourier_code(h, w, self.matrix, frame, dtype=wide_dtype(x))
        code = _project(features.flatten(-2).mT, self.weight).mT  # *b d h w -> *b c hw
        return x + code.reshape(*features.shape[:-3], self.channels, h, w).to(x.dtype)

    def tokens(self, x: Float[Tensor, "b n c"], places: Places) -> Float[Tensor, "b n c"]:
        """The tokens with the projected features added to those that have a place."""
        require_tokens("x", x, places)
        require_channels(self, self.channels, x.shape[-1])
        code = _project(token_features(x, self.matrix, places, wide_dtype(x)), self.weight)
        return x + pad_tokens(code, places).to(x.dtype)

    @override
    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Any:
        return nn.Module._apply(self, kept_precise(fn, self.matrix), recurse)

    def __repr__(self) -> str:
        return (
            f"AddFourierFeatures({self.channels}, {self.bands}, sigma={self.sigma}, "
            f"trainable={self.trainable}, seed={self.seed}, init_std={self.init_std})"
        )


def _project(features: Tensor, weight: Tensor) -> Tensor:
    """`features @ weight.T` in the features' dtype, whatever the weights' or autocast's."""
    weight = weight.to(features.dtype)
    with exactly(features.device):
        return features @ weight.mT
