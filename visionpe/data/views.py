"""Views of photographs: one window of the image, resized to the size that a model takes."""

import math
from typing import final

import torch
import torch.nn.functional as F
from jaxtyping import Shaped
from torch import Tensor

from visionpe.data.augments import SampleAugment
from visionpe.frame import Frame

_TRIES = 10  # draws of a window before the middle one is taken, as in torchvision


@final
class ResizedCrop(SampleAugment):
    """A random window of random area and aspect ratio, resized and mirrored (arXiv 1409.4842).

    Args:
        image_size: `(h, w)` of the result.
        scale: smallest and largest area of the window, as a share of the image's.
        ratio: smallest and largest width by height; the logarithm is drawn uniformly.
        flip: probability of a mirror image, left to right.

    Raises:
        ValueError: if an argument is out of its range.

    >>> image = torch.zeros(3, 8, 8, dtype=torch.uint8)
    >>> view, frame = ResizedCrop((4, 6), scale=(1, 1), ratio=(1, 1), flip=0).apply(image)
    >>> tuple(view.shape), frame.affine.tolist()  # a row of the view is two of the image
    ((3, 4, 6), [[2.0, 0.0, 0.0], [0.0, 1.3333333730697632, 0.0]])
    """

    def __init__(
        self,
        image_size: tuple[int, int],
        scale: tuple[float, float] = (0.08, 1.0),
        ratio: tuple[float, float] = (3 / 4, 4 / 3),
        flip: float = 0.5,
    ) -> None:
        _require_size(image_size)
        if not 0 < scale[0] <= scale[1] <= 1:
            raise ValueError(f"`scale` must be two shares in (0, 1], rising, but is {scale}.")
        if not 0 < ratio[0] <= ratio[1]:
            raise ValueError(f"`ratio` must be two positive numbers, rising, but is {ratio}.")
        if not 0 <= flip <= 1:
            raise ValueError(f"`flip` must be a probability, but is {flip}.")
        self.image_size = image_size
        self.scale = scale
        self.ratio = ratio
        self.flip = flip

    def apply(self, image: Shaped[Tensor, "c h w"]) -> tuple[Shaped[Tensor, "c i j"], Frame]:
        """The window and its frame."""
        result, frame = window(image, *self._draw(*image.shape[-2:]), size=self.image_size)
        if float(torch.rand(())) < self.flip:
            return result.flip(-1), frame.hflip()
        return result, frame

    def __repr__(self) -> str:
        return f"ResizedCrop({self.image_size}, {self.scale}, {self.ratio}, {self.flip})"

    def _draw(self, h: int, w: int) -> tuple[int, int, int, int]:
        """Corner, height and width of a window."""
        low, high = (math.log(each) for each in self.ratio)
        for share, place in torch.rand(_TRIES, 2).tolist():
            area = h * w * (self.scale[0] + (self.scale[1] - self.scale[0]) * share)
            ratio = math.exp(low + (high - low) * place)
            rows, columns = round(math.sqrt(area / ratio)), round(math.sqrt(area * ratio))
            if 0 < rows <= h and 0 < columns <= w:
                top, left = (int(torch.randint(n + 1, ())) for n in (h - rows, w - columns))
                return top, left, rows, columns
        return _middle(h, w, ratio=min(max(w / h, self.ratio[0]), self.ratio[1]), share=1.0)


@final
class CentreCrop(SampleAugment):
    """The window in the middle, of the result's aspect ratio, resized: what models are tested on.

    Args:
        image_size: `(h, w)` of the result.
        share: of the largest such window's sides; 224 of 256 by default, as is the custom.

    Raises:
        ValueError: if an argument is out of its range.

    >>> _, frame = CentreCrop((4, 4), share=0.5).apply(torch.zeros(3, 8, 16, dtype=torch.uint8))
    >>> frame.affine.tolist()  # rows 2 to 6 and columns 6 to 10 of the image
    [[1.0, 0.0, 2.0], [0.0, 1.0, 6.0]]
    """

    def __init__(self, image_size: tuple[int, int], share: float = 0.875) -> None:
        _require_size(image_size)
        if not 0 < share <= 1:
            raise ValueError(f"`share` must be in (0, 1], but is {share}.")
        self.image_size = image_size
        self.share = share

    def apply(self, image: Shaped[Tensor, "c h w"]) -> tuple[Shaped[Tensor, "c i j"], Frame]:
        """The window and its frame."""
        ratio = self.image_size[1] / self.image_size[0]
        box = _middle(*image.shape[-2:], ratio=ratio, share=self.share)
        return window(image, *box, size=self.image_size)

    def __repr__(self) -> str:
        return f"CentreCrop({self.image_size}, {self.share})"


def window(
    image: Shaped[Tensor, "c h w"],
    top: int,
    left: int,
    h: int,
    w: int,
    *,
    size: tuple[int, int],
) -> tuple[Shaped[Tensor, "c i j"], Frame]:
    """The window of `h x w` pixels at `(top, left)`, resized with antialiasing, and its frame."""
    frame = Frame.identity(*image.shape[-2:]).crop(top, left, h=h, w=w)
    image = image[:, top : top + h, left : left + w]
    if size == (h, w):
        return image, frame
    result = F.interpolate(image[None], size, mode="bilinear", antialias=True)[0]
    return result, frame.resize(*size)


def _middle(h: int, w: int, *, ratio: float, share: float) -> tuple[int, int, int, int]:
    rows, columns = (h, h * ratio) if h * ratio <= w else (w / ratio, w)
    rows, columns = max(round(rows * share), 1), max(round(columns * share), 1)
    return (h - rows) // 2, (w - columns) // 2, rows, columns


def _require_size(image_size: tuple[int, int]) -> None:
    if min(image_size) < 1:
        raise ValueError(f"`image_size` must be positive pixels (h, w), but is {image_size}.")
