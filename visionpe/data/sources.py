"""Where batches come from: tensors in memory, or any data set, sample by sample."""

import operator
import reprlib
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, final

import numpy as np
import torch
from jaxtyping import Float32, Int64, Shaped, UInt8
from PIL import Image
from torch import Tensor

from visionpe.data.augments import SampleAugment
from visionpe.data.batched import BatchAugment
from visionpe.data.draws import kept, reseed
from visionpe.data.loader import Order
from visionpe.data.mixing import Mix
from visionpe.data.normalise import Normalise
from visionpe.errors import DataError
from visionpe.frame import Frame

# Images, normalised; classes, or their shares where samples are mixed; frames.
Batch = tuple[Float32[Tensor, "b c h w"], Shaped[Tensor, "b *k"], Frame]
_FOREIGN = ("P", "PA", "YCbCr", "HSV", "LAB")  # modes whose numbers are no colours or greys
Sample = tuple[Shaped[Tensor, "c h w"], int, Frame]


@contextmanager
def one_thread() -> Iterator[None]:
    """Has torch compute with one thread, as in a worker process.

    Several sum in another order: the mean that a change of contrast needs differs in the last bits.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


class Source(ABC):
    """Makes the batch of an order; a pure function of it."""

    @abstractmethod
    def __len__(self) -> int:
        """Samples there are."""

    @abstractmethod
    def batch(self, order: Order) -> Batch:
        """Images, normalised, with their targets and frames."""


@final
class TensorSource(Source):
    """Images of one size that lie in memory, augmented a batch at a time.

    Args:
        images: of any device; batches are made there.
        targets: classes, beside the images.
        num_classes: how many classes there are.
        normalise: applied last.
        augment: what is done to the images.
        mix: what joins two of them, before they are augmented.
        seed: the run's.
    """

    def __init__(
        self,
        images: UInt8[Tensor, "n c h w"],
        targets: Int64[Tensor, " n"],
        *,
        num_classes: int,
        normalise: Normalise,
        augment: BatchAugment | None = None,
        mix: Mix | None = None,
        seed: int = 0,
    ) -> None:
        self.images = images
        self.targets = targets
        self.num_classes = num_classes
        self.normalise = normalise
        self.augment = augment
        self.mix = mix
        self.seed = seed

    def __len__(self) -> int:
        return len(self.images)

    def batch(self, order: Order) -> Batch:
        """One indexing, one mixing, one augmentation."""
        rows = order.rows.to(self.images.device)
        images, targets = self.images.index_select(0, rows), self.targets.index_select(0, rows)
        frame = Frame.identity(*images.shape[-2:], device=images.device)
        frame = Frame(*(part.repeat(len(rows), *[1] * part.dim()) for part in frame))
        if self.mix is not None:
            seeds = (self.seed, order.epoch, order.number)
            images, targets, frame = self.mix(
                images.float() / 255, targets, frame, num_classes=self.num_classes, seeds=seeds
            )
        if self.augment is not None:
            images, frame = self.augment(images, rows, seed=self.seed, epoch=order.epoch)
        return self.normalise(images), targets, frame


@final
class SampleSource(Source):
    """Any data set of `(image, target)` or `(image, target, frame)`, augmented one at a time.

    Args:
        dataset: with `__getitem__` and `__len__`; images are tensors `c h w`, arrays `h w` or
            `h w c`, or Pillow's, of uint8 or of floats in [0, 1].
        num_classes, channels: what targets and images must agree with.
        normalise, seed: as of `TensorSource`.
        augment: what is done to an image; it decides the size.
        mix: what joins two images of a batch, after they are augmented.
        name: of the data set in messages.
    """

    def __init__(
        self,
        dataset: Any,
        *,
        num_classes: int,
        channels: int,
        normalise: Normalise,
        augment: SampleAugment | None = None,
        mix: Mix | None = None,
        seed: int = 0,
        name: str = "the data set",
    ) -> None:
        self.dataset = dataset
        self.num_classes = num_classes
        self.channels = channels
        self.normalise = normalise
        self.augment = augment
        self.mix = mix
        self.seed = seed
        self.name = name

    def __len__(self) -> int:
        return len(self.dataset)

    def batch(self, order: Order) -> Batch:
        """Sample by sample, each under its own seed."""
        samples = []
        with one_thread():
            with kept():
                for row in order.rows.tolist():
                    reseed(self.seed, order.epoch, row)
                    samples.append(self.prepare(self.dataset[row], f"sample {row} of {self.name}"))
            return self.join(samples, (self.seed, order.epoch, order.number))

    def prepare(self, item: Any, name: str) -> Sample:
        """An item of the data set as image, target and frame, augmented.

        Raises:
            DataError: if it is none, or the image that is made of it not as it must be.
        """
        if not isinstance(item, tuple | list) or len(item) not in (2, 3):
            raise DataError(
                f"Each sample must be (image, target) or (image, target, frame), but {name} is "
                f"{type(item).__name__}{f' of {len(item)}' if hasattr(item, '__len__') else ''}."
            )
        image = as_image(item[0], self.channels, name)
        target = _class_of(item[1], self.num_classes, name)
        h, w = image.shape[-2:]
        whole = Frame.identity(h, w) if len(item) == 2 else _frame_of(item[2], h, w, name)
        if self.augment is None:
            return image, target, whole
        image, frame = self.augment.apply(image)
        image = self._augmented(image, name)
        return image, target, whole.then(frame) if len(item) == 3 else frame

    def join(self, samples: list[Sample], seeds: tuple[int, ...]) -> Batch:
        """Samples as a batch, normalised and mixed."""
        images, targets, frames = zip(*samples, strict=True)
        sizes = sorted({tuple(image.shape[-2:]) for image in images})
        if len(sizes) > 1:
            raise DataError(
                f"The images of a batch must have one size, but are {_listed(sizes)}. Give "
                "`image_size`, or an augmentation that makes one."
            )
        if len({image.dtype for image in images}) > 1:  # bytes and shares are no numbers alike
            joined = torch.stack([self.normalise(image) for image in images])
        else:
            joined = self.normalise(torch.stack(images))
        batch = joined, torch.tensor(targets), Frame.stack(list(frames))
        if self.mix is None:
            return batch
        return self.mix(*batch, num_classes=self.num_classes, seeds=seeds)

    def _augmented(self, image: Shaped[Tensor, "c h w"], name: str) -> Shaped[Tensor, "c h w"]:
        """What `augment` returned, in float32 unless it is in bytes."""
        if image.dim() != 3 or image.shape[0] != self.channels:
            raise DataError(
                f"Augmented images must have {self.channels} channels, rows and columns, but of "
                f"{name} comes {tuple(image.shape)}. Keep the channels in `augment`, or correct "
                "`channels`."
            )
        if image.dtype != torch.uint8 and not image.is_floating_point():
            raise DataError(
                f"Augmented images must be uint8, or floats in [0, 1], but of {name} comes "
                f"{image.dtype}. Take that conversion out of `augment`."
            )
        return image if image.dtype == torch.uint8 else image.float()


def as_image(image: object, channels: int, name: str) -> Shaped[Tensor, "c h w"]:
    """A tensor, array or Pillow image as a tensor `c h w`.

    Raises:
        DataError: if it is none of these, or its type, rank or channels are others.
    """
    if isinstance(image, Image.Image) and image.mode in _FOREIGN:
        wanted = "L" if channels == 1 else "RGB"
        raise DataError(
            f"Pillow's images must be of mode {wanted!r}, but {name} is of mode {image.mode!r}: "
            f"make it so by `convert({wanted!r})`, in a `transform` for instance."
        )
    if not isinstance(image, Tensor):
        array = np.array(image)  # a copy: Pillow's memory must not be written
        if array.dtype not in (np.uint8, np.float32):
            kind = f"an array of {array.dtype}" if array.dtype != object else type(image).__name__
            raise DataError(f"Images must be uint8, or floats in [0, 1], but {name} is {kind}.")
        array = array[:, :, None] if array.ndim == 2 else array
        image = torch.from_numpy(array)
        image = image.permute(2, 0, 1) if image.dim() == 3 else image
    if image.dtype not in (torch.uint8, torch.float32):
        raise DataError(f"Images must be uint8, or float32 in [0, 1], but {name} is {image.dtype}.")
    if image.dim() != 3 or image.shape[0] != channels or 0 in image.shape:
        raise DataError(
            f"Images must have {channels} channels, rows and columns, but {name} is "
            f"{tuple(image.shape)}."
        )
    return image


def _class_of(target: object, num_classes: int, name: str) -> int:
    """A target as a class.

    Raises:
        DataError: if it is no whole number, or none of the classes.
    """
    try:
        number = operator.index(target)  # type: ignore[arg-type] # that is the question
    except TypeError:
        shown = " ".join(reprlib.repr(target).split())
        raise DataError(
            f"Targets must be whole numbers, classes 0 to {num_classes - 1}, but that of {name} is "
            f"{shown}. Number the classes, by a `target_transform` for instance."
        ) from None
    if not 0 <= number < num_classes:
        raise DataError(
            f"Targets must be classes 0 to {num_classes - 1}, but that of {name} is {number}. "
            "Correct the label, or `num_classes`."
        )
    return number


def _frame_of(frame: object, h: int, w: int, name: str) -> Frame:
    """The third part of a sample, of an image of `h x w` pixels.

    Raises:
        DataError: if it is no frame, or another image's.
    """
    if not isinstance(frame, Frame):
        raise DataError(
            f"The third part of a sample must be its Frame, but that of {name} is of type "
            f"{type(frame).__name__}. Leave it out, or give the frame."
        )
    if frame.view.tolist() != [h, w]:
        raise DataError(
            f"The view of a sample's frame must be its image's size {[h, w]}, but that of {name} "
            f"is {frame.view.tolist()}. Move the frame along with the image."
        )
    return frame


def _listed(sizes: list[tuple[int, ...]]) -> str:
    shown = ", ".join(f"{h}x{w}" for h, w in sizes[:3])
    return f"{shown} and {len(sizes) - 3} others" if len(sizes) > 3 else shown
