"""What the published sets of small images have in common: files to fetch, and pixels in memory."""

from abc import abstractmethod
from pathlib import Path
from typing import ClassVar

from visionpe.data.augments import SampleAugment
from visionpe.data.batched import BatchAugment
from visionpe.data.downloading import downloading
from visionpe.data.image_data import (
    ImageData,
    Part,
    Pixels,
    held_out,
    in_memory_of,
    require_classes,
    require_fraction,
)
from visionpe.data.mixing import Mix


class PublishedImages(ImageData):
    """A set of training and of test images, of which some of the former are held out.

    Args:
        root: folder of the files.
        batch_size: images a training batch (and process).
        val_fraction: share of the training images that is kept for validation, the same ones in
            every run; 0 trains on all and validates on none.
        augment: what is done to training images.
        mix: what joins two of them.
        num_workers: worker processes; whole batches in memory need none.
        seed: the run's, of order and augmentation.
        download: fetch what is missing.
        eval_batch_size: images a batch of validation, test and prediction; by default
            `batch_size`.
        device: where the images lie, are augmented and batched, "cuda" for instance; without
            worker processes. (With a `SampleAugment`, in the computer's memory all the same.)

    Raises:
        ValueError: if a number is out of its range.
        DataError: in `prepare_data` and `setup`, if the data are not there or damaged.
    """

    title: ClassVar[str]

    def __init__(
        self,
        root: str = "data",
        batch_size: int = 128,
        val_fraction: float = 0.1,
        augment: BatchAugment | SampleAugment | None = None,
        mix: Mix | None = None,
        num_workers: int = 0,
        seed: int = 0,
        download: bool = False,
        eval_batch_size: int | None = None,
        device: str = "cpu",
    ) -> None:
        super().__init__(
            batch_size=batch_size,
            eval_batch_size=eval_batch_size,
            augment=augment,
            mix=mix,
            num_workers=num_workers,
            seed=seed,
        )
        require_fraction(val_fraction)
        self.root = Path(root).expanduser()
        self.val_fraction = val_fraction
        self.download = download
        self.device = in_memory_of(device, num_workers)

    @abstractmethod
    def fetch(self) -> None:
        """Downloads what is missing."""

    @abstractmethod
    def load(self, *, test: bool) -> tuple[Pixels, str]:
        """The training or the test images, and where they came from.

        Raises:
            DataError: if files are missing or damaged.
        """

    def prepare_data(self) -> None:
        """Downloads what is missing, if asked to.

        Raises:
            DataError: if the network or the disk refuses.
        """
        if self.download:
            with downloading(self.title, self.root):
                self.fetch()

    def read(self, part: Part) -> Pixels | None:
        """The part; none of validation if nothing is held out."""
        pixels, origin = self.load(test=part == "test")
        require_classes(pixels.targets, self.num_classes, origin)
        if part == "test":
            return pixels
        kept, out = held_out(len(pixels.targets), self.val_fraction)
        rows = kept if part == "train" else out
        return Pixels(pixels.images[rows], pixels.targets[rows]) if len(rows) else None
