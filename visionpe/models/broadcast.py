"""The spatial broadcast decoder, arXiv 1901.07017, its encoder and the baseline without position.

The decoder tiles the latent over the canvas, appends coordinates and convolves. Convolution is
linear, so the first layer is `conv(coordinates)`, once for a batch, plus a term of the latent that
is the same in all cells but those at the border, where zero padding hides taps of the kernel:
nothing is ever tiled.
"""

from itertools import pairwise

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from visionpe.encodings.base import require_batch
from visionpe.encodings.coord import coordinates
from visionpe.encodings.precision import exactly
from visionpe.frame import Frame


def slot_coordinates(
    h: int,
    w: int,
    frame: Frame | None = None,
    *,
    align_corners: bool = False,
    device: torch.device | str | None = None,
    dtype: torch.dtype = torch.float32,
) -> Float[Tensor, "*b 4 h w"]:
    """The four channels `y, x, 1 - y, 1 - x` in [0, 1] of slot attention, arXiv 2006.15055.

    Arguments as of `visionpe.coordinates`; slot attention has `align_corners=True`.

    >>> slot_coordinates(1, 2)[:, 0].tolist()
    [[0.5, 0.5], [0.25, 0.75], [0.5, 0.5], [0.75, 0.25]]
    """
    yx = coordinates(h, w, frame, align_corners=align_corners, device=device, dtype=dtype)
    return torch.cat([1 + yx, 1 - yx], -3) / 2


def broadcast_conv(
    z: Float[Tensor, "b z"], weight: Float[Tensor, "o z kh kw"], h: int, w: int
) -> Float[Tensor, "b o h w"]:
    """The convolution of `z` tiled to `h x w` and padded with zeros to keep its size, untiled.

    A cell gets the sum of the taps that lie on the canvas.

    >>> broadcast_conv(torch.ones(1, 1), torch.ones(1, 1, 3, 3), 2, 3).tolist()
    [[[[4.0, 6.0, 4.0], [4.0, 6.0, 4.0]]]]
    """
    o, _, kh, kw = weight.shape
    taps = F.linear(z, weight.permute(0, 2, 3, 1).flatten(0, 2)).unflatten(1, (o, kh, kw))
    down, along = _on_canvas(h, kh, taps), _on_canvas(w, kw, taps)
    result: Tensor = down @ taps @ along.mT  # (h kh) (b o kh kw) (kw w)
    return result


class BroadcastDecoder(nn.Module):
    """From a latent to an image of any size: broadcast, three convolutions.

    With a latent of 10, 45,635 parameters, as the paper's.

    Args:
        latent: width of the latent.
        channels: of the image.
        width: channels of the hidden layers.
        depth: how many convolutions.
        kernel: of the convolutions, an odd number of cells.
        slot: slot attention's four coordinates instead of two.
        align_corners: the paper's range of coordinates, in which the first and last cell are at -1
            and 1: the picture then depends on the canvas's size.

    Raises:
        ValueError: if `kernel` is even, or another number is below 1.

    >>> sum(p.numel() for p in BroadcastDecoder(10).parameters())
    45635
    """

    def __init__(
        self,
        latent: int,
        *,
        channels: int = 3,
        width: int = 64,
        depth: int = 3,
        kernel: int = 3,
        slot: bool = False,
        align_corners: bool = False,
    ) -> None:
        super().__init__()
        sizes = {"latent": latent, "channels": channels, "width": width, "depth": depth}
        for name, value in sizes.items():
            if value < 1:
                raise ValueError(f"`{name}` must be at least 1, but is {value}.")
        if kernel < 1 or kernel % 2 == 0:
            raise ValueError(f"`kernel` must be an odd number of cells, but is {kernel}.")
        self.latent, self.slot, self.align_corners = latent, slot, align_corners
        widths = [latent + (4 if slot else 2), *[width] * (depth - 1), channels]
        layers = [nn.Conv2d(i, o, kernel, padding="same") for i, o in pairwise(widths)]
        self.layers = nn.ModuleList(layers)

    def forward(
        self, z: Float[Tensor, "b z"], h: int = 64, w: int = 64, frame: Frame | None = None
    ) -> Float[Tensor, "b c h w"]:
        """The picture on a canvas of `h x w` cells, or on the part of one where `frame` says.

        Beyond the edge of what is asked for every layer sees zeros, so the outermost cells of a
        part, as many as all the kernels together reach over, differ from those of the whole.
        """
        require_batch(frame, z.shape[0])
        first, *others = self.layers
        x = self._first(first, z, h, w, frame)
        for layer in others:
            x = layer(F.relu(x))
        return x

    def _first(
        self, layer: nn.Module, z: Tensor, h: int, w: int, frame: Frame | None
    ) -> Float[Tensor, "b o h w"]:
        """The layer on the tiled latent and the coordinates."""
        assert isinstance(layer, nn.Conv2d)
        assert layer.bias is not None
        dtype = torch.promote_types(z.dtype, torch.float32)
        function = slot_coordinates if self.slot else coordinates
        code = function(h, w, frame, align_corners=self.align_corners, device=z.device, dtype=dtype)
        of_z, of_place = layer.weight.tensor_split([self.latent], 1)
        code = code if code.dim() == 4 else code[None]
        with exactly(z.device):
            place = F.conv2d(code, of_place.to(dtype), layer.bias.to(dtype), padding="same")
        term = broadcast_conv(z, of_z, h, w)
        return term + place.to(term.dtype)


