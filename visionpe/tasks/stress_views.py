"""What an image may look like at a test: other sizes and shapes, moved, cut, mirrored, shuffled.

Each view takes images and their frames to other images, with the frames that say where they now
sit in their originals.
"""

import math
from collections.abc import Callable
from typing import NamedTuple, final

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from visionpe.frame import Frame

Change = Callable[[Tensor, Frame], tuple[Tensor, Frame]]

FAMILIES = ("resolution", "aspect", "shift", "crop", "flip", "shuffle")
_RESOLUTIONS = (0.5, 0.75, 1.0, 1.25, 1.5, 2.0, 2.6)
_ASPECTS = (0.5, 0.71, 1.0, 1.41, 2.0)
_SHIFTS = (0.0, 0.0625, 0.125, 0.1875, 0.25)
_OFFSETS = (0.0, 0.25, 0.5, 0.75, 1.0)
_CROP = 0.75  # of each side
_FLIPS = (0, 1, 2, 3)
_GRIDS = (1, 2, 4, 8)
FLIPS = ("none", "horizontal", "vertical", "both")


@final
class View(NamedTuple):
    """One change of the images.

    Attributes:
        family: what kind.
        level: how much: "resolution", the factor of both sides; "aspect", the factor of width over
            height, at the same area; "shift", the share of each side by which the image moves down
            and right; "crop", how far a window of 3/4 of each side is from the centre (0) to the
            lower right corner (1); "flip", the place in `FLIPS`; "shuffle", blocks a side.
        change: makes images `b c h w` with the frames `b` into others.
        framed: whether the frame still says where things are.
    """

    family: str
    level: float
    change: Change
    framed: bool = True


def views(
    size: tuple[int, int], *, multiple: int = 1, only: tuple[str, ...] = FAMILIES, seed: int = 0
) -> list[View]:
    """All views of the families, for images of a size.

    Args:
        size: `(h, w)` of the images in pixels.
        multiple: sizes are rounded to multiples of it: a patch.
        only: these families.
        seed: of the shuffles.

    >>> [view.level for view in views((8, 12), only=("shuffle",))]
    [1.0, 2.0, 4.0]
    """
    h, w = size
    found: list[View] = []
    shapes = [("resolution", level, (h * level, w * level)) for level in _RESOLUTIONS]
    shapes += [("aspect", r, (h / math.sqrt(r), w * math.sqrt(r))) for r in _ASPECTS]
    found += _resizes(shapes, multiple)
    for share in _SHIFTS:
        found.append(View("shift", share, _shift(round(share * h), round(share * w))))
    found += [View("crop", offset, _crop(offset)) for offset in _OFFSETS]
    found += [View("flip", float(kind), _flip(kind)) for kind in _FLIPS]
    found += [
        View("shuffle", float(n), _shuffle(n, seed), framed=n == 1)
        for n in _GRIDS
        if h % n == 0 and w % n == 0
    ]
    return [view for view in found if view.family in only]


def _resizes(shapes: list[tuple[str, float, tuple[float, float]]], multiple: int) -> list[View]:
    """Views of other sizes, in whole patches; those that come to the size of another are left out.

    Of those that are alike, the one stays that is nearest to its size.
    """
    nearest: dict[tuple[str, tuple[int, int]], tuple[float, float]] = {}
    for family, level, (h, w) in shapes:
        rows, columns = (max(1, round(side / multiple)) * multiple for side in (h, w))
        off = abs(math.log(rows / h)) + abs(math.log(columns / w))
        best = nearest.get((family, (rows, columns)), (math.inf, level))
        nearest[family, (rows, columns)] = min(best, (off, level))
    found = [View(family, level, _to(*size)) for (family, size), (_, level) in nearest.items()]
    return sorted(found, key=lambda view: (view.family != "resolution", view.level))


def _to(rows: int, columns: int) -> Change:
    def change(images: Tensor, frame: Frame) -> tuple[Tensor, Frame]:
        return resized(images, rows, columns), frame.resize(rows, columns)

    return change


def resized(images: Float[Tensor, "b c n m"], h: int, w: int) -> Float[Tensor, "b c h w"]:
    """Images at another size, bilinear, without aliasing; the same images at their own."""
    if images.shape[-2:] == (h, w):
        return images
    return F.interpolate(images, (h, w), mode="bilinear", antialias=True, align_corners=False)


def _shift(dy: int, dx: int) -> Change:
    def change(images: Tensor, frame: Frame) -> tuple[Tensor, Frame]:
        h, w = images.shape[-2:]
        moved = F.pad(images, (dx, 0, dy, 0), mode="replicate")[..., :h, :w]
        return moved, frame.crop(-dy, -dx, h=h, w=w)

    return change


def _crop(offset: float) -> Change:
    def change(images: Tensor, frame: Frame) -> tuple[Tensor, Frame]:
        h, w = images.shape[-2:]
        ch, cw = round(_CROP * h), round(_CROP * w)
        top, left = (round((a - b) * (0.5 + offset / 2)) for a, b in ((h, ch), (w, cw)))
        window = images[..., top : top + ch, left : left + cw]
        return resized(window, h, w), frame.crop(top, left, h=ch, w=cw).resize(h, w)

    return change


def _flip(kind: int) -> Change:
    def change(images: Tensor, frame: Frame) -> tuple[Tensor, Frame]:
        if kind & 1:
            images, frame = images.flip(-1), frame.hflip()
        if kind & 2:
            images, frame = images.flip(-2), frame.vflip()
        return images, frame

    return change


def _shuffle(n: int, seed: int) -> Change:
    """Blocks of a grid of `n x n`, in a new order for each image of all calls."""
    generator = torch.Generator().manual_seed(seed + n)  # goes on from batch to batch

    def change(images: Tensor, frame: Frame) -> tuple[Tensor, Frame]:
        if n == 1:
            return images, frame
        b, c, h, w = images.shape
        order = torch.rand(b, n * n, generator=generator).argsort(1).to(images.device)
        blocks = images.view(b, c, n, h // n, n, w // n).permute(0, 2, 4, 1, 3, 5)
        blocks = blocks.flatten(1, 2)[torch.arange(b, device=images.device)[:, None], order]
        blocks = blocks.view(b, n, n, c, h // n, w // n).permute(0, 3, 1, 4, 2, 5)
        return blocks.reshape(b, c, h, w), frame

    return change
