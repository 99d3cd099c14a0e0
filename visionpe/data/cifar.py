"""CIFAR-10 and CIFAR-100 (Krizhevsky, 2009), read by torchvision."""

from abc import abstractmethod
from pathlib import Path
from typing import Any, ClassVar, final

import torch

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
)
from visionpe.data.mixing import Mix
from visionpe.errors import DataError


class _CIFAR(ImageData):
    """The two are one format."""

    title: ClassVar[str]
    channels = 3
    image_size = (32, 32)

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
        if not 0 <= val_fraction < 1:
            raise ValueError(f"`val_fraction` must be in [0, 1), but is {val_fraction}.")
        self.root = Path(root)
        self.val_fraction = val_fraction
        self.download = download
        self.device = in_memory_of(device, num_workers)

    @abstractmethod
    def reader(self) -> Any:
        """Torchvision's class."""

    def prepare_data(self) -> None:
        """Downloads what is missing, if asked to.

        Raises:
            DataError: if the network or the disk refuses.
        """
        if self.download:
            with downloading(self.title, self.root):
                self.reader()(str(self.root), download=True)

    def read(self, part: Part) -> Pixels | None:
        """The part, from the pickles that torchvision has checked."""
        reader = self.reader()
        self._check(reader)
        data = reader(str(self.root), train=part != "test")
        images = torch.from_numpy(data.data).permute(0, 3, 1, 2).contiguous()
        pixels = Pixels(images, torch.tensor(data.targets))
        require_classes(pixels.targets, self.num_classes, f"{self.title} under {self.root}")
        if part == "test":
            return pixels
        kept, out = held_out(len(pixels.targets), self.val_fraction)
        rows = kept if part == "train" else out
        return Pixels(pixels.images[rows], pixels.targets[rows]) if len(rows) else None

    def _check(self, reader: Any) -> None:
        """Names the first file that is missing or not whole; torchvision says only that one is."""
        from torchvision.datasets.utils import check_integrity

        folder = self.root / reader.base_folder
        files = [*reader.train_list, *reader.test_list]
        for name, digest in [*files, (reader.meta["filename"], reader.meta["md5"])]:
            path = folder / name
            if not path.is_file():
                raise DataError(
                    f"{self.title} is not under {self.root}: {path} is not there. Set `download`, "
                    f"or unpack {reader.filename} into {self.root}."
                )
            if not check_integrity(str(path), digest):
                raise DataError(
                    f"{path} is damaged: it is not the published file. Remove it, and set "
                    f"`download` or unpack {reader.filename} into {self.root} again."
                )


@final
class CIFAR10(_CIFAR):
    """CIFAR-10: 50,000 training and 10,000 test images, 32x32, 10 classes.

    Args:
        root: folder that holds `cifar-10-batches-py`.
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

    title = "CIFAR-10"
    num_classes = 10
    # Of the 50,000 training images.
    mean, std = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)
    class_names = (
        *("airplane", "automobile", "bird", "cat", "deer"),
        *("dog", "frog", "horse", "ship", "truck"),
    )

    def reader(self) -> Any:
        """Torchvision's class."""
        from torchvision.datasets import CIFAR10

        return CIFAR10


@final
class CIFAR100(_CIFAR):
    """CIFAR-100: 50,000 training and 10,000 test images, 32x32, 100 classes.

    Arguments and errors are those of `CIFAR10`; the folder is `cifar-100-python`.
    """

    title = "CIFAR-100"
    num_classes = 100
    # Of the 50,000 training images.
    mean, std = (0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762)
    class_names = tuple(f"class {i}" for i in range(100))

    def reader(self) -> Any:
        """Torchvision's class."""
        from torchvision.datasets import CIFAR100

        return CIFAR100
