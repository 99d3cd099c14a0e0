"""Mixup (arXiv 1710.09412) and CutMix (arXiv 1905.04899): images and targets of two samples in one.

Mixing joins two pictures under one frame, which holds for both if they share it, and not if they do
not: the frame of such a sample becomes that of a whole image, the view itself. Images in memory are
mixed before they are augmented, whole and of one size: their frames always hold.
"""

from typing import NamedTuple, final

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float32, Int64
from torch import Tensor

from visionpe.data.loader import stable_seed
from visionpe.frame import Frame


class Mixed(NamedTuple):
    """A mixed batch.

    Attributes:
        images: `b c h w`, floats.
        targets: `b k`: the share of each class, 1 in sum.
        frame: of the views.
    """

    images: Float32[Tensor, "b c h w"]
    targets: Float32[Tensor, "b k"]
    frame: Frame


@final
class Mix:
    """Mixes each sample of a batch with another of it, by mixup, CutMix or not at all.

    One of the three is chosen for a whole batch, and one weight, as in the papers' code.

    Args:
        mixup: parameter of the beta law of mixup's weight; 0 leaves mixup out.
        cutmix: the same of CutMix.
        probability: how often a batch is mixed at all; if both are given, each half of the time.

    Raises:
        ValueError: if a parameter is negative, both are 0, or `probability` is none.
    """

    def __init__(self, mixup: float = 0.0, cutmix: float = 0.0, probability: float = 1.0) -> None:
        for name, value in (("mixup", mixup), ("cutmix", cutmix)):
            if value < 0:
                raise ValueError(f"`{name}` must be at least 0, but is {value}.")
        if mixup == cutmix == 0:
            raise ValueError("`mixup` or `cutmix` must be positive, but both are 0.")
        if not 0 <= probability <= 1:
            raise ValueError(f"`probability` must be within 0 and 1, but is {probability}.")
        self.mixup = mixup
        self.cutmix = cutmix
        self.probability = probability

    def __call__(
        self,
        images: Float32[Tensor, "b c h w"],
        targets: Int64[Tensor, " b"],
        frame: Frame,
        *,
        num_classes: int,
        seeds: tuple[int, ...],
    ) -> Mixed:
        """The mixed batch: a pure function of the batch and `seeds`.

        Args:
            images: of one size.
            targets: classes counted from 0.
            frame: of the images.
            num_classes: how many there are.
            seeds: numbers that name the batch: the run's seed, the epoch, the batch's number.
        """
        numbers = np.random.default_rng(stable_seed(*seeds))
        hot = F.one_hot(targets, num_classes).float()
        if numbers.random() >= self.probability:
            return Mixed(images, hot, frame)
        partner = torch.from_numpy(numbers.permutation(len(images))).to(images.device)
        cut = self.cutmix > 0 and (self.mixup == 0 or numbers.random() < 0.5)
        alpha = self.cutmix if cut else self.mixup
        weight = float(numbers.beta(alpha, alpha))
        if cut:
            h, w = images.shape[-2:]
            (top, bottom), (left, right) = cut_box(h, w, weight, numbers.random(2).tolist())
            images = images.clone()
            images[..., top:bottom, left:right] = images[partner][..., top:bottom, left:right]
            weight = 1 - (bottom - top) * (right - left) / (h * w)  # as cut, not as drawn
        else:
            images = torch.lerp(images[partner], images, weight)
        return Mixed(images, torch.lerp(hot[partner], hot, weight), shared(frame, partner))

    def __repr__(self) -> str:
        return f"Mix({self.mixup}, {self.cutmix}, {self.probability})"


def cut_box(
    h: int, w: int, weight: float, place: list[float]
) -> tuple[tuple[int, int], tuple[int, int]]:
    """CutMix's box, rows and columns: `1 - weight` of the area about a random point, clipped.

    >>> cut_box(8, 8, 0.75, [0.5, 0.0])
    ((2, 6), (0, 2))
    """
    share = (1 - weight) ** 0.5
    sides = []
    for n, where in zip((h, w), place, strict=True):
        centre, half = int(n * where), int(n * share) // 2
        sides.append((max(centre - half, 0), min(centre + half, n)))
    return sides[0], sides[1]


def shared(frame: Frame, partner: Int64[Tensor, " b"]) -> Frame:
    """The frames of mixed samples: kept where both parts have one, else those of whole images."""
    same = torch.ones(len(partner), dtype=torch.bool, device=frame.view.device)
    for part in frame:
        same &= (part == part[partner]).flatten(1).all(1)
    eye = torch.eye(2, 3, device=frame.view.device)
    return Frame(
        torch.where(same[:, None, None], frame.affine, eye),
        frame.view,
        torch.where(same[:, None], frame.extent, frame.view),
    )
