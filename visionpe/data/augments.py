"""What augments one image and says where the result sits in the original."""

from abc import ABC, abstractmethod

from jaxtyping import Shaped
from torch import Tensor

from visionpe.frame import Frame


class SampleAugment(ABC):
    """Augments one image at a time, in worker processes if there are any.

    Random numbers must come from the generators of torch, numpy or Python: they are seeded for each
    sample from `(seed, epoch, index)`.
    """

    @abstractmethod
    def apply(self, image: Shaped[Tensor, "c h w"]) -> tuple[Shaped[Tensor, "c i j"], Frame]:
        """The augmented image and its frame, without a batch axis.

        Args:
            image: uint8, or float32 in [0, 1].
        """
