"""A learned constant as the source of a map: StyleGAN, arXiv 1812.04948.

The map that a generator starts from is a parameter, the same for all samples: whatever differs
between them must come in later, and position is what the constant's cells learn to be. The paper
starts it at ones; StyleGAN2 (arXiv 1912.04958) draws it from the normal law.
"""

from typing import Literal, final

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn


@final
class LearnedConstant(nn.Module):
    """A learned map, given once for each sample: the paper's is 512 channels of 4 x 4 cells.

    The samples share memory (an expanded view): add to them, do not write into them.

    Args:
        channels: of the map.
        h, w: rows and columns of the map, at least 1 each.
        init: "ones" as in StyleGAN, or "randn" (normal, deviation 1) as in StyleGAN2.

    Attributes:
        constant: `1 c h w`.

    Raises:
        ValueError: if `channels`, `h` or `w` is below 1, or `init` is neither.

    >>> LearnedConstant(1, 1, 2)(2).tolist()
    [[[[1.0, 1.0]]], [[[1.0, 1.0]]]]
    """

    def __init__(
        self,
        channels: int = 512,
        h: int = 4,
        w: int = 4,
        *,
        init: Literal["ones", "randn"] = "ones",
    ) -> None:
        super().__init__()
        for name, value in (("channels", channels), ("h", h), ("w", w)):
            if value < 1:
                raise ValueError(f"`{name}` must be at least 1, but is {value}.")
        if init not in ("ones", "randn"):
            raise ValueError(f"`init` must be 'ones' or 'randn', but is {init!r}.")
        self.init = init
        self.constant = nn.Parameter(torch.empty(1, channels, h, w))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Sets the constant as at construction."""
        if self.init == "ones":
            nn.init.ones_(self.constant)
        else:
            nn.init.normal_(self.constant)

    def forward(
        self, z: int | Float[Tensor, "b ..."] | Int[Tensor, "b ..."]
    ) -> Float[Tensor, "b c h w"]:
        """The constant, `b` times.

        Args:
            z: how many, or a tensor with as many samples, whose dtype the result then has if it
                is one of floating point. Its values make no difference.

        Raises:
            ValueError: if `z` is a negative number.
        """
        if isinstance(z, Tensor):
            constant = self.constant.to(z.dtype) if z.is_floating_point() else self.constant
            return constant.expand(z.shape[0], -1, -1, -1)
        require_count(z)
        return self.constant.expand(z, -1, -1, -1)

    def __repr__(self) -> str:
        _, channels, h, w = self.constant.shape
        return f"LearnedConstant({channels}, {h}, {w}, init={self.init!r})"


def require_count(z: int) -> None:
    """Refuses a negative number of samples."""
    if z < 0:
        raise ValueError(f"`z` must be a number of samples, at least 0, but is {z}.")
