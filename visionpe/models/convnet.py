"""A plain convolutional net for small images, in which position comes from the padding alone."""

from jaxtyping import Float
from torch import Tensor, nn


class ConvNet(nn.Module):
    """Stages of two 3x3 convolutions, each halved by the last, a mean, one linear layer.

    Args:
        width: channels of the first stage; each stage doubles them.
        depth: how many stages.
        channels: of the images.
        classes: how many logits.

    Raises:
        ValueError: if a number is below 1.

    >>> import torch
    >>> ConvNet(8, 2, classes=5)(torch.zeros(2, 3, 12, 20)).shape
    torch.Size([2, 5])
    """

    def __init__(
        self, width: int = 32, depth: int = 3, *, channels: int = 3, classes: int = 10
    ) -> None:
        super().__init__()
        if min(width, depth, channels, classes) < 1:
            raise ValueError(
                "`width`, `depth`, `channels` and `classes` must be at least 1, but are "
                f"{width}, {depth}, {channels} and {classes}."
            )
        stages: list[nn.Module] = []
        c = channels
        for i in range(depth):
            d = width * 2**i
            stages.append(nn.Sequential(*_layer(c, d, 1), *_layer(d, d, 2)))
            c = d
        self.stages = nn.Sequential(*stages)
        self.head = nn.Linear(c, classes)

    def forward(self, images: Float[Tensor, "b c h w"]) -> Float[Tensor, "b k"]:
        """The logits of images."""
        x: Tensor = self.stages(images)
        logits: Tensor = self.head(x.mean((-2, -1)))
        return logits


def _layer(c: int, d: int, stride: int) -> list[nn.Module]:
    return [
        nn.Conv2d(c, d, 3, stride, 1, bias=False),
        nn.BatchNorm2d(d),
        nn.ReLU(inplace=True),
    ]
