"""Weights made from coordinates: a small network turns each cell's place into what acts on it.

HyperNetworks (arXiv 1609.09106) make weights with a network; FiLM (1709.07871) makes a scale and a
shift, and dynamic filters (1605.09673) a kernel for each cell. Those are made from an embedding of
the layer, a question and the image; here from the cell's coordinates `(y, x)` alone, so that what
acts is a function of the place and the same for every image. No paper proposes exactly this.
"""

import math
from typing import final

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from typing_extensions import override

from visionpe.encodings._start import ZeroLinear
from visionpe.encodings.base import (
    MapEncoding,
    PointEncoding,
    pad_tokens,
    require_batch,
    require_channels,
    require_floating,
    require_tokens,
)
from visionpe.encodings.precision import wide_dtype
from visionpe.frame import Frame
from visionpe.grids import grid
from visionpe.places import Places


def per_cell_conv2d(
    x: Float[Tensor, "b c h w"], kernels: Float[Tensor, "#b g t h w"]
) -> Float[Tensor, "b c h w"]:
    """A zero-padded depthwise convolution whose kernel is another at each cell.

    Args:
        kernels: `t` is `k * k`, the taps of a kernel row by row, of odd side `k`; each of the `g`
            kernels serves `c / g` channels.

    Raises:
        ValueError: if `t` is no odd square, or `g` does not divide `c`.

    >>> kernels = torch.tensor([0.0, 0, 0, 1, 0, 0, 0, 0, 0]).view(1, 1, 9, 1, 1)
    >>> per_cell_conv2d(torch.tensor([[[[1.0, 2.0, 3.0]]]]), kernels.expand(-1, -1, -1, 1, 3))
    tensor([[[[0., 1., 2.]]]])
    """
    groups, taps, h, w = kernels.shape[1:]
    side = math.isqrt(taps)
    if side * side != taps or side % 2 == 0:
        raise ValueError(f"`kernels` must have the square of an odd side of taps, but has {taps}.")
    _require_groups(groups, x.shape[1])
    reach = side // 2
    padded = F.pad(x, (reach, reach, reach, reach)).unflatten(1, (groups, -1))  # b g c/g h' w'
    total: Tensor = torch.zeros_like(x).unflatten(1, (groups, -1))
    for tap in range(taps):  # a few slices: nothing k * k times as large as the map
        i, j = divmod(tap, side)
        total = total + kernels[:, :, tap, None] * padded[..., i : i + h, j : j + w]
    return total.flatten(1, 2)


@final
class HyperScale(PointEncoding):
    """Scales and shifts each channel of each cell by numbers made from its coordinates.

    `x * (1 + scale(y, x)) + shift(y, x)`, both from a network with one hidden layer (GELU).

    Args:
        channels: of the map or tokens.
        hidden: width of the hidden layer.
        zero_init: start as the identity: the last layer is zero. Otherwise it is drawn as
            `nn.Linear` draws it.

    Raises:
        ValueError: if `channels` or `hidden` is below 1.

    >>> HyperScale(2)(torch.ones(1, 2, 1, 1)).flatten().tolist()
    [1.0, 1.0]
    """

    def __init__(self, channels: int, *, hidden: int = 32, zero_init: bool = True) -> None:
        super().__init__()
        _require_positive(channels=channels, hidden=hidden)
        self.channels: int = channels
        self.hidden = hidden
        self.zero_init = zero_init
        self.network = _Network(hidden, 2 * channels, zero_init)

    def forward(
        self, x: Float[Tensor, "b c h w"], frame: Frame | None = None
    ) -> Float[Tensor, "b c h w"]:
        """The map, scaled and shifted, in its dtype."""
        require_channels(self, self.channels, x.shape[1])
        scale, shift = _codes(self.network, x, frame).chunk(2, -3)
        return x * (1 + scale) + shift

    @override
    def tokens(self, x: Float[Tensor, "b n c"], places: Places) -> Float[Tensor, "b n c"]:
        require_channels(self, self.channels, x.shape[-1])
        require_tokens("x", x, places)
        precise = wide_dtype(x, places.positions)
        code = self.network(places.to(x.device, precise).coordinates())
        scale, shift = pad_tokens(code.to(x.dtype), places).chunk(2, -1)
        return x * (1 + scale) + shift

    def __repr__(self) -> str:
        return f"HyperScale({self.channels}, hidden={self.hidden}, zero_init={self.zero_init})"


