"""CoordConv along one axis, arXiv 1807.03247; see `visionpe.encodings.coordconv`."""

from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn
from typing_extensions import override

from visionpe.encodings._convolve import Geometry, convolve
from visionpe.encodings._coordterm import add_map, coordinate_map
from visionpe.encodings._coordweight import coordinate_kernel, require_coordinates, reset
from visionpe.encodings.base import require_batch
from visionpe.encodings.coord import coordinates
from visionpe.encodings.precision import wide_dtype
from visionpe.frame import Frame


def coord_conv1d(
    x: Float[Tensor, "b c n"],
    weight: Float[Tensor, "o i k"],
    coord_weight: Float[Tensor, "o d k"],
    bias: Float[Tensor, " o"] | None = None,
    *,
    stride: int | tuple[int, ...] = 1,
    padding: int | tuple[int, ...] | str = 0,
    dilation: int | tuple[int, ...] = 1,
    groups: int = 1,
    padding_mode: str = "zeros",
    align_corners: bool = False,
    frame: Frame | None = None,
) -> Float[Tensor, "b o m"]:
    """One-dimensional CoordConv: `x` is a row of pixels, its coordinate the frame's `x`.

    Args:
        coord_weight: weights of the coordinate and, if `d` is 2, of its absolute value.
        stride, padding, ...: as of `coord_conv2d`.

    Raises:
        ValueError: if `d` is neither 1 nor 2.

    >>> one = torch.ones(1, 1, 1)
    >>> coord_conv1d(torch.zeros(1, 1, 4), one, one).tolist()
    [[[-0.75, -0.25, 0.25, 0.75]]]
    """
    require_coordinates(coord_weight, 1)
    require_batch(frame, x.shape[0])
    geometry = Geometry.of(weight, stride, padding, dilation, padding_mode)
    code = coordinates(
        1, x.shape[-1], frame, align_corners=align_corners, device=x.device, dtype=wide_dtype(x)
    )[..., 1, :, :]  # *b 2 1 n -> *b 1 n
    if coord_weight.shape[1] == 2:
        code = torch.cat([code, code.abs()], -2)
    term = coordinate_map(code, coord_weight, geometry)
    return add_map(convolve(x, weight, bias, geometry, groups), term)


@final
class CoordConv1d(nn.Conv1d):
    """`nn.Conv1d` with a coordinate channel: a drop-in for it, `isinstance` and keys included.

    Args:
        in_channels, out_channels, kernel_size, ...: as of `nn.Conv1d`.
        radius: a second coordinate channel, the distance to the middle.
        align_corners, zero_init: as of `CoordConv2d`.

    >>> CoordConv1d(3, 8, 3, padding=1)(torch.zeros(2, 3, 5)).shape
    torch.Size([2, 8, 5])
    """

    coord_weight: nn.Parameter

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int],
        stride: int | tuple[int] = 1,
        padding: int | tuple[int] | str = 0,
        dilation: int | tuple[int] = 1,
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
        self.coord_weight = coordinate_kernel(self, 1 + radius)
        reset(self.weight, self.coord_weight, self.bias, zero_init=zero_init)

    def reset_parameters(self) -> None:
        """Draws the weights anew, as `nn.Conv1d` does, and the coordinates' as at construction."""
        super().reset_parameters()
        if "coord_weight" in self._parameters:  # the base's constructor resets before it exists
            reset(self.weight, self.coord_weight, self.bias, zero_init=self.zero_init)

    def forward(
        self, x: Float[Tensor, "b c n"] | Float[Tensor, "c n"], frame: Frame | None = None
    ) -> Float[Tensor, "b o m"] | Float[Tensor, "o m"]:
        """The convolution of `x`, which is the whole image or sits in it where `frame` says.

        Without a batch axis, as `nn.Conv1d` takes it too, `x` is one image.
        """
        if x.dim() == 2:
            alone: Tensor = self(x[None], frame)
            return alone.squeeze(0)
        return coord_conv1d(
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
