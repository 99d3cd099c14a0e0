"""What the data modules of images have in common."""

from abc import ABC, abstractmethod
from typing import Any, Literal, NamedTuple

import lightning as L
import torch
from jaxtyping import Int64, UInt8
from torch import Tensor
from torch.utils.data import Dataset, IterableDataset, TensorDataset

from visionpe.data.augments import SampleAugment
from visionpe.data.batched import BatchAugment
from visionpe.data.image_loader import ImageLoader
from visionpe.data.mixing import Mix
from visionpe.data.normalise import Normalise
from visionpe.data.sources import SampleSource, Source, TensorSource
from visionpe.data.streams import Sharing, StreamLoader
from visionpe.data.under_lightning import overfits, resume_exactly
from visionpe.errors import DataError

Part = Literal["train", "val", "test"]
Loader = ImageLoader | StreamLoader
_NEEDED: dict[str, tuple[Part, ...]] = {"fit": ("train", "val"), "validate": ("val",)}


class Pixels(NamedTuple):
    """Images of one size with their classes, in memory.

    Attributes:
        images: of all samples.
        targets: classes counted from 0.
    """

    images: UInt8[Tensor, "n c h w"]
    targets: Int64[Tensor, " n"]


class ImageData(L.LightningDataModule, ABC):
    """Batches `(image, target, frame)` for training, validation, test and prediction.

    `image` is float32 `b c h w`, normalised; `target` int64 `b` (float32 `b num_classes`, the share
    of each class, in training with `mix`); `frame` says where each image sits in its original. The
    order and each sample's augmentation are functions of `(seed, epoch, index)` alone.

    Attributes:
        num_classes: how many classes there are.
        channels: of an image.
        image_size: `(h, w)` of the images of a batch.
        class_names: by class.
        mean, std: of each channel, which the images are normalised with.
        sharing: who shares a stream out to processes.
        device: where images that lie in memory do.
    """

    num_classes: int
    channels: int
    image_size: tuple[int, int]
    class_names: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    sharing: Sharing = "loader"
    device: str = "cpu"

    def __init__(
        self,
        *,
        batch_size: int,
        eval_batch_size: int | None,
        augment: BatchAugment | SampleAugment | None,
        mix: Mix | None,
        num_workers: int,
        seed: int,
    ) -> None:
        super().__init__()
        for name, size in (("batch_size", batch_size), ("eval_batch_size", eval_batch_size)):
            if size is not None and size < 1:
                raise ValueError(f"`{name}` must be at least 1 image, but is {size}.")
        if num_workers < 0:
            raise ValueError(f"`num_workers` must be at least 0, but is {num_workers}.")
        self.batch_size = batch_size
        self.eval_batch_size = eval_batch_size or batch_size
        self.augment = augment
        self.mix = mix
        self.num_workers = num_workers
        self.seed = seed
        self.parts: dict[Part, Pixels | Dataset[Any] | None] = {}

    @abstractmethod
    def read(self, part: Part) -> "Pixels | Dataset[Any] | None":
        """A part of the data; none if there is no such part."""

    def view(self) -> SampleAugment | None:
        """What is done to an image that is not augmented, if anything."""
        return None

    def setup(self, stage: str) -> None:
        """Reads what a stage needs, once.

        Raises:
            DataError: if it is missing, damaged or at odds with itself.
        """
        if stage == "fit":
            resume_exactly(self)
        for part in _NEEDED.get(stage, ("test",)):
            if part not in self.parts:
                self.parts[part] = self.read(part)
            if self.parts[part] is None and not (stage == "fit" and part == "val"):
                raise DataError(f"{type(self).__name__} has no {part} part, which `{stage}` needs.")

    def train_dataloader(self) -> Loader:
        """Training images, augmented, in a new order each epoch unless `overfit_batches` is set."""
        return self._loader("train")

    def val_dataloader(self) -> Loader | list[Loader]:
        """Validation images, in order; no loader if there are none."""
        return [] if self.parts["val"] is None else self._loader("val")

    def test_dataloader(self) -> Loader:
        """Test images, in order."""
        return self._loader("test")

    def predict_dataloader(self) -> Loader:
        """Test images, in order."""
        return self._loader("test")

    def _loader(self, part: Part) -> Loader:
        training = part == "train"
        data, source = self.parts[part], self._source(part)
        size = self.batch_size if training else self.eval_batch_size
        if isinstance(data, IterableDataset):
            assert isinstance(source, SampleSource)
            return StreamLoader(
                source,
                batch_size=size,
                fixed_order=training and overfits(self),
                num_workers=self.num_workers,
                sharing=self.sharing,
            )
        if len(source) == 0:
            raise DataError(f"The {part} part of {type(self).__name__} is empty.")
        return ImageLoader(
            source,
            batch_size=size,
            shuffle=training and not overfits(self),
            seed=self.seed,
            fill=training,
            num_workers=self.num_workers,
        )

    def _source(self, part: Part) -> Source:
        data, normalise = self.parts[part], Normalise(self.mean, self.std)
        augment, mix = (self.augment, self.mix) if part == "train" else (None, None)
        common: dict[str, Any] = {
            "num_classes": self.num_classes,
            "normalise": normalise,
            "mix": mix,
            "seed": self.seed,
        }
        if isinstance(data, Pixels):
            if not isinstance(augment, SampleAugment):
                here = Pixels(*(part.to(self.device) for part in data))
                return TensorSource(*here, augment=augment, **common)
            data = TensorDataset(*data)
        if isinstance(augment, BatchAugment):
            raise ValueError(
                "`augment` must work sample by sample for images that do not lie in memory, but is "
                "BatchAugment: take ResizedCrop, TorchvisionAugment or Augment."
            )
        return SampleSource(
            data,
            channels=self.channels,
            augment=augment or self.view(),
            name=f"the {part} part",
            **common,
        )


