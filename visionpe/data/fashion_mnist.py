"""Fashion-MNIST, arXiv 1708.07747."""

from pathlib import Path
from typing import final

from visionpe.data.augments import SampleAugment
from visionpe.data.batched import BatchAugment
from visionpe.data.downloading import downloading
from visionpe.data.idx import read_idx
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


@final
class FashionMNIST(ImageData):
    """Fashion-MNIST: 60,000 training and 10,000 test images, grey, 28x28, 10 classes.

    Args:
        root: folder that holds `FashionMNIST/raw` and in it the four files, gzipped or not.
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

    num_classes = 10
    channels = 1
    image_size = (28, 28)
    class_names = (
        *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
        *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
    )
    mean, std = (0.2860,), (0.3530,)  # of the 60,000 training images

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

    def prepare_data(self) -> None:
        """Downloads what is missing, if asked to.

        Raises:
            DataError: if the network or the disk refuses.
        """
        if self.download and not all(map(_there, [*self._files("train"), *self._files("test")])):
            from torchvision.datasets import FashionMNIST as Torchvisions

            with downloading("Fashion-MNIST", self.root):
                Torchvisions(str(self.root), download=True)

    def read(self, part: Part) -> Pixels | None:
        """The part, from its two files."""
        paths = self._files(part)
        for path in paths:
            if not _there(path):
                raise DataError(
                    f"Fashion-MNIST is not under {self.root}: {path} is not there. Set `download`, "
                    "or put the four files there, gzipped or not."
                )
        images, targets = read_idx(paths[0], 3), read_idx(paths[1], 1).long()
        if len(images) != len(targets) or images.shape[1:] != self.image_size:
            raise DataError(
                f"{paths[0]} and {paths[1].name} must hold as many labels as images of 28x28, but "
                f"hold {len(targets)} and {tuple(images.shape)}. One is another's; fetch both."
            )
        require_classes(targets, self.num_classes, str(paths[1]))
        if part == "test":
            return Pixels(images[:, None], targets)
        kept, out = held_out(len(targets), self.val_fraction)
        rows = kept if part == "train" else out
        return Pixels(images[rows, None], targets[rows]) if len(rows) else None

    def _files(self, part: Part) -> tuple[Path, Path]:
        """The images and the labels of a part."""
        folder = self.root / "FashionMNIST" / "raw"
        name = "t10k" if part == "test" else "train"
        return folder / f"{name}-images-idx3-ubyte", folder / f"{name}-labels-idx1-ubyte"


def _there(path: Path) -> bool:
    return path.is_file() or path.with_name(f"{path.name}.gz").is_file()