@final
class HyperConv2d(MapEncoding):
    """Adds a depthwise convolution whose kernel at each cell is made from its coordinates.

    Args:
        channels: of the map.
        kernel_size: odd.
        groups: how many kernels a cell has, each for `channels / groups` channels; by default one
            a channel.
        hidden, zero_init: as of `HyperScale`.

    Raises:
        ValueError: if a number is below 1, `kernel_size` even, or `groups` does not divide
            `channels`.

    >>> HyperConv2d(2)(torch.ones(1, 2, 1, 1)).flatten().tolist()
    [1.0, 1.0]
    """

    def __init__(
        self,
        channels: int,
        *,
        kernel_size: int = 3,
        groups: int | None = None,
        hidden: int = 32,
        zero_init: bool = True,
    ) -> None:
        super().__init__()
        groups = channels if groups is None else groups
        _require_positive(channels=channels, kernel_size=kernel_size, hidden=hidden)
        if kernel_size % 2 == 0:
            raise ValueError(f"`kernel_size` must be an odd number of cells, but is {kernel_size}.")
        _require_groups(groups, channels)
        self.channels: int = channels
        self.kernel_size = kernel_size
        self.groups = groups
        self.hidden = hidden
        self.zero_init = zero_init
        self.network = _Network(hidden, groups * kernel_size**2, zero_init)

    def forward(
        self, x: Float[Tensor, "b c h w"], frame: Frame | None = None
    ) -> Float[Tensor, "b c h w"]:
        """The map with its convolution added, in its dtype."""
        require_channels(self, self.channels, x.shape[1])
        code = _codes(self.network, x, frame)  # *b g*t h w
        kernels = code.unflatten(-3, (self.groups, -1))
        return x + per_cell_conv2d(x, kernels if kernels.dim() == 5 else kernels[None])

    def __repr__(self) -> str:
        return (
            f"HyperConv2d({self.channels}, kernel_size={self.kernel_size}, groups={self.groups}, "
            f"hidden={self.hidden}, zero_init={self.zero_init})"
        )


class _Network(nn.Module):
    """A perceptron of coordinates, whose first layer is computed in float32 or better."""

    def __init__(self, hidden: int, out: int, zero_init: bool) -> None:
        super().__init__()
        self.first = nn.Linear(2, hidden)
        self.last = ZeroLinear(hidden, out) if zero_init else nn.Linear(hidden, out)

    def forward(self, points: Float[Tensor, "*b n 2"]) -> Float[Tensor, "*b n d"]:
        # Written out: autocast, or a layer in half precision, would round the coordinates.
        weight, bias = self.first.weight.to(points.dtype), self.first.bias.to(points.dtype)
        hidden = points[..., :1] * weight[:, 0] + points[..., 1:] * weight[:, 1] + bias
        code: Tensor = self.last(F.gelu(hidden).to(self.last.weight.dtype))
        return code


def _codes(network: _Network, x: Tensor, frame: Frame | None) -> Tensor:
    """What the network makes of each cell of the map `x`, `*b d h w`, in the map's dtype."""
    require_batch(frame, x.shape[0])
    require_floating("x", x)
    h, w = x.shape[-2:]
    points = grid(h, w, frame, device=x.device, dtype=wide_dtype(x)).flatten(-2).mT  # *b hw 2
    code: Tensor = network(points).to(x.dtype).mT.unflatten(-1, (h, w))
    return code


def _require_positive(**numbers: int) -> None:
    for name, number in numbers.items():
        if number < 1:
            raise ValueError(f"`{name}` must be at least 1, but is {number}.")


def _require_groups(groups: int, channels: int) -> None:
    if groups < 1 or channels % groups:
        raise ValueError(f"`groups` must divide the {channels} channels, but is {groups}.")