def held_out(n: int, fraction: float) -> tuple[Int64[Tensor, " m"], Int64[Tensor, " k"]]:
    """Rows of `n` that are kept and held out, in order, the same for every run.

    Raises:
        ValueError: if `fraction` is not in [0, 1).
        DataError: if one of the two is empty that should not be.
    """
    require_fraction(fraction)
    out = round(n * fraction)
    if n == 0 or (fraction > 0 and not 0 < out < n):
        raise DataError(
            f"{n} samples cannot be parted by a `val_fraction` of {fraction}: one part is empty."
        )
    order = torch.randperm(n, generator=torch.Generator().manual_seed(0))
    return order[out:].sort().values, order[:out].sort().values


def require_fraction(fraction: float) -> None:
    """Refuses a `val_fraction` that is not in [0, 1)."""
    if not 0 <= fraction < 1:
        raise ValueError(f"`val_fraction` must be in [0, 1), but is {fraction}.")


def require_classes(targets: Int64[Tensor, " n"], num_classes: int, name: str) -> None:
    """Refuses labels that are no class.

    Raises:
        DataError: naming the first such sample.
    """
    wrong = ((targets < 0) | (targets >= num_classes)).nonzero()[:, 0]
    if len(wrong):
        row = int(wrong[0])
        raise DataError(
            f"{name} must hold classes 0 to {num_classes - 1}, but sample {row} is of class "
            f"{int(targets[row])}. The file is another's, or damaged."
        )


def in_memory_of(device: str, num_workers: int) -> str:
    """The device that images are kept on.

    Raises:
        ValueError: if it is unknown or not there, or would be shared with worker processes.
    """
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        said = str(error).splitlines()[0].rstrip(".")
        raise ValueError(
            f"`device` must be one of this machine, but is {device!r}: {said}."
        ) from None
    if num_workers and torch.device(device).type != "cpu":
        raise ValueError(
            f"`num_workers` must be 0 for images that lie on {device!r}, but is {num_workers}."
        )
    return device
