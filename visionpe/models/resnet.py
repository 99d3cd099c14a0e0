"""Residual nets for small images, arXiv 1512.03385: a 3x3 stem that keeps every pixel."""

from collections.abc import Sequence

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn


class BasicBlock(nn.Module):
    """Two 3x3 convolutions with a way around them, projected where the shape changes.

    Args:
        channels: of the input.
        width: of the output.
        stride: of the first convolution.
    """

    def __init__(self, channels: int, width: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, width, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.downsample = nn.Sequential()
        if stride != 1 or channels != width:
            self.downsample = nn.Sequential(
                nn.Conv2d(channels, width, 1, stride, bias=False), nn.BatchNorm2d(width)
            )

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d n m"]:
        """The block's output, `stride` times smaller."""
        y = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(y)) + self.downsample(x))


class ResNet(nn.Module):
    """A residual net of basic blocks for images of about 32 pixels, of any size and shape.

    With the defaults ResNet-18 as it is trained on CIFAR: torchvision's, key by key, but for the
    stem, here 3x3 without a pooling.

    Args:
        blocks: how many in each stage; all stages but the first halve the map.
        width: channels of the first stage; each stage doubles them.
        channels: of the images.
        classes: how many logits.

    Raises:
        ValueError: if a number is below 1.

    >>> import torch
    >>> ResNet((1, 1), width=8, classes=5)(torch.zeros(2, 3, 12, 20)).shape
    torch.Size([2, 5])
    """

    def __init__(
        self,
        blocks: Sequence[int] = (2, 2, 2, 2),
        *,
        width: int = 64,
        channels: int = 3,
        classes: int = 10,
    ) -> None:
        super().__init__()
        if not blocks or min(*blocks, width, channels, classes) < 1:
            raise ValueError(
                "`blocks`, `width`, `channels` and `classes` must be at least 1, but are "
                f"{tuple(blocks)}, {width}, {channels} and {classes}."
            )
        self.conv1 = nn.Conv2d(channels, width, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.stages = len(blocks)
        c = width
        for i, count in enumerate(blocks):
            d = width * 2**i
            first = BasicBlock(c, d, 1 if i == 0 else 2)
            rest = (BasicBlock(d, d) for _ in range(count - 1))
            self.add_module(f"layer{i + 1}", nn.Sequential(first, *rest))
            c = d
        self.fc = nn.Linear(c, classes)
        self.init_weights()

    def init_weights(self) -> None:
        """Draws the convolutions by He's law, of what goes out."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, images: Float[Tensor, "b c h w"]) -> Float[Tensor, "b k"]:
        """The logits of images."""
        x = F.relu(self.bn1(self.conv1(images)))
        for i in range(self.stages):
            x = self.get_submodule(f"layer{i + 1}")(x)
        logits: Tensor = self.fc(x.mean((-2, -1)))
        return logits
