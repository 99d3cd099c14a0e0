"""Fourier features of coordinates, arXiv 2006.10739.

The channels are all sines, then all cosines, as in the paper's code; its formula has the cosines
first.
"""

import math
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
    require_floating,
    require_tokens,
)
from visionpe.encodings.frequencies import redraw, require_gaussian
from visionpe.encodings.precision import (
    code_dtype,
    default_dtype,
    kept_precise,
    rounded_once,
    widest_dtype,
)
from visionpe.frame import Frame
from visionpe.grids import axis, grid
from visionpe.places import Places


def fourier_features(
    points: Float[Tensor, "*b 2 h w"] | Int[Tensor, "*b 2 h w"], matrix: Float[Tensor, "bands 2"]
) -> Float[Tensor, "*b d h w"]:
    """Sines, then cosines, of `pi matrix @ point`: `2 * bands` channels.

    Args:
        points: `(y, x)` in [-1, 1], as of `visionpe.grid`.
        matrix: a wave vector `(y, x)` a band, in cycles a side of the image.

    Returns:
        The features in the points' dtype; angles are computed in double precision.

    >>> fourier_features(grid(2, 1), torch.tensor([[1.0, 0.0]]))[0].flatten().tolist()  # sines
    [-1.0, 1.0]
    """
    return _features(points, matrix, code_dtype(points))


def fourier_code(
    h: int,
    w: int,
    matrix: Float[Tensor, "bands 2"],
    frame: Frame | None = None,
    *,
    dtype: torch.dtype = torch.float32,
) -> Float[Tensor, "*b d h w"]:
    """`fourier_features` at the cells of an `h x w` map; without a frame from `h + w` sines a band.

    Args:
        h, w: rows and columns of the map.
        matrix: a wave vector `(y, x)` a band, in cycles a side of the image.
        frame: where the map sits in its image; without it, the map is the whole image.

    >>> fourier_code(1, 2, torch.tensor([[0.0, 1.0]]))[0].flatten().tolist()  # sines
    [-1.0, 1.0]
    """
    device, exact = matrix.device, widest_dtype(matrix.device)
    if frame is not None:
        return _features(grid(h, w, frame, device=device, dtype=exact), matrix, dtype)
    y = axis(h, device=device, dtype=exact) / 2
    # Both axes together: on small maps the number of calls is the cost.
    if not torch.compiler.is_compiling() and w == h:  # a graph with open sizes must not ask
        sin, cos = waves(matrix.to(exact).mT[..., None] * y, dtype)  # 2 bands h
        (sin_y, sin_x), (cos_y, cos_x) = sin.unbind(), cos.unbind()
    else:
        x = axis(w, device=device, dtype=exact) / 2
        along = matrix.to(exact)
        cycles = torch.cat([torch.outer(along[:, 0], y), torch.outer(along[:, 1], x)], -1)
        sin, cos = waves(cycles, dtype)  # bands h+w
        (sin_y, sin_x), (cos_y, cos_x) = sin.split([h, w], -1), cos.split([h, w], -1)
    # The angles of the axes add up; sines and cosines of the sums are made side by side.
    down = torch.stack([sin_y, cos_y, -sin_y])[..., None]  # 3 bands h 1
    across = cos_x[:, None], sin_x[:, None]  # bands 1 w
    return (down[:2] * across[0]).addcmul_(down[1:], across[1]).flatten(0, 1)


@final
class FourierFeatures(PointEncoding):
    """Appends the sines and cosines of random waves over the image to a map or to tokens.

    The wave vectors stay in float32 when the module is cast to half precision, and are saved with
    it. Tokens without a place get zeros.

    Args:
        bands: number of waves; `2 * bands` channels are appended.
        sigma: standard deviation of their frequencies, in cycles a side of the image.
        trainable: learn the wave vectors.
        seed: of their draw; torch's own generator if left out.

    Raises:
        ValueError: if `bands` is below 1, or `sigma` not positive.

    >>> FourierFeatures(3, seed=0)(torch.ones(1, 1, 2, 2)).shape
    torch.Size([1, 7, 2, 2])
    """

    matrix: Tensor

    def __init__(
        self, bands: int, *, sigma: float = 10.0, trainable: bool = False, seed: int | None = None
    ) -> None:
        super().__init__()
        require_gaussian(bands, sigma)
        self.bands = bands
        self.sigma = sigma
        self.trainable = trainable
        self.seed = seed
        matrix = torch.empty(bands, 2, dtype=default_dtype())
        if trainable:
            self.matrix = nn.Parameter(matrix)
        else:
            self.register_buffer("matrix", matrix)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draws the wave vectors anew: the same ones if there is a seed."""
        redraw(self.matrix, self.sigma, self.seed)

    def forward(
        self, x: Float[Tensor, "b c h w"], frame: Frame | None = None
    ) -> Float[Tensor, "b d h w"]:
        """The map with the features behind it, in the map's dtype."""
        require_batch(frame, x.shape[0])
        require_floating("x", x)
        h, w = x.shape[-2:]
        return append_code(x, fourier_code(h, w, self.matrix, frame, dtype=rounded_once(x)))

    def tokens(self, x: Float[Tensor, "b n c"], places: Places) -> Float[Tensor, "b n d"]:
        """The tokens with the features behind them, in the tokens' dtype."""
        require_tokens("x", x, places)
        code = token_features(x, self.matrix, places, rounded_once(x))
        return append_token_code(x, pad_tokens(code, places))

    @override
    def out_channels(self, in_channels: int) -> int:
        return in_channels + 2 * self.bands

    @override
    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Any:
        return nn.Module._apply(self, kept_precise(fn, self.matrix), recurse)

    def __repr__(self) -> str:
        return (
            f"FourierFeatures({self.bands}, sigma={self.sigma}, trainable={self.trainable}, "
            f"seed={self.seed})"
        )


def token_features(
    x: Float[Tensor, "b n c"], matrix: Float[Tensor, "bands 2"], places: Places, dtype: torch.dtype
) -> Float[Tensor, "*b m d"]:
    """The features of the places of tokens."""
    points = places.to(x.device, widest_dtype(x.device)).coordinates().mT[..., None]  # *b 2 n 1
    return _features(points, matrix, dtype)[..., 0].mT  # *b d n 1 -> *b n d


def _features(points: Tensor, matrix: Tensor, dtype: torch.dtype) -> Tensor:
    exact = widest_dtype(points.device)
    y, x = points.to(exact).unbind(-3)
    along_y, along_x = (part[:, None, None] / 2 for part in matrix.to(exact).unbind(-1))
    # Written out: a matmul may round to lower precision, on some devices or under autocast.
    cycles = along_y * y[..., None, :, :] + along_x * x[..., None, :, :]
    return torch.cat(waves(cycles, dtype), -3)


def waves(cycles: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Sine and cosine of `cycles` turns; whole turns are taken off before they cost precision."""
    angle = 2 * math.pi * (cycles - cycles.round()).to(dtype)
    return angle.sin(), angle.cos()
