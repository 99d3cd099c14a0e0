"""The CoordConv networks of the three Not-so-Clevr tasks, arXiv 1807.03247.

Layer by layer as in the paper and its released code. The encoding is an argument, so that each net
is a test bench for any other: with `AddCoords(align_corners=True)` it is the paper's.
"""

import math
from itertools import pairwise
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from visionpe.encodings.base import MapEncoding


class PointToMap(nn.Module):
    """From a point to one logit a cell: tile the point, encode, five 1x1 convolutions.

    Supervised coordinate classification. With coordinate channels it has 7,553 parameters (7,585
    with the radius).

    Args:
        encoding: acts on the tiled point, two channels `(y, x)`; None for no position at all.
        h, w: size of the canvas in cells.
        scaled: map the point from cells to the range of the coordinates, [-1, 1]. The paper gives
            the net raw cell numbers.

    Raises:
        ValueError: if the encoding cannot act on two channels.

    >>> from visionpe import AddCoords
    >>> net = PointToMap(AddCoords(align_corners=True))
    >>> sum(p.numel() for p in net.parameters())
    7553
    """

    def __init__(
        self,
        encoding: MapEncoding | None = None,
        *,
        h: int = 64,
        w: int = 64,
        scaled: bool = False,
    ) -> None:
        super().__init__()
        if min(h, w) < 2:
            raise ValueError(f"`h` and `w` must be at least 2 cells, but are {h} and {w}.")
        self.encoding = encoding
        self.size = (h, w)
        self.scaled = scaled
        channels = 2 if encoding is None else encoding.out_channels(2)
        widths = [channels, 32, 32, 64, 64, 1]
        layers: list[nn.Module] = []
        for i, o in pairwise(widths):
            layers += [nn.Linear(i, o), nn.ReLU()]  # a 1x1 convolution, cells as rows
        self.layers = nn.Sequential(*layers[:-1])

    def forward(
        self, points: Float[Tensor, "b 2"], cells: Int[Tensor, "b k"] | None = None
    ) -> Float[Tensor, "b n"]:
        """Logits of the canvas's cells, in reading order.

        Args:
            points: `(y, x)` in cells.
            cells: which cells to evaluate for each point, as numbers in reading order; all of them
                if left out. Every layer is 1x1, so a cell's logit needs no other cell.

        Returns:
            `b k` if `cells` are given, else `b (h w)`.
        """
        if self.scaled:
            points = points * (2 / (points.new_tensor(self.size) - 1)) - 1
        tiled = points[:, :, None, None].expand(-1, -1, *self.size)
        encoded = tiled if self.encoding is None else self.encoding(tiled)
        rows = encoded.flatten(2)  # b d h w -> b d n
        if cells is not None:
            rows = rows.gather(2, cells[:, None, :].expand(-1, rows.shape[1], -1))
        logits: Tensor = self.layers(rows.mT.contiguous())  # b n d -> b n 1
        return logits[..., 0]


