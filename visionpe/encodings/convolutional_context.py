"""Convolutional context in place of position: arXiv 2006.11477 (wav2vec 2.0) and 1904.11660.

A grouped convolution with a large kernel, GELU, and the input added. On sequences that is
wav2vec 2.0's: kernel 128, 16 groups, weight norm per tap of the kernel. 1904.11660 put a stack of
convolutions with layer norm and ReLU before the transformer, without the residual sum; that is
not this form. The one on maps is the same formula with a square kernel; no paper has it.
"""

import math
from typing import final

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from visionpe.encodings._convolve import convolve
from visionpe.encodings._local import as_map, as_tokens, require_mode, require_room, same_size
from visionpe.encodings.base import MapEncoding, require_batch, require_channels, require_floating
from visionpe.frame import Frame
from visionpe.places import Places


def convolutional_context(
    x: Float[Tensor, "b c *s"],
    weight: Float[Tensor, "c i *k"],
    bias: Float[Tensor, " c"] | None = None,
    *,
    padding_mode: str = "zeros",
) -> Float[Tensor, "b c *s"]:
    """`x + gelu(conv(x))`: a sequence `b c n` or a map `b c h w` with its context added.

    An even kernel sees one cell more before than behind, as wav2vec 2.0's.

    Args:
        weight: of a convolution in `c / i` groups.
        padding_mode: "zeros", as the paper's, "reflect", "replicate" or "circular".

    Raises:
        ValueError: if `padding_mode` is another word, or `x` is too small for it.

    >>> convolutional_context(torch.ones(1, 1, 3), torch.zeros(1, 1, 2)).tolist()
    [[[1.0, 1.0, 1.0]]]
    """
    require_mode(padding_mode)
    geometry = same_size(tuple(weight.shape[2:]), padding_mode)
    require_room(x, geometry)
    groups = weight.shape[0] // weight.shape[1]
    return x + F.gelu(convolve(x, weight, bias, geometry, groups)).to(x.dtype)


