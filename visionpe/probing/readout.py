"""What reads position out of maps: how it is fitted, pass by pass, and what it predicts."""

from typing import Protocol, runtime_checkable

from jaxtyping import Float, Int
from torch import Tensor

from visionpe.probing.targets import Target

FIT, HELD, TEST = 0, 1, 2  # the roles of images in a split


@runtime_checkable
class Fitting(Protocol):
    """Read-outs of one layer, one for each split of the images, fitted side by side.

    Attributes:
        passes: how many times it must see all images.
        required: how many images it must at least be fitted to, those it chooses by not counted.
        memory: how many bytes it keeps between batches.
    """

    passes: int
    required: int
    memory: int

    def truth(self, target: Target) -> Float[Tensor, "i j"]:
        """What it should predict of a target: the target, where and as large as it predicts."""

    def update(
        self,
        maps: Float[Tensor, "b c h w"],
        truth: Float[Tensor, "b q i j"],
        roles: Int[Tensor, "s b"],
    ) -> None:
        """Takes a batch in; an image that a split has as `TEST` is not shown to its read-out."""

    def finish(self) -> bool:
        """Ends a pass over the images; True: it is fitted; False: another pass is due."""

    def predict(self, maps: Float[Tensor, "b c h w"]) -> Float[Tensor, "s b q i j"]:
        """The predictions of each split's read-out."""


@runtime_checkable
class Readout(Protocol):
    """A kind of read-out, with its options; its `repr` is the call that makes it."""

    def begin(
        self,
        channels: int,
        h: int,
        w: int,
        *,
        outputs: int,
        splits: int,
        together: int | None = None,
    ) -> Fitting:
        """Read-outs, not yet fitted.

        Args:
            channels, h, w: of the maps that they read.
            outputs: how many maps each predicts.
            splits: how many are fitted side by side.
            together: how many outputs may be learned by one module; the next as many are learned
                apart, so that what the first give does not depend on whether there are others.
                None: all.

        Raises:
            ValueError: if it cannot read such maps.
        """
