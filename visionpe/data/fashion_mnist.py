"""Fashion-MNIST, arXiv 1708.07747."""

from pathlib import Path
from typing import final

from visionpe.data.idx import read_idx
from visionpe.data.image_data import Pixels
from visionpe.data.published import PublishedImages
from visionpe.errors import DataError


@final
class FashionMNIST(PublishedImages):
    """Fashion-MNIST: 60,000 training and 10,000 test images, grey, 28x28, 10 classes.

    Arguments and errors are those of `PublishedImages`; `root` is the folder that holds
    `FashionMNIST/raw`, and in it the four files, gzipped or not.
    """

    title = "Fashion-MNIST"
    num_classes = 10
    channels = 1
    image_size = (28, 28)
    class_names = (
        *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
        *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
    )
    mean, std = (0.2860,), (0.3530,)  # of the 60,000 training images

    def fetch(self) -> None:
        """Downloads the four files, if one is missing."""
        from torchvision.datasets import FashionMNIST as Torchvisions

        if not all(_there(path) for test in (False, True) for path in self._files(test)):
            Torchvisions(str(self.root), download=True)

    def load(self, *, test: bool) -> tuple[Pixels, str]:
        """Reads the images and their labels from two files."""
        paths = self._files(test)
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
        return Pixels(images[:, None], targets), str(paths[1])

    def _files(self, test: bool) -> tuple[Path, Path]:
        """The images and the labels."""
        folder = self.root / "FashionMNIST" / "raw"
        name = "t10k" if test else "train"
        return folder / f"{name}-images-idx3-ubyte", folder / f"{name}-labels-idx1-ubyte"


def _there(path: Path) -> bool:
    return path.is_file() or path.with_name(f"{path.name}.gz").is_file()