class PointToImage(nn.Module):
    """From a point to an image of one logit a cell: `PointToMap`, a softmax, five convolutions.

    Supervised rendering. With coordinate channels it has 8,074 (`kernel=1, multiplier=1`), 9,490
    (1, 2), 11,850 (3, 1) or 24,210 (3, 2) parameters.

    Args:
        encoding, h, w, scaled: as of `PointToMap`.
        kernel: size of the last convolutions, an odd number.
        multiplier: their channels are 8, 8, 16, 16 times this.

    Raises:
        ValueError: if `kernel` is even or `multiplier` below 1.

    >>> from visionpe import AddCoords
    >>> sum(p.numel() for p in PointToImage(AddCoords()).parameters())
    9490
    """

    def __init__(
        self,
        encoding: MapEncoding | None = None,
        *,
        h: int = 64,
        w: int = 64,
        scaled: bool = False,
        kernel: int = 1,
        multiplier: int = 2,
    ) -> None:
        super().__init__()
        if kernel < 1 or kernel % 2 == 0:
            raise ValueError(f"`kernel` must be an odd number of cells, but is {kernel}.")
        _require_multiplier(multiplier)
        self.locate = PointToMap(encoding, h=h, w=w, scaled=scaled)
        widths = [1, 8 * multiplier, 8 * multiplier, 16 * multiplier, 16 * multiplier, 1]
        layers: list[nn.Module] = []
        for i, o in pairwise(widths):
            layers += [nn.Conv2d(i, o, kernel, padding="same"), nn.ReLU()]
        self.paint = nn.Sequential(*layers[:-1])

    @torch.no_grad()
    def start_from_prior(self, painted: int) -> None:
        """Starts the painting part where it can learn, which He's draw alone seldom does.

        Not the paper's. The last bias becomes the log-odds of the painted cells, so that the first
        steps need not learn that most cells are empty; and the first kernel is multiplied by
        `sqrt(h w)`, its input being a probability that averages `1 / (h w)`.

        Args:
            painted: cells of an image that are 1.
        """
        h, w = self.locate.size
        first, last = self.paint[0], self.paint[-1]
        assert isinstance(first, nn.Conv2d)
        assert isinstance(last, nn.Conv2d)
        assert last.bias is not None
        first.weight.mul_((h * w) ** 0.5)
        last.bias.fill_(math.log(painted / (h * w - painted)))

    def forward(self, points: Float[Tensor, "b 2"]) -> Float[Tensor, "b n"]:
        """Logits of the image's cells, in reading order."""
        where = self.locate(points).softmax(-1)
        image: Tensor = self.paint(where.view(-1, 1, *self.locate.size))
        return image.flatten(1)


class MapToPoint(nn.Module):
    """From a map with one cell set to that cell's place: encode, five convolutions, a pool.

    Supervised coordinate regression: 906 parameters. As in the released code there is no ReLU, so
    all before the pool is affine.

    Args:
        encoding: acts on the one-channel map; None for no position at all.
        pool: "max" as in the released code; "mean" cannot solve the task and is kept as the
            negative control.

    Raises:
        ValueError: if `pool` is neither.

    >>> from visionpe import AddCoords
    >>> sum(p.numel() for p in MapToPoint(AddCoords()).parameters())
    906
    """

    def __init__(
        self, encoding: MapEncoding | None = None, *, pool: Literal["max", "mean"] = "max"
    ) -> None:
        super().__init__()
        if pool not in ("max", "mean"):
            raise ValueError(f"`pool` must be 'max' or 'mean', but is {pool!r}.")
        self.encoding = encoding
        self.pool = pool
        channels = 1 if encoding is None else encoding.out_channels(1)
        self.layers = nn.Sequential(
            nn.Conv2d(channels, 8, 1),
            nn.Conv2d(8, 8, 1),
            nn.Conv2d(8, 8, 1),
            nn.Conv2d(8, 8, 3, padding=1),
            nn.Conv2d(8, 2, 3, padding=1),
        )

    @torch.no_grad()
    def shrink_last(self, scale: float) -> None:
        """Multiplies the last kernel, so that the set cell's own answer decides the pool early on.

        Not the paper's. All before the pool is affine: with large outputs some border cell has the
        largest, the set cell gets no gradient, and the net answers the same place for all.
        """
        last = self.layers[-1]
        assert isinstance(last, nn.Conv2d)
        last.weight.mul_(scale)

    def forward(self, image: Float[Tensor, "b 1 h w"]) -> Float[Tensor, "b 2"]:
        """The place `(y, x)`, in whatever unit the net was trained on."""
        encoded = image if self.encoding is None else self.encoding(image)
        maps: Tensor = self.layers(encoded)
        return maps.amax((2, 3)) if self.pool == "max" else maps.mean((2, 3))


def he_normal_(network: nn.Module, generator: torch.Generator | None = None) -> nn.Module:
    """Draws all kernels from He's normal law over the fan-in and zeroes the biases, in place.

    What the paper's code starts from (arXiv 1502.01852).
    """
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            # A transposed kernel is `in out kh kw`: its fan-in is what one input cell reaches.
            fan_in = layer.weight.shape[1:].numel()
            if isinstance(layer, nn.ConvTranspose2d):
                fan_in = layer.weight.shape[0] * layer.weight.shape[2:].numel()
            nn.init.normal_(layer.weight, std=(2 / fan_in) ** 0.5, generator=generator)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
    return network


def _require_multiplier(multiplier: int) -> None:
    if multiplier < 1:
        raise ValueError(f"`multiplier` must be at least 1, but is {multiplier}.")
