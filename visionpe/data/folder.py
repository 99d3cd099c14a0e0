"""Folders of pictures, one for each class."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, final

from jaxtyping import UInt8
from torch import Tensor
from torch.utils.data import Dataset, Subset

from visionpe.data.augments import SampleAugment
from visionpe.data.image_data import ImageData, Part, held_out, require_fraction
from visionpe.data.mixing import Mix
from visionpe.data.pictures import EXTENSIONS, read_picture, require_channels
from visionpe.data.views import CentreCrop
from visionpe.errors import DataError

_NAMES: dict[Part, tuple[str, ...]] = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation"),
    "test": ("test", "testing"),
}


class Picture(NamedTuple):
    """A file and its class."""

    path: Path
    target: int


class Pictures(Dataset[tuple[UInt8[Tensor, "c h w"], int]]):
    """Reads pictures as they are asked for."""

    def __init__(self, pictures: list[Picture], channels: int) -> None:
        self.pictures = pictures
        self.channels = channels

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, index: int) -> tuple[UInt8[Tensor, "c h w"], int]:
        path, target = self.pictures[index]
        return read_picture(path, channels=self.channels), target


@final
class ImageFolder(ImageData):
    """Pictures in one folder a class, below `train`, `val` and `test`, or parted by us.

    If `root` has a folder `train`, in letters of any case, the parts are the folders of that name;
    without a `val`, some of `train` is held out. Otherwise the folders in `root` are the classes,
    some of the pictures are held out for validation, and there is no test part. Classes are
    numbered by name. Pictures may lie in folders of a class's folder, and behind links. Files of
    other endings than pictures' are left out, and so are names that begin with a dot, of files and
    folders.

    Args:
        root: the folder.
        image_size: `(h, w)` of the images of a batch.
        batch_size: images a training batch (and process).
        val_fraction: share of the training images that is kept for validation if there is no folder
            for it, the same ones in every run.
        augment: what is done to training images; its result must be of `image_size` if the backbone
            takes that size alone, as ViTs do. By default the same as in validation:
            `CentreCrop(image_size)`.
        mix: what joins two of them.
        num_workers: worker processes, which read the pictures.
        seed: the run's, of order and augmentation.
        channels: 3 for colours, 1 for grey.
        mean, std: of each channel, for normalisation; ImageNet's by default.
        eval_batch_size: images a batch of validation, test and prediction; by default
            `batch_size`.

    Raises:
        ValueError: if a number is out of its range.
        DataError: if the folder has no classes, one of them no picture, or the parts differ in
            their classes, or a link leads nowhere. When read: if a picture is damaged.
    """

    def __init__(
        self,
        root: str,
        image_size: tuple[int, int] = (224, 224),
        batch_size: int = 64,
        val_fraction: float = 0.1,
        augment: SampleAugment | None = None,
        mix: Mix | None = None,
        num_workers: int = 0,
        seed: int = 0,
        channels: int = 3,
        mean: tuple[float, ...] | None = None,
        std: tuple[float, ...] | None = None,
        eval_batch_size: int | None = None,
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
        require_channels(channels)
        self.root = Path(root).expanduser()
        self.image_size = image_size
        self.val_fraction = val_fraction
        self.channels = channels
        self.mean, self.std = statistics(channels, mean, std)
        self._view = CentreCrop(image_size)
        self.folders = _parts(self.root)
        self.class_names = classes(self.folders["train"])
        self.num_classes = len(self.class_names)
        for part, folder in self.folders.items():
            _require_same(part, folder, self.folders["train"], self.class_names)

    def view(self) -> SampleAugment:
        """The window in the middle, resized."""
        return self._view

    def read(self, part: Part) -> Dataset[Any] | None:
        """The pictures of a part, of which only the names are read now."""
        if part in self.folders and (part != "train" or "val" in self.folders):
            return Pictures(pictures(self.folders[part], self.class_names), self.channels)
        if part == "test":
            return None
        everything = pictures(self.folders["train"], self.class_names)
        kept, out = held_out(len(everything), self.val_fraction)
        rows = kept if part == "train" else out
        if not len(rows):
            return None
        return Subset(Pictures(everything, self.channels), rows.tolist())


def statistics(
    channels: int, mean: tuple[float, ...] | None, std: tuple[float, ...] | None
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and deviation as given, or ImageNet's, or for grey images those of its luminance.

    Raises:
        ValueError: if there are others than `channels`.
    """
    grey = channels == 1
    mean = mean or ((0.449,) if grey else (0.485, 0.456, 0.406))
    std = std or ((0.226,) if grey else (0.229, 0.224, 0.225))
    for name, values in (("mean", mean), ("std", std)):
        if len(values) != channels:
            raise ValueError(
                f"`{name}` must be a number for each of the {channels} channels, but is {values}."
            )
    return mean, std


