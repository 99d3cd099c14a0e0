"""The networks without coordinates that the CoordConv paper compares with, arXiv 1807.03247."""

from itertools import pairwise

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn


class DeconvPointToMap(nn.Module):
    """From a point to one logit a cell of 64 x 64: six transposed convolutions of stride 2.

    Parameters: 46,465 / 183,041 / 409,729 for kernel 2 and multiplier 1 / 2 / 3; 103,585 / 409,921
    / 919,009 for kernel 3; 183,553 / 727,553 / 1,632,001 for kernel 4.

    Args:
        kernel: size of the kernels: 2, 3 or 4 cells.
        multiplier: channels are 64, 64, 64, 32, 32 times this.

    Raises:
        ValueError: if `kernel` is not 2, 3 or 4, or `multiplier` below 1.

    >>> sum(p.numel() for p in DeconvPointToMap().parameters())
    46465
    """

    def __init__(self, *, kernel: int = 2, multiplier: int = 1) -> None:
        super().__init__()
        if kernel not in (2, 3, 4):
            raise ValueError(f"`kernel` must be 2, 3 or 4 cells, but is {kernel}.")
        if multiplier < 1:
            raise ValueError(f"`multiplier` must be at least 1, but is {multiplier}.")
        widths = [2, *(multiplier * c for c in (64, 64, 64, 32, 32)), 1]
        layers: list[nn.Module] = []
        for i, o in pairwise(widths):
            layers += [DoublingDeconv(i, o, kernel), nn.BatchNorm2d(o), nn.ReLU()]
        self.layers = nn.Sequential(*layers[:-2])
        self.size = (64, 64)

    def forward(self, points: Float[Tensor, "b 2"]) -> Float[Tensor, "b n"]:
        """Logits of the canvas's cells in reading order, from points `(y, x)` in cells."""
        image: Tensor = self.layers(points[:, :, None, None])
        return image.flatten(1)


class DoublingDeconv(nn.ConvTranspose2d):
    """A transposed convolution of stride 2 that doubles the map, cropped as TensorFlow's "same".

    >>> import torch
    >>> DoublingDeconv(2, 3, kernel=3)(torch.ones(1, 2, 4, 5)).shape
    torch.Size([1, 3, 8, 10])
    """

    def __init__(self, in_channels: int, out_channels: int, kernel: int) -> None:
        super().__init__(in_channels, out_channels, kernel, stride=2)

    def forward(  # type: ignore[override] # the size is always twice the input's
        self, x: Float[Tensor, "b c h w"]
    ) -> Float[Tensor, "b d m n"]:
        """The map at twice its size; the odd one of the surplus cells goes at the far end."""
        surplus = self.kernel_size[0] - 2
        before, after = surplus // 2, surplus - surplus // 2
        full = super().forward(x)
        return F.pad(full, [-before, -after, -before, -after])


class ConvMapToPoint(nn.Module):
    """From a 64 x 64 map with one cell set to its place: the net for the uniform split.

    Four 3x3 convolutions, max pools after the first three, two dense layers; 72,850 parameters
    with `multiplier=1`, 159,330 with 2.

    Raises:
        ValueError: if `multiplier` is below 1.

    >>> sum(p.numel() for p in ConvMapToPoint().parameters())
    72850
    """

    def __init__(self, *, multiplier: int = 1) -> None:
        super().__init__()
        if multiplier < 1:
            raise ValueError(f"`multiplier` must be at least 1, but is {multiplier}.")
        c = 16 * multiplier
        layers: list[nn.Module] = []
        for i in (1, c, c):
            layers += [nn.Conv2d(i, c, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
        layers += [nn.Conv2d(c, c, 3, padding=1), nn.ReLU(), nn.Flatten()]
        layers += [nn.Linear(c * 8 * 8, 64), nn.ReLU(), nn.Linear(64, 2)]
        self.layers = nn.Sequential(*layers)

    def forward(self, image: Float[Tensor, "b 1 h w"]) -> Float[Tensor, "b 2"]:
        """The place `(y, x)`, in whatever unit the net was trained on."""
        place: Tensor = self.layers(image)
        return place


class StridedMapToPoint(nn.Module):
    """From a 64 x 64 map with one cell set to its place: the net for the quadrant split.

    Nine convolutions, some of stride 2, and a global mean; 12,914 parameters with `multiplier=1`,
    49,890 with 2.

    Raises:
        ValueError: if `multiplier` is below 1.

    >>> sum(p.numel() for p in StridedMapToPoint().parameters())
    12914
    """

    def __init__(self, *, multiplier: int = 1) -> None:
        super().__init__()
        if multiplier < 1:
            raise ValueError(f"`multiplier` must be at least 1, but is {multiplier}.")
        c = 16 * multiplier
        kernels, strides = (5, 1, 3, 3, 3, 3, 1, 3), (2, 1, 1, 2, 2, 2, 1, 2)
        norms = (0, 1, 0, 0, 1, 0, 0, 0)  # whether a BatchNorm follows
        inputs = (1, *[c] * 7)
        layers: list[nn.Module] = []
        for i, kernel, stride, norm in zip(inputs, kernels, strides, norms, strict=True):
            layers.append(nn.Conv2d(i, c, kernel, stride, padding=kernel // 2))
            layers += [nn.BatchNorm2d(c)] * norm + [nn.ReLU()]
        layers.append(nn.Conv2d(c, 2, 3, padding=1))
        self.layers = nn.Sequential(*layers)

    def forward(self, image: Float[Tensor, "b 1 h w"]) -> Float[Tensor, "b 2"]:
        """The place `(y, x)`, in whatever unit the net was trained on."""
        maps: Tensor = self.layers(image)
        return maps.mean((2, 3))
