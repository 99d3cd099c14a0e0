"""PosENet: the read-out that arXiv:2001.08248 trains on frozen maps, or on images alone.

As in its released code: maps resized to 28 x 28 (bilinear, corners on corners), concatenated,
`depth` convolutions without padding (batch norm and ReLU between them; batch norm and a sigmoid
last), the result resized to the image. Of our own: several targets at once, each by its own
read-out.
"""

from collections.abc import Sequence
from typing import final

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn


@final
class PosENet(nn.Module):
    """Reads `targets` maps in [0, 1] from feature maps: one small convolutional net for each.

    Each target has convolutions, batch norms and gradients of its own, so that training them
    together with a sum of losses is training them one by one.

    Args:
        channels: of all maps together.
        targets: how many maps it predicts.
        kernel: side of the convolutions.
        depth: number of convolutions; all but the last keep the number of channels.
        padding: zeros around each convolution's input: 0 as published, and 1 and 2 in its Table 4.
        size_mid: rows and columns that maps are resized to.
        size_out: of the prediction.

    Raises:
        ValueError: if a number is below 1 (`padding`: 0), or the convolutions leave no cell.

    >>> PosENet(3, targets=5)(torch.zeros(2, 3, 32, 48)).shape
    torch.Size([2, 5, 224, 224])
    """

    def __init__(
        self,
        channels: int,
        targets: int = 1,
        *,
        kernel: int = 3,
        depth: int = 1,
        padding: int = 0,
        size_mid: tuple[int, int] = (28, 28),
        size_out: tuple[int, int] = (224, 224),
    ) -> None:
        super().__init__()
        for name, value in (
            ("channels", channels), ("targets", targets), ("kernel", kernel), ("depth", depth),
        ):  # fmt: skip
            if value < 1:
                raise ValueError(f"`{name}` must be at least 1, but is {value}.")
        if padding < 0:
            raise ValueError(f"`padding` must be at least 0, but is {padding}.")
        left = [n - depth * (kernel - 1 - 2 * padding) for n in size_mid]
        if min(left) < 1:
            raise ValueError(
                f"`size_mid` must leave a cell after {depth} convolutions of {kernel}, but "
                f"{size_mid} leaves {tuple(left)}."
            )
        self.channels = channels
        self.targets = targets
        self.size_mid = size_mid
        self.size_out = size_out
        layers: list[nn.Module] = []
        width = channels
        for i in range(depth):
            last = i == depth - 1
            out = targets * (1 if last else channels)
            # The first convolution's targets share the maps; later ones are of separate groups.
            conv = nn.Conv2d(width, out, kernel, padding=padding, groups=targets if i else 1)
            layers += [conv, nn.BatchNorm2d(out), nn.Sigmoid() if last else nn.ReLU()]
            width = out
        self.net = nn.Sequential(*layers)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Weights uniform after Glorot as of one target's net, biases 0."""
        for module in self.net:
            if isinstance(module, nn.Conv2d):
                area = module.weight[0, 0].numel()
                fan_out = module.out_channels // self.targets
                bound = (6 / (area * (module.weight.shape[1] + fan_out))) ** 0.5
                nn.init.uniform_(module.weight, -bound, bound)
                assert module.bias is not None
                nn.init.zeros_(module.bias)
            elif isinstance(module, nn.BatchNorm2d):
                module.reset_parameters()

    def forward(
        self, maps: Float[Tensor, "b c h w"] | Sequence[Float[Tensor, "b _ _ _"]]
    ) -> Float[Tensor, "b t p q"]:
        """The predictions from one map, or from several of any sizes, concatenated."""
        parts = [maps] if isinstance(maps, Tensor) else list(maps)
        resized = [resize_corners(part, self.size_mid) for part in parts]
        x = self.net(torch.cat(resized, 1))
        return F.interpolate(x, self.size_out, mode="bilinear", align_corners=False)


@final
class CellMLP(nn.Module):
    """Reads `targets` maps in [0, 1] from feature maps, each cell alone, through a hidden layer.

    Args:
        channels: of the maps.
        targets: how many maps it predicts; each has hidden units of its own.
        hidden: their number.
        size_out: of the prediction; None: of the maps.

    Raises:
        ValueError: if a number is below 1.

    >>> CellMLP(8, targets=2)(torch.zeros(3, 8, 4, 6)).shape
    torch.Size([3, 2, 4, 6])
    """

    def __init__(
        self,
        channels: int,
        targets: int = 1,
        *,
        hidden: int = 64,
        size_out: tuple[int, int] | None = None,
    ) -> None:
        super().__init__()
        for name, value in (("channels", channels), ("targets", targets), ("hidden", hidden)):
            if value < 1:
                raise ValueError(f"`{name}` must be at least 1, but is {value}.")
        self.size_out = size_out
        self.net = nn.Sequential(
            nn.BatchNorm2d(channels, affine=False),  # maps come in all scales
            nn.Conv2d(channels, hidden * targets, 1),
            nn.ReLU(),
            nn.Conv2d(hidden * targets, targets, 1, groups=targets),
            nn.Sigmoid(),
        )

    def forward(self, maps: Float[Tensor, "b c h w"]) -> Float[Tensor, "b t p q"]:
        """The predictions."""
        x: Tensor = self.net(maps)
        if self.size_out is None:
            return x
        return F.interpolate(x, self.size_out, mode="bilinear", align_corners=False)


def resize_corners(
    maps: Float[Tensor, "b c h w"], size: tuple[int, int]
) -> Float[Tensor, "b c p q"]:
    """Maps resized bilinearly, corner cells on corner cells, as the released code does.

    >>> resize_corners(torch.tensor([[[[0.0, 1.0]]]]), (1, 3)).tolist()
    [[[[0.0, 0.5, 1.0]]]]
    """
    if tuple(maps.shape[2:]) == tuple(size):
        return maps
    return F.interpolate(maps, size, mode="bilinear", align_corners=True)
