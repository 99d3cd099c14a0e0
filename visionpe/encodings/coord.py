"""Coordinate channels, arXiv 1807.03247 (CoordConv).

The paper's `y, x` and optional radius, correct for `h != w` and for a single row or column, with
the radius 0 at the image's centre, which the released code and its ports are not.
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
from visionpe.encodings.precision import wide_dtype
from visionpe.frame import Frame
from visionpe.grids import grid
from visionpe.places import Places


def coordinates(
    h: int,
    w: int,
    frame: Frame | None = None,
    *,
    radius: bool = False,
    align_corners: bool = False,
    device: torch.device | str | None = None,
    dtype: torch.dtype = torch.float32,
) -> Float[Tensor, "*b d h w"]:
    """The coordinate channels of an `h x w` map: `y`, `x` and, if asked for, the radius.

    Args:
        h, w: rows and columns of the map.
        frame: where the map sits in its image; without it, the map is the whole image.
        radius: append `sqrt(y^2 + x^2)`: 0 at the centre of the image.
        align_corners: the paper's range, in which the first and last cell are at -1 and 1.

    >>> coordinates(1, 3, radius=True, align_corners=True).tolist()
    [[[0.0, 0.0, 0.0]], [[-1.0, 0.0, 1.0]], [[1.0, 0.0, 1.0]]]
    """
    yx = grid(h, w, frame, align_corners=align_corners, device=device, dtype=dtype)
    if not radius:
        return yx
    return torch.cat([yx, yx.square().sum(-3, keepdim=True).sqrt()], -3)


@final
class AddCoords(PointEncoding):
    """Appends the coordinate channels `y, x` (and the radius) to a map or to tokens.

    The layer of that name in arXiv 1807.03247. Followed by a convolution it is CoordConv;
    `CoordConv2d` computes the same without the concatenation, and faster.

    Args:
        radius: append `sqrt(y^2 + x^2)` as well.
        align_corners: the paper's range, in which the first and last cell are at -1 and 1. Of
            tokens these are the cells of the whole image, as many as `places.extent` counts.

    >>> AddCoords()(torch.ones(1, 1, 2, 2))[0, 1].tolist()
    [[-0.5, -0.5], [0.5, 0.5]]
    """

    def __init__(self, *, radius: bool = False, align_corners: bool = False) -> None:
        super().__init__()
        self.radius = radius
        self.align_corners = align_corners

    def forward(
        self, x: Float[Tensor, "b c h w"], frame: Frame | None = None
    ) -> Float[Tensor, "b d h w"]:
        """The map with its coordinate channels behind it, in the map's dtype."""
        require_batch(frame, x.shape[0])
        require_floating("x", x)
        code = coordinates(
            x.shape[-2],
            x.shape[-1],
            frame,
            radius=self.radius,
            align_corners=self.align_corners,
            device=x.device,
            dtype=wide_dtype(x),
        )
        return append_code(x, code)

    @override
    def tokens(self, x: Float[Tensor, "b n c"], places: Places) -> Float[Tensor, "b n d"]:
        require_tokens("x", x, places)
        precise = wide_dtype(x, places.positions)
        places = places.to(x.device, precise)
        code = _aligned(places) if self.align_corners else places.coordinates()
        if self.radius:
            code = torch.cat([code, code.square().sum(-1, keepdim=True).sqrt()], -1)
        return append_token_code(x, pad_tokens(code, places))

    @override
    def out_channels(self, in_channels: int) -> int:
        return in_channels + 2 + self.radius

    def __repr__(self) -> str:
        return f"AddCoords(radius={self.radius}, align_corners={self.align_corners})"


def _aligned(places: Places) -> Float[Tensor, "*b n 2"]:
    """The places with the whole image's first and last cell at -1 and 1, as `grid` has them."""
    extent = places.extent[..., None, :]
    span = torch.where(extent > 1, extent - 1, torch.ones_like(extent))  # one cell: 0 / 1
    return (2 * places.positions + (1 - extent)) / span
