"""PEG, the position encoding generator of CPVT: arXiv 2102.10882.

A depthwise convolution, added to its input. All that it knows of position is what zero padding
tells it: how far a border is. Circular padding has no border, and gives none.
"""

from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from visionpe.encodings._convolve import convolve
from visionpe.encodings._local import as_map, as_tokens, require_mode, require_room, same_size
from visionpe.encodings.base import MapEncoding, require_batch, require_channels, require_floating
from visionpe.frame import Frame
from visionpe.places import Places


def peg(
    x: Float[Tensor, "b c h w"],
    weight: Float[Tensor, "c 1 k k"],
    bias: Float[Tensor, " c"] | None = None,
    *,
    padding_mode: str = "zeros",
) -> Float[Tensor, "b c h w"]:
    """A map and its depthwise convolution, added.

    Args:
        weight: the kernel of each channel.
        padding_mode: "zeros", as the paper's, "reflect", "replicate" or "circular".

    Raises:
        ValueError: if `padding_mode` is another word, or the map is too small for it.

    >>> peg(torch.ones(1, 1, 2, 3), torch.ones(1, 1, 3, 3)).tolist()  # itself + neighbours
    [[[[5.0, 7.0, 5.0], [5.0, 7.0, 5.0]]]]
    """
    require_mode(padding_mode)
    geometry = same_size(tuple(weight.shape[2:]), padding_mode)
    require_room(x, geometry)
    if _takes_ones(x, weight):  # the map itself is one more tap in the middle, and no further pass
        itself = weight.new_zeros(weight.shape[2:])
        itself[geometry.before] = 1
        return convolve(x, weight + itself, bias, geometry, weight.shape[0])
    # In place: no backward pass reads a convolution's result.
    return convolve(x, weight, bias, geometry, weight.shape[0]).to(x.dtype).add_(x)


def _takes_ones(x: Tensor, weight: Tensor) -> bool:
    """Whether 1 can be added to a weight and both be kept: nothing will round it to a half or TF32.

    Graphs are compiled: they add the map in the same pass.
    """
    if torch.compiler.is_compiling() or x.dtype not in (torch.float32, torch.float64):
        return False
    return x.dtype == weight.dtype and x.is_cpu and not torch.is_autocast_enabled("cpu")


@final
class PEG(MapEncoding):
    """Adds a depthwise convolution to a map or to the tokens of a lattice.

    The frame changes nothing: the borders that it sees are those of the view.

    Args:
        channels: of the map.
        kernel_size: odd; 3 in the paper.
        padding_mode: "zeros" in the paper; "reflect", "replicate" and "circular" tell less.
        bias: 192 of the 1,920 numbers at the paper's 192 channels.
        zero_init: start as the identity; otherwise with the convolution's usual random weights.

    Raises:
        ValueError: if `channels` is below 1, `kernel_size` even or `padding_mode` unknown.

    >>> PEG(2)(torch.ones(1, 2, 1, 1)).flatten().tolist()
    [1.0, 1.0]
    """

    bias: nn.Parameter | None

    def __init__(
        self,
        channels: int,
        *,
        kernel_size: int = 3,
        padding_mode: str = "zeros",
        bias: bool = True,
        zero_init: bool = True,
    ) -> None:
        super().__init__()
        if channels < 1:
            raise ValueError(f"`channels` must be at least 1, but is {channels}.")
        if kernel_size < 1 or kernel_size % 2 == 0:
            raise ValueError(f"`kernel_size` must be an odd number of cells, but is {kernel_size}.")
        require_mode(padding_mode)
        self.channels: int = channels
        self.kernel_size = kernel_size
        self.padding_mode = padding_mode
        self.zero_init = zero_init
        self.weight = nn.Parameter(torch.empty(channels, 1, kernel_size, kernel_size))
        self.register_parameter("bias", nn.Parameter(torch.empty(channels)) if bias else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Zeros, or what `nn.Conv2d` draws."""
        bound = 0.0 if self.zero_init else 1 / self.kernel_size  # 1 / sqrt(fan-in)
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -bound, bound)

    def forward(
        self, x: Float[Tensor, "b c h w"], frame: Frame | None = None
    ) -> Float[Tensor, "b c h w"]:
        """The map with its convolution added, in the map's dtype."""
        require_batch(frame, x.shape[0])
        require_floating("x", x)
        require_channels(self, self.channels, x.shape[1])
        return peg(x, self.weight, self.bias, padding_mode=self.padding_mode)

    def tokens(self, x: Float[Tensor, "b n c"], places: Places) -> Float[Tensor, "b n c"]:
        """Tokens of a lattice, encoded as the map that they are; others keep their value.

        Raises:
            ValueError: if `places.shape` is None.
        """
        return as_tokens(self(as_map(x, places)), x, places)

    def __repr__(self) -> str:
        return (
            f"PEG({self.channels}, kernel_size={self.kernel_size}, "
            f"padding_mode={self.padding_mode!r}, bias={self.bias is not None}, "
            f"zero_init={self.zero_init})"
        )