class _Kernel(nn.Module):
    """The weights of a grouped convolution, with weight norm per tap if asked for."""

    gain: nn.Parameter | None

    def __init__(
        self, channels: int, kernel: tuple[int, ...], groups: int, weight_norm: bool, zero: bool
    ) -> None:
        super().__init__()
        if channels < 1:
            raise ValueError(f"`channels` must be at least 1, but is {channels}.")
        if min(kernel) < 1:
            raise ValueError(f"`kernel_size` must be at least 1 cell, but is {kernel[0]}.")
        if groups < 1 or channels % groups:
            raise ValueError(f"`groups` must divide the {channels} channels, but is {groups}.")
        self.zero = zero
        self.weight = nn.Parameter(torch.empty(channels, channels // groups, *kernel))
        gain = nn.Parameter(torch.empty(1, 1, *kernel)) if weight_norm else None
        self.register_parameter("gain", gain)
        self.bias = nn.Parameter(torch.empty(channels))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """wav2vec 2.0's: variance `4 / (taps * channels)`, no bias; or a zero kernel."""
        taps = math.prod(self.weight.shape[2:])
        nn.init.normal_(self.weight, std=2 / math.sqrt(taps * self.weight.shape[0]))
        nn.init.zeros_(self.bias)
        with torch.no_grad():
            if self.gain is not None:
                self.gain.copy_(self.weight.square().sum((0, 1), keepdim=True).sqrt())
            if self.zero:
                (self.weight if self.gain is None else self.gain).zero_()

    def forward(self) -> Tensor:
        """The kernel."""
        if self.gain is None:
            return self.weight
        return self.gain * self.weight / self.weight.square().sum((0, 1), keepdim=True).sqrt()


@final
class ConvolutionalContext1d(nn.Module):
    """Adds a sequence's convolutional context to it: wav2vec 2.0's relative position.

    Args:
        channels: of the sequence.
        kernel_size: in cells.
        groups: must divide `channels`.
        padding_mode: "zeros" in the paper.
        weight_norm: True in the paper: each tap of the kernel has its norm as a parameter. Started
            at zero, only the norms have a gradient in the first step.
        zero_init: start as the identity; otherwise as the paper does.

    Raises:
        ValueError: if `groups` does not divide `channels`, `kernel_size` is below 1, or
            `padding_mode` unknown.

    >>> ConvolutionalContext1d(16)(torch.ones(1, 16, 5)).shape
    torch.Size([1, 16, 5])
    """

    def __init__(
        self,
        channels: int,
        *,
        kernel_size: int = 128,
        groups: int = 16,
        padding_mode: str = "zeros",
        weight_norm: bool = False,
        zero_init: bool = True,
    ) -> None:
        super().__init__()
        require_mode(padding_mode)
        self.channels: int = channels
        self.kernel_size = kernel_size
        self.groups = groups
        self.padding_mode = padding_mode
        self.weight_norm = weight_norm
        self.zero_init = zero_init
        self.kernel = _Kernel(channels, (kernel_size,), groups, weight_norm, zero_init)

    def forward(self, x: Float[Tensor, "b c n"]) -> Float[Tensor, "b c n"]:
        """The sequence with its context added, in its dtype."""
        require_floating("x", x)
        require_channels(self, self.channels, x.shape[1])
        return convolutional_context(
            x, self.kernel(), self.kernel.bias, padding_mode=self.padding_mode
        )

    def __repr__(self) -> str:
        return _call(self)


@final
class ConvolutionalContext2d(MapEncoding):
    """Adds a map's convolutional context to it, or that of the tokens of a lattice.

    The frame changes nothing: the borders that it sees are those of the view.

    Args:
        channels: of the map.
        kernel_size: side of the square kernel, in cells.
        groups, padding_mode, weight_norm, zero_init: as of `ConvolutionalContext1d`.

    Raises:
        ValueError: as `ConvolutionalContext1d` does.

    >>> ConvolutionalContext2d(16)(torch.ones(1, 16, 2, 3)).shape
    torch.Size([1, 16, 2, 3])
    """

    def __init__(
        self,
        channels: int,
        *,
        kernel_size: int = 7,
        groups: int = 16,
        padding_mode: str = "zeros",
        weight_norm: bool = False,
        zero_init: bool = True,
    ) -> None:
        super().__init__()
        require_mode(padding_mode)
        self.channels: int = channels
        self.kernel_size = kernel_size
        self.groups = groups
        self.padding_mode = padding_mode
        self.weight_norm = weight_norm
        self.zero_init = zero_init
        self.kernel = _Kernel(channels, (kernel_size,) * 2, groups, weight_norm, zero_init)

    def forward(
        self, x: Float[Tensor, "b c h w"], frame: Frame | None = None
    ) -> Float[Tensor, "b c h w"]:
        """The map with its context added, in the map's dtype."""
        require_batch(frame, x.shape[0])
        require_floating("x", x)
        require_channels(self, self.channels, x.shape[1])
        return convolutional_context(
            x, self.kernel(), self.kernel.bias, padding_mode=self.padding_mode
        )

    def tokens(self, x: Float[Tensor, "b n c"], places: Places) -> Float[Tensor, "b n c"]:
        """Tokens of a lattice, encoded as the map that they are; others keep their value.

        Raises:
            ValueError: if `places.shape` is None.
        """
        return as_tokens(self(as_map(x, places)), x, places)

    def __repr__(self) -> str:
        return _call(self)


def _call(module: ConvolutionalContext1d | ConvolutionalContext2d) -> str:
    return (
        f"{type(module).__name__}({module.channels}, kernel_size={module.kernel_size}, "
        f"groups={module.groups}, padding_mode={module.padding_mode!r}, "
        f"weight_norm={module.weight_norm}, zero_init={module.zero_init})"
    )
