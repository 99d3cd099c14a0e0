"""CIFAR-10 and CIFAR-100 (Krizhevsky, 2009), read by torchvision."""

from abc import abstractmethod
from typing import Any, final

import torch

from visionpe.data.image_data import Pixels
from visionpe.data.published import PublishedImages
from visionpe.errors import DataError

# Of CIFAR-100, in its order.
_NAMES = (
    "apple, aquarium fish, baby, bear, beaver, bed, bee, beetle, bicycle, bottle, bowl, boy, "
    "bridge, bus, butterfly, camel, can, castle, caterpillar, cattle, chair, chimpanzee, "
    "clock, cloud, cockroach, couch, crab, crocodile, cup, dinosaur, dolphin, elephant, "
    "flatfish, forest, fox, girl, hamster, house, kangaroo, keyboard, lamp, lawn mower, "
    "leopard, lion, lizard, lobster, man, maple tree, motorcycle, mountain, mouse, mushroom, "
    "oak tree, orange, orchid, otter, palm tree, pear, pickup truck, pine tree, plain, plate, "
    "poppy, porcupine, possum, rabbit, raccoon, ray, road, rocket, rose, sea, seal, shark, "
    "shrew, skunk, skyscraper, snail, snake, spider, squirrel, streetcar, sunflower, sweet "
    "pepper, table, tank, telephone, television, tiger, tractor, train, trout, tulip, turtle, "
    "wardrobe, whale, willow tree, wolf, woman, worm"
)


class _CIFAR(PublishedImages):
    """The two are one format."""

    channels = 3
    image_size = (32, 32)

    @abstractmethod
    def reader(self) -> Any:
        """Torchvision's class."""

    def fetch(self) -> None:
        """Downloads the archive, if it is missing, and unpacks it."""
        self.reader()(str(self.root), download=True)

    def load(self, *, test: bool) -> tuple[Pixels, str]:
        """Reads the pickles that torchvision has checked."""
        reader = self.reader()
        self._check(reader)
        data = reader(str(self.root), train=not test)
        images = torch.from_numpy(data.data).permute(0, 3, 1, 2).contiguous()
        return Pixels(images, torch.tensor(data.targets)), f"{self.title} under {self.root}"

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

    Arguments and errors are those of `PublishedImages`; `root` is the folder that holds
    `cifar-10-batches-py`.
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

    Arguments and errors are those of `PublishedImages`; `root` is the folder that holds
    `cifar-100-python`.
    """

    title = "CIFAR-100"
    num_classes = 100
    # Of the 50,000 training images.
    mean, std = (0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762)
    class_names = tuple(_NAMES.split(", "))

    def reader(self) -> Any:
        """Torchvision's class."""
        from torchvision.datasets import CIFAR100

        return CIFAR100
