"""Small nets that could not know where things are, but for their borders, arXiv 2003.07064.

Convolutions and a global maximum: moved content gives the same answer, unless the padding tells the
border from the rest. Layer by layer as in the paper's released code.
"""

from typing import Literal, final

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

PaddingMode = Literal["zeros", "reflect", "replicate", "circular"]


@final
class RedGreen(nn.Module):
    """Four 3x3 convolutions without bias, ReLU, global maximum, and a linear layer to 2 classes.

    The widths are 32, 32, 64, 64, the strides 1, 2, 2, 2.

    Args:
        padding: cells on each side of every convolution: 0, 1 or 2 are the paper's V-Conv, S-Conv
            and F-Conv.
        padding_mode: of `torch.nn.Conv2d`.

    Raises:
        ValueError: if `padding` is negative.

    >>> sum(p.numel() for p in RedGreen(padding=1).parameters())
    65506
    """

    def __init__(self, *, padding: int, padding_mode: PaddingMode = "zeros") -> None:
        super().__init__()
        if padding < 0:
            raise ValueError(f"`padding` must be at least 0 cells, but is {padding}.")
        widths, strides = (3, 32, 32, 64, 64), (1, 2, 2, 2)
        self.convs = nn.ModuleList(
            nn.Conv2d(*(i, o, 3), stride=s, padding=padding, padding_mode=padding_mode, bias=False)
            for i, o, s in zip(widths, widths[1:], strides, strict=False)
        )
        self.classify = nn.Linear(widths[-1], 2)

    def forward(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b 2"]:
        """Logits of the two classes."""
        x = images
        for conv in self.convs:
            x = F.relu(conv(x))
        logits: Tensor = self.classify(x.amax((-2, -1)))  # b c h w -> b c
        return logits


@final
class Rook(nn.Module):
    """One 5x5 convolution to one channel without bias, ReLU, global maximum, a linear layer to 2.

    Args:
        padding_mode: of `torch.nn.Conv2d`; the sides are always kept.

    >>> sum(p.numel() for p in Rook().parameters())
    29
    """

    def __init__(self, *, padding_mode: PaddingMode = "zeros") -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 1, 5, padding=2, padding_mode=padding_mode, bias=False)
        self.classify = nn.Linear(1, 2)

    def forward(self, images: Float[Tensor, "b 1 h w"]) -> Float[Tensor, "b 2"]:
        """Logits of the two places."""
        logits: Tensor = self.classify(F.relu(self.conv(images)).amax((-2, -1)))
        return logits
