"""Torchvision's transforms (v2), with the frame of what they return."""

from typing import final

import torch
from jaxtyping import Shaped
from torch import Tensor, nn

from visionpe.data.augments import SampleAugment
from visionpe.data.place import Place
from visionpe.data.placed import Placed
from visionpe.errors import GeometryError
from visionpe.frame import Frame


@final
class TorchvisionAugment(SampleAugment):
    """Augments with transforms of `torchvision.transforms.v2`, RandAugment and its kind included.

    Crops, flips, resizes, pads, rotations and affine maps move the frame, exactly; what changes
    values leaves it alone. Their own defaults hold: several rotate with nearest pixels, to be
    changed by `interpolation`, and pixels from outside the image are black.

    Args:
        transforms: applied in turn to the image, a tensor `c h w` already.

    Raises:
        ValueError: if there is no transform, or one is no module.
        GeometryError: when called, at what has no affine map (perspective, elastic, borders that
            reflect), or is not known to keep pixels in place.

    >>> from torchvision.transforms import v2
    >>> image = torch.zeros(3, 2, 4, dtype=torch.uint8)
    >>> _, frame = TorchvisionAugment([v2.RandomHorizontalFlip(p=1)]).apply(image)
    >>> frame.affine.tolist()  # row y was row y, and column x was column 4 - x
    [[1.0, 0.0, 0.0], [0.0, -1.0, 4.0]]
    """

    def __init__(self, transforms: list[nn.Module]) -> None:
        if not transforms or not all(isinstance(each, nn.Module) for each in transforms):
            kinds = [type(each).__name__ for each in transforms]
            raise ValueError(
                "`transforms` must be transforms of torchvision.transforms.v2, one at least, but "
                f"are {kinds}."
            )
        self.transforms = transforms

    def apply(self, image: Shaped[Tensor, "c h w"]) -> tuple[Shaped[Tensor, "c i j"], Frame]:
        """The augmented image, a plain tensor, and its frame."""
        _, h, w = image.shape
        placed = Placed.at(image.clone(), Place.whole(h, w))  # transforms may work in place
        for transform in self.transforms:
            moved = transform(placed)
            if getattr(moved, "place", None) is None:
                raise GeometryError(
                    "`transforms` must be known to keep pixels in place or to move them by an "
                    f"affine map to one view, but {type(transform).__name__} is not: take it out."
                )
            placed = moved
        y, x, view = placed.place
        frame = (torch.tensor(part, dtype=torch.float32) for part in ((y, x), view, (h, w)))
        return placed.as_subclass(Tensor), Frame(*frame)

    def __repr__(self) -> str:
        return f"TorchvisionAugment({self.transforms!r})"