class DeconvDecoder(nn.Module):
    """The paper's baseline: a dense layer, then five transposed convolutions to 64 x 64.

    With a latent of 10, 268,291 parameters.

    >>> sum(p.numel() for p in DeconvDecoder(10).parameters())
    268291
    """

    def __init__(self, latent: int, *, channels: int = 3) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Linear(latent, 256), nn.ReLU(), nn.Unflatten(1, (64, 2, 2))]
        for i, o in pairwise([64, 64, 64, 64, 64, channels]):
            layers += [nn.ConvTranspose2d(i, o, 4, stride=2, padding=1), nn.ReLU()]
        self.layers = nn.Sequential(*layers[:-1])

    def forward(self, z: Float[Tensor, "b z"]) -> Float[Tensor, "b c h w"]:
        """The picture, 64 x 64."""
        image: Tensor = self.layers(z)
        return image


class BroadcastEncoder(nn.Module):
    """The paper's encoder: four convolutions of stride 2, two dense layers.

    Args:
        latent: width of the latent.
        h, w: size of the images, multiples of 16.

    Raises:
        ValueError: if `h` or `w` is no multiple of 16.

    >>> mean, log_variance = BroadcastEncoder(10)(torch.zeros(2, 3, 64, 64))
    >>> mean.shape, log_variance.shape
    (torch.Size([2, 10]), torch.Size([2, 10]))
    """

    def __init__(self, latent: int, *, channels: int = 3, h: int = 64, w: int = 64) -> None:
        super().__init__()
        if min(h, w) < 16 or h % 16 or w % 16:
            raise ValueError(f"`h` and `w` must be multiples of 16, but are {h} and {w}.")
        layers: list[nn.Module] = []
        for i, o in pairwise([channels, 64, 64, 64, 64]):
            layers += [nn.Conv2d(i, o, 4, stride=2, padding=1), nn.ReLU()]
        flat = 64 * (h // 16) * (w // 16)
        self.layers = nn.Sequential(
            *layers, nn.Flatten(), nn.Linear(flat, 256), nn.ReLU(), nn.Linear(256, 2 * latent)
        )

    def forward(
        self, image: Float[Tensor, "b c h w"]
    ) -> tuple[Float[Tensor, "b z"], Float[Tensor, "b z"]]:
        """The mean and the logarithm of the variance of the latent."""
        mean, log_variance = self.layers(image).chunk(2, 1)
        return mean, log_variance


def _on_canvas(n: int, kernel: int, like: Tensor) -> Float[Tensor, "n k"]:
    """1 where a cell's tap lies on the canvas, 0 where it lies in the padding."""
    cell = torch.arange(n, device=like.device)[:, None]
    tap = torch.arange(kernel, device=like.device) - kernel // 2
    return ((cell + tap >= 0) & (cell + tap < n)).to(like.dtype)
