"""Any data set by its class path: torchvision's, yours, or shards."""

from collections.abc import Sized
from typing import Any, final

from torch.utils.data import Dataset, IterableDataset

from visionpe.data.augments import SampleAugment
from visionpe.data.folder import statistics
from visionpe.data.image_data import ImageData, Part
from visionpe.data.mixing import Mix
from visionpe.data.streams import Sharing
from visionpe.data.views import CentreCrop
from visionpe.errors import DataError


@final
class Images(ImageData):
    """Data sets of `(image, target)` or `(image, target, frame)`, with and without a length.

    Images are tensors `c h w`, arrays `h w` or `h w c`, or Pillow's, of uint8 or of floats in
    [0, 1]. A data set that moves pixels itself, by a `transform` of its own, should give the frame.

    Args:
        num_classes: how many classes there are.
        train, val, test: the data sets. An `IterableDataset` keeps its own order: see
            `visionpe.data.streams` for what is promised of it.
        image_size: `(h, w)` of the images of a batch.
        resize: whether images that are not augmented are made so by `CentreCrop`; if not, they must
            be of that size already.
        batch_size: images a training batch (and process).
        augment: what is done to training images; its result must be of `image_size` if the backbone
            takes that size alone, as ViTs do. By default the same as in validation.
        mix: what joins two of them.
        num_workers: worker processes, which read the samples.
        seed: the run's, of order and augmentation.
        channels: 3 for colours, 1 for grey.
        mean, std: of each channel, for normalisation; ImageNet's by default.
        eval_batch_size: images a batch of validation, test and prediction; by default
            `batch_size`.
        sharing: who shares out an `IterableDataset` to processes, "loader" or "dataset".
        class_names: by class; those of a data set that names its classes, or numbers, by default.

    Raises:
        ValueError: if a number is out of its range, or `class_names` are not as many as classes.
        DataError: if two data sets that name their classes (`classes`) differ in them, or there are
            others than `num_classes`. When read: if a sample is not as said.
    """

    def __init__(
        self,
        num_classes: int,
        train: Dataset | None = None,  # type: ignore[type-arg] # read by the command line
        val: Dataset | None = None,  # type: ignore[type-arg]
        test: Dataset | None = None,  # type: ignore[type-arg]
        image_size: tuple[int, int] = (224, 224),
        resize: bool = True,
        batch_size: int = 64,
        augment: SampleAugment | None = None,
        mix: Mix | None = None,
        num_workers: int = 0,
        seed: int = 0,
        channels: int = 3,
        mean: tuple[float, ...] | None = None,
        std: tuple[float, ...] | None = None,
        eval_batch_size: int | None = None,
        sharing: Sharing = "loader",
        class_names: tuple[str, ...] | None = None,
    ) -> None:
        super().__init__(
            batch_size=batch_size,
            eval_batch_size=eval_batch_size,
            augment=augment,
            mix=mix,
            num_workers=num_workers,
            seed=seed,
        )
        if num_classes < 1:
            raise ValueError(f"`num_classes` must be at least 1, but is {num_classes}.")
        self.num_classes = num_classes
        self.image_size = image_size
        self.channels = channels
        self.mean, self.std = statistics(channels, mean, std)
        self.sharing = sharing
        self.datasets: dict[Part, Any] = {"train": train, "val": val, "test": test}
        named = _names_of(self.datasets)
        numbers = tuple(str(i) for i in range(num_classes))
        own = named if named is not None and len(named) == num_classes else numbers
        self.class_names = class_names or own
        if len(self.class_names) != num_classes:
            raise ValueError(
                f"`class_names` must be {num_classes} names, but are {len(self.class_names)}."
            )
        self._view = CentreCrop(image_size) if resize else None
        for part, dataset in self.datasets.items():
            self._check(part, dataset)

    def view(self) -> SampleAugment | None:
        """The window in the middle, resized, if asked to."""
        return self._view

    def read(self, part: Part) -> Dataset[Any] | None:
        """The data set as given."""
        dataset: Dataset[Any] | None = self.datasets[part]
        return dataset

    def _check(self, part: Part, dataset: Any) -> None:
        """Refuses data sets whose own word disagrees with ours."""
        if dataset is None:
            return
        if not isinstance(dataset, IterableDataset | Sized):
            raise DataError(
                f"`{part}` must be a data set with a length or an IterableDataset, but "
                f"{type(dataset).__name__} is neither."
            )
        named = getattr(dataset, "classes", None)
        if named is not None and len(named) != self.num_classes:
            raise DataError(
                f"`num_classes` must be that of `{part}`, which names {len(named)} classes, but is "
                f"{self.num_classes}."
            )


def _names_of(datasets: dict[Part, Any]) -> tuple[str, ...] | None:
    """The classes as the data sets name them, if any does.

    Raises:
        DataError: if two of them differ: a number would be one class here and another there.
    """
    found = {
        part: tuple(str(name) for name in dataset.classes)
        for part, dataset in datasets.items()
        if getattr(dataset, "classes", None) is not None
    }
    first = next(iter(found), None)
    if first is None:
        return None
    for part, names in found.items():
        if len(names) == len(found[first]) and names != found[first]:
            i = next(i for i, name in enumerate(names) if name != found[first][i])
            raise DataError(
                f"`{part}` must name the same classes as `{first}`, but its class {i} is "
                f"{names[i]!r}, there {found[first][i]!r}."
            )
    return found[first]