def classes(folder: Path) -> tuple[str, ...]:
    """The names of the folders in a folder, sorted.

    Raises:
        DataError: if there are none.
    """
    names = sorted(each.name for each in folder.iterdir() if each.is_dir() and each.name[0] != ".")
    if not names:
        raise DataError(f"{folder} must hold a folder of pictures for each class, but holds none.")
    return tuple(names)


def pictures(folder: Path, names: tuple[str, ...]) -> list[Picture]:
    """All pictures of a part, in the order of their names.

    Raises:
        DataError: if a class has none, or a link to one leads nowhere.
    """
    found: list[Picture] = []
    for target, name in enumerate(names):
        paths = sorted(path for path in _files(folder / name) if path.suffix.lower() in EXTENSIONS)
        if not paths:
            raise DataError(
                f"{folder / name} must hold pictures ({', '.join(EXTENSIONS)}), but holds none. "
                "Add some, or remove the folder."
            )
        found += [Picture(path, target) for path in paths]
    return found


def _files(folder: Path) -> Iterator[Path]:
    """The files in a folder and its folders, behind links too, without hidden ones."""
    seen = set()
    for here, folders, files in os.walk(folder, followlinks=True):
        status = os.stat(here)
        if (status.st_dev, status.st_ino) in seen:  # a link to a folder above, or to one twice
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        folders[:] = sorted(name for name in folders if name[0] != ".")
        for name in files:
            path = Path(here, name)
            if name[0] == ".":
                continue
            if path.is_file():
                yield path
            elif path.is_symlink():
                raise DataError(
                    f"{path} must lead to a file or folder, but {os.readlink(path)} is not there. "
                    "Bring that back, or remove the link."
                )


def _parts(root: Path) -> dict[Part, Path]:
    """The folder of each part that has one."""
    if not root.is_dir():
        raise DataError(f"`root` must be a folder of pictures, but {root} is none.")
    parts: dict[Part, Path] = {}
    folders = sorted(each for each in root.iterdir() if each.is_dir())
    for part, names in _NAMES.items():
        found = [each for each in folders if each.name.lower() in names]
        if len(found) > 1:
            raise DataError(
                f"{root} must have one folder of the {part} part, but has "
                f"{' and '.join(each.name for each in found)}."
            )
        if found:
            parts[part] = found[0]
    if "train" in parts:
        return parts
    if parts:
        raise DataError(f"{root} has a {' and a '.join(parts)} part, but no folder `train`.")
    return {"train": root}


def _require_same(part: Part, folder: Path, train: Path, names: tuple[str, ...]) -> None:
    here = classes(folder)
    missing, more = sorted({*names} - {*here}), sorted({*here} - {*names})
    if missing or more:
        lacks = f"lacks {', '.join(missing[:5])}" if missing else ""
        adds = f"adds {', '.join(more[:5])}" if more else ""
        raise DataError(
            f"{folder} must have the {len(names)} classes of {train}, but has {len(here)}: "
            f"{' and '.join(each for each in (lacks, adds) if each)}."
        )
