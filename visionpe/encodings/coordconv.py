"""CoordConv, arXiv 1807.03247: a convolution that also sees where it is.

Convolution is linear, so `conv(cat[x, c]) = conv(x) + conv_c(c)`: the coordinate term is computed
once for a batch and added, instead of concatenated to every image. The paper's layer for any
`h x w >= 1`, at nearly the plain convolution's cost.
"""

from typing import Any, final

import torch
from jaxtyping import Float
from torch import Tensor, nn
from typing_extensions import override

from visionpe.encodings._convolve import Geometry, convolve
from visionpe.encodings._coordterm import (
    add_map,
    add_strips,
    coordinate_map,
    separates,
    strip,
)
from visionpe.encodings._coordweight import coordinate_kernel, require_coordinates, reset
from visionpe.encodings._stem import Stem
from visionpe.encodings.base import require_batch
from visionpe.encodings.coord import coordinates
from visionpe.encodings.precision import wide_dtype
from visionpe.frame import Frame
from visionpe.grids import axis


def coord_conv2d(
    x: Float[Tensor, "b c h w"],
    weight: Float[Tensor, "o i kh kw"],
    coord_weight: Float[Tensor, "o d kh kw"],
    bias: Float[Tensor, " o"] | None = None,
    *,
    stride: int | tuple[int, ...] = 1,
    padding: int | tuple[int, ...] | str = 0,
    dilation: int | tuple[int, ...] = 1,
    groups: int = 1,
    padding_mode: str = "zeros",
    align_corners: bool = False,
    frame: Frame | None = None,
) -> Float[Tensor, "b o m n"]:
    """A convolution of `x` with its coordinate channels behind it.

    Args:
        weight: weights of the channels of `x`; `i` is `c / groups`.
        coord_weight: weights of `y`, `x` and, if `d` is 3, of the radius. Every group sees all of
            the coordinate channels.
        stride, padding, dilation, groups, padding_mode: as of `nn.Conv2d`; the coordinates are
            padded as the image is.
        align_corners: the paper's range, in which the first and last cell are at -1 and 1.
        frame: where `x` sits in its image; without it, `x` is the whole image.

    Returns:
        The result in the dtype of the plain convolution; the coordinate term is computed in
        float32 or better whatever that is.

    Raises:
        ValueError: if `d` is neither 2 nor 3.

    >>> zero, ones = torch.zeros(1, 1, 1, 1), torch.ones(1, 2, 1, 1)
    >>> coord_conv2d(torch.zeros(1, 1, 2, 2), zero, ones).tolist()
    [[[[-1.0, 0.0], [0.0, 1.0]]]]
    """
    require_coordinates(coord_weight, 2)
    require_batch(frame, x.shape[0])
    geometry = Geometry.of(weight, stride, padding, dilation, padding_mode)
    h, w = x.shape[-2:]
    radius = coord_weight.shape[1] == 3
    options: dict[str, Any] = {
        "align_corners": align_corners,
        "device": x.device,
        "dtype": wide_dtype(x),
    }
    convolution = (x, weight, bias, geometry, groups)
    y = Stem.of(*convolution, plus=coord_weight) or convolve(*convolution)
    if frame is not None or radius or not separates(y.shape, y.dtype):
        code = coordinates(h, w, frame, radius=radius, **options)
        term = coordinate_map(code, coord_weight, geometry)
        return y.plus_map(term) if isinstance(y, Stem) else add_map(y, term)
    # The whole image: y is the same along a row, x down a column, so narrow strips tell all.
    strips = (
        strip(axis(h, **options), w, coord_weight[:, :1], geometry),
        strip(axis(w, **options), h, coord_weight[:, 1:].mT, geometry.transposed()),
    )
    return y.plus_strips(*strips) if isinstance(y, Stem) else add_strips(y, *strips)


@final
class CoordConv2d(nn.Conv2d):
    """`nn.Conv2d` with coordinate channels: a drop-in for it, `isinstance` and keys included.

    Args:
        in_channels, out_channels, kernel_size, ...: as of `nn.Conv2d`.
        radius: a third coordinate channel, the distance to the image's centre.
        align_corners: the paper's range, in which the first and last cell are at -1 and 1.
        zero_init: start with zero coordinate weights, equal to the plain convolution. Otherwise
            (the paper's way) they are drawn as the others are, all over the joint fan-in.

    Attributes:
        coord_weight: `out_channels d kh kw`; `d` is 2 or, with the radius, 3.

    >>> CoordConv2d(3, 8, 3, padding=1)(torch.zeros(2, 3, 5, 7)).shape
    torch.Size([2, 8, 5, 7])
    """

    coord_weight: nn.Parameter

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, int],
        stride: int | tuple[int, int] = 1,
        padding: int | tuple[int, int] | str = 0,
        dilation: int | tuple[int, int] = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        *,
        radius: bool = False,
        align_corners: bool = False,
        zero_init: bool = True,
    ) -> None:
        super().__init__(
            in_channels,
            out_channels,
            kernel_size,
            stride,
            padding,
            dilation,
            groups,
            bias,
            padding_mode,  # type: ignore[arg-type]
            device,
            dtype,
        )
        self.radius = radius
        self.align_corners = align_corners
        self.zero_init = zero_init
        self.coord_weight = coordinate_kernel(self, 2 + radius)
        reset(self.weight, self.coord_weight, self.bias, zero_init=zero_init)

    def reset_parameters(self) -> None:
        """Draws the weights anew, as `nn.Conv2d` does, and the coordinates' as at construction."""
        super().reset_parameters()
        if "coord_weight" in self._parameters:  # the base's constructor resets before it exists
            reset(self.weight, self.coord_weight, self.bias, zero_init=self.zero_init)

    def forward(
        self, x: Float[Tensor, "b c h w"] | Float[Tensor, "c h w"], frame: Frame | None = None
    ) -> Float[Tensor, "b o m n"] | Float[Tensor, "o m n"]:
        """The convolution of `x`, which is the whole image or sits in it where `frame` says.

        Without a batch axis, as `nn.Conv2d` takes it too, `x` is one image.
        """
        if x.dim() == 3:
            alone: Tensor = self(x[None], frame)
            return alone.squeeze(0)
        return coord_conv2d(
            x,
            self.weight,
            self.coord_weight,
            self.bias,
            stride=self.stride,
            padding=self.padding,
            dilation=self.dilation,
            groups=self.groups,
            padding_mode=self.padding_mode,
            align_corners=self.align_corners,
            frame=frame,
        )

    @override
    def extra_repr(self) -> str:
        base = super().extra_repr()  # type: ignore[no-untyped-call] # torch has no annotation
        options = ("radius", "align_corners", "zero_init")
        return ", ".join([base, *(f"{name}={getattr(self, name)}" for name in options)])
