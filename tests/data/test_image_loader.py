"""The loader of images: the same batches whoever makes them, and after a stop."""

import os
import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset
from torchvision.transforms import v2
from trees import pixels

from visionpe import Frame
from visionpe.data.augments import SampleAugment
from visionpe.data.batched import BatchAugment
from visionpe.data.image_loader import ImageLoader
from visionpe.data.mixing import Mix
from visionpe.data.normalise import Normalise
from visionpe.data.sources import Batch, SampleSource, Source, TensorSource
from visionpe.data.torchvision_augment import TorchvisionAugment
from visionpe.data.views import ResizedCrop
from visionpe.errors import DataError

N = 23
UNIT = Normalise((0.5,) * 3, (0.5,) * 3)


class Sizes(Dataset[Any]):
    """Images of many sizes, whose values tell their number; some are noisy as they are read."""

    def __len__(self) -> int:
        return N

    def __getitem__(self, row: int) -> tuple[Any, int]:
        if row >= N:
            raise IndexError(row)
        image = torch.from_numpy(pixels(10 + row, 14, 3, seed=row)).permute(2, 0, 1)
        return image.float() / 255 + 0.1 * torch.rand(()), row % 4


def tensors(mix: Mix | None = None) -> TensorSource:
    images = torch.from_numpy(pixels(N, 3, 9, 12))
    return TensorSource(
        images,
        torch.arange(N) % 4,
        num_classes=4,
        normalise=UNIT,
        augment=BatchAugment(2),
        mix=mix,
        seed=5,
    )


def samples(mix: Mix | None = None, dataset: Any = None, **options: Any) -> SampleSource:
    return SampleSource(
        Sizes() if dataset is None else dataset,
        num_classes=4,
        channels=3,
        normalise=UNIT,
        augment=ResizedCrop((8, 10)),
        mix=mix,
        seed=5,
        **options,
    )


SOURCES: dict[str, Callable[[], Source]] = {
    "tensors": tensors,
    "samples": samples,
    "tensors, mixed": lambda: tensors(Mix(1.0, 1.0)),
    "samples, mixed": lambda: samples(Mix(1.0, 1.0)),
}


def loader(source: Source, workers: int = 0, **options: Any) -> ImageLoader:
    return ImageLoader(source, batch_size=5, shuffle=True, seed=5, num_workers=workers, **options)


def epoch(it: ImageLoader, number: int) -> list[Batch]:
    it.sampler.set_epoch(number)
    return list(it)


def same(one: list[Batch], other: list[Batch]) -> bool:
    def parts(batches: list[Batch]) -> list[torch.Tensor]:
        return [part for images, targets, frame in batches for part in (images, targets, *frame)]

    pairs = zip(parts(one), parts(other), strict=True)
    return len(one) == len(other) and all(torch.equal(a, b) for a, b in pairs)


@pytest.mark.parametrize("name", SOURCES)
def test_batches_are_the_same_for_0_1_and_2_workers(name: str) -> None:
    here, one, two = (loader(SOURCES[name](), workers) for workers in (0, 1, 2))
    for number in (0, 3):
        expected = epoch(here, number)
        assert same(expected, epoch(one, number))
        torch.rand(7)  # the program's generator does not matter
        assert same(expected, epoch(two, number))
    assert not same(expected, epoch(here, 2))


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("yielded", [0, 1, 4, 5])
def test_a_restored_loader_yields_the_rest_of_its_epoch(yielded: int, workers: int) -> None:
    first = loader(samples(Mix(1.0)), workers)
    first.sampler.set_epoch(2)
    iterator = iter(first)
    seen = [next(iterator) for _ in range(yielded)]
    second = loader(samples(Mix(1.0)))
    if yielded:
        second.load_state_dict(first.state_dict())
    rest = epoch(second, 2)
    assert len(seen) + len(rest) == len(second) == 5
    assert same(seen + rest, epoch(loader(samples(Mix(1.0))), 2))


def test_an_abandoned_pass_does_not_disturb_the_next() -> None:
    it = loader(samples(), 2)
    next(iter(it))
    assert same(epoch(it, 1), epoch(loader(samples()), 1))


def test_two_passes_at_once_are_refused_with_workers() -> None:
    it = loader(samples(), 1)
    first = iter(it)
    next(first)
    list(it)
    message = (
        "A loader with worker processes must be iterated once at a time, but was started anew. "
        "Make another loader, or set `num_workers` to 0."
    )
    with pytest.raises(RuntimeError, match=f"^{re.escape(message)}$"):
        list(first)


@pytest.mark.parametrize("workers", [0, 1])
def test_the_programs_generators_are_left_alone(workers: int) -> None:
    torch.manual_seed(0)
    expected = torch.rand(2)
    torch.manual_seed(0)
    epoch(loader(samples(), workers), 0)
    assert torch.equal(torch.rand(2), expected)


@pytest.mark.parametrize("name", ["tensors", "samples"])
def test_a_sample_is_augmented_alike_whatever_the_batch_size(name: str) -> None:
    def by_size(size: int) -> dict[tuple[int, ...], torch.Tensor]:
        it = ImageLoader(SOURCES[name](), batch_size=size)
        return {(i,): image for i, image in enumerate(x for batch in it for x in batch[0])}

    one, other = by_size(4), by_size(9)
    assert all(torch.equal(one[key], other[key]) for key in one)


@pytest.mark.parametrize("world", [2, 3])
@pytest.mark.parametrize("fill", [True, False])
def test_processes_share_an_epoch(world: int, fill: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    seen, counts = [], []
    for rank in range(world):
        monkeypatch.setattr("visionpe.data.loader.processes", lambda rank=rank: (rank, world))
        source = TensorSource(
            torch.arange(N, dtype=torch.uint8)[:, None, None, None].expand(N, 1, 1, 1),
            torch.arange(N),
            num_classes=N,
            normalise=Normalise((0.0,), (1.0,)),
        )
        it = loader(source, fill=fill)
        rows = [batch[1].tolist() for batch in it]
        assert len(rows) == len(it)
        assert max(map(len, rows)) <= 5
        counts.append(len(rows))
        seen += [row for batch in rows for row in batch]
    assert len(set(counts)) == 1  # or a collective would wait for ever
    assert set(seen) == set(range(N))
    assert len(seen) == (N if not fill else -(-N // world) * world)


def test_fewer_samples_than_processes_are_filled_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("visionpe.data.loader.processes", lambda: (2, 40))
    assert len(list(loader(tensors(), fill=False))) == 1


class Bad(Sizes):
    """One sample of it is not as it should be."""

    def __init__(self, item: Any) -> None:
        self.item = item

    def __getitem__(self, row: int) -> tuple[Any, int]:
        if row == 7:
            if isinstance(self.item, Exception):
                raise self.item
            return self.item  # type: ignore[no-any-return] # that is the point
        return super().__getitem__(row)


GOOD = torch.zeros(3, 9, 9, dtype=torch.uint8)


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize(
    ("item", "message"),
    [
        (DataError("cat.png is damaged: no end. Replace or remove it."), "{}"),
        (
            (GOOD, 4),
            "Targets must be classes 0 to 3, but that of sample 7 of the data set is 4. Correct "
            "the label, or `num_classes`.",
        ),
        (
            (GOOD[:1], 0),
            "Images must have 3 channels, rows and columns, but sample 7 of the data set is "
            "(1, 9, 9).",
        ),
        (
            (GOOD.double(), 0),
            "Images must be uint8, or float32 in [0, 1], but sample 7 of the data set is "
            "torch.float64.",
        ),
        (
            ("cat.png", 0),
            "Images must be uint8, or floats in [0, 1], but sample 7 of the data set is an array "
            "of <U7.",
        ),
        (
            (GOOD, "cat"),
            "Targets must be whole numbers, classes 0 to 3, but that of sample 7 of the data set "
            "is 'cat'. Number the classes, by a `target_transform` for instance.",
        ),
        (
            (GOOD, 1.7),
            "Targets must be whole numbers, classes 0 to 3, but that of sample 7 of the data set "
            "is 1.7. Number the classes, by a `target_transform` for instance.",
        ),
        (
            (GOOD, torch.tensor([0, 1, 0, 0])),
            "Targets must be whole numbers, classes 0 to 3, but that of sample 7 of the data set "
            "is tensor([0, 1, 0, 0]). Number the classes, by a `target_transform` for instance.",
        ),
        (
            (GOOD, 0, "whole"),
            "The third part of a sample must be its Frame, but that of sample 7 of the data set is "
            "of type str. Leave it out, or give the frame.",
        ),
        (
            (GOOD, 0, Frame.identity(9, 8)),
            "The view of a sample's frame must be its image's size [9, 9], but that of sample 7 of "
            "the data set is [9.0, 8.0]. Move the frame along with the image.",
        ),
        (
            (Image.new("P", (9, 9)), 0),
            "Pillow's images must be of mode 'RGB', but sample 7 of the data set is of mode 'P': "
            "make it so by `convert('RGB')`, in a `transform` for instance.",
        ),
        (
            GOOD,
            "Each sample must be (image, target) or (image, target, frame), but sample 7 of the "
            "data set is Tensor of 3.",
        ),
    ],
    ids=[
        "damaged",
        "class",
        "channels",
        "dtype",
        "text",
        "name",
        "fraction",
        "one-hot",
        "no frame",
        "another frame",
        "palette",
        "alone",
    ],
)
def test_a_bad_sample_stops_with_one_sentence(item: Any, message: str, workers: int) -> None:
    message = message.format(item)
    with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
        epoch(loader(samples(dataset=Bad(item)), workers), 0)


class Changes(SampleAugment):
    """Makes something else of images."""

    def __init__(self, change: Callable[[Tensor], Tensor]) -> None:
        self.change = change

    def apply(self, image: Tensor) -> tuple[Tensor, Frame]:
        return self.change(image), Frame.identity(*image.shape[-2:])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda image: image[:1],
            "Augmented images must have 3 channels, rows and columns, but of sample 0 of the data "
            "set comes (1, 10, 14). Keep the channels in `augment`, or correct `channels`.",
        ),
        (
            lambda image: (255 * image).long(),
            "Augmented images must be uint8, or floats in [0, 1], but of sample 0 of the data set "
            "comes torch.int64. Take that conversion out of `augment`.",
        ),
    ],
    ids=["channels", "dtype"],
)
def test_what_an_augmentation_returns_is_checked(change: Any, message: str) -> None:
    source = samples()
    source.augment = Changes(change)
    with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
        next(iter(ImageLoader(source, batch_size=1)))


def test_half_precision_of_an_augmentation_is_widened() -> None:
    source = samples()
    source.augment = Changes(lambda image: image.half())
    images, _, _ = next(iter(ImageLoader(source, batch_size=1)))
    assert images.dtype == torch.float32


def test_batches_do_not_depend_on_the_threads_of_the_program() -> None:
    def contrasts() -> list[Batch]:
        source = samples(dataset=Large())
        source.augment = TorchvisionAugment([v2.ColorJitter(contrast=(0.2, 3.0))])
        return list(ImageLoader(source, batch_size=2))

    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        expected = contrasts()
        torch.set_num_threads(2)
        assert same(contrasts(), expected)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)


class Large(Sizes):
    """Images whose means several threads sum in another order than one."""

    def __len__(self) -> int:
        return 4

    def __getitem__(self, row: int) -> tuple[Any, int]:
        image = torch.from_numpy(pixels(400, 300, 3, seed=row)).permute(2, 0, 1)
        return image.float() / 255, 0


def test_images_of_many_sizes_need_a_size() -> None:
    source = samples()
    source.augment = None
    message = (
        "The images of a batch must have one size, but are 10x14, 11x14, 12x14 and 2 others. Give "
        "`image_size`, or an augmentation that makes one."
    )
    with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
        next(iter(ImageLoader(source, batch_size=5)))


class Killed(Sizes):
    """Ends its process, as the system does when memory runs out."""

    def __getitem__(self, row: int) -> tuple[Any, int]:
        os._exit(9)


def test_a_killed_worker_is_said_in_a_sentence_with_a_remedy() -> None:
    message = (
        r"^A worker process of the loader ended: DataLoader worker \(pid.*\) exited unexpectedly.* "
        r"Memory may have run out; lower `num_workers` or `batch_size`\.$"
    )
    with pytest.raises(DataError, match=message):
        epoch(loader(samples(dataset=Killed()), 1), 0)


def test_a_data_sets_own_frame_is_kept_and_moved_on() -> None:
    class Placed(Sizes):
        def __getitem__(self, row: int) -> Any:
            frame = Frame.identity(100, 100).crop(row, 3, h=9, w=9)
            return GOOD, 0, frame

    source = samples(dataset=Placed())
    source.augment = None
    _, _, frame = next(iter(ImageLoader(source, batch_size=4)))
    assert frame.affine[:, 0, 2].tolist() == [0, 1, 2, 3]
    assert frame.extent.tolist() == [[100, 100]] * 4


def test_images_in_memory_are_mixed_before_they_are_moved_so_that_frames_hold() -> None:
    for source, kept in ((tensors(Mix(1.0)), True), (samples(Mix(1.0)), False)):
        plain = tensors() if kept else samples()
        _, shares, frame = next(iter(loader(source)))
        _, targets, expected = next(iter(loader(plain)))
        assert shares.shape == (5, 4)
        assert targets.dtype == torch.int64
        assert torch.equal(frame.affine, expected.affine) is kept
        torch.testing.assert_close(shares.sum(-1), torch.ones(5))


def test_wrong_arguments_are_refused() -> None:
    message = "`num_workers` must be at least 0, but is -1."
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        loader(tensors(), -1)
    message = (
        "`mean` and `std` must be one number a channel, `std` positive, but are (0.5,) and (0.0,)."
    )
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        Normalise((0.5,), (0.0,))


def test_batches_in_memory_stay_on_the_images_device() -> None:
    """On the meta device, which refuses to meet any other one."""
    images = torch.zeros(N, 3, 9, 12, dtype=torch.uint8, device="meta")
    targets = torch.zeros(N, dtype=torch.int64, device="meta")
    for augment in (None, BatchAugment(2), BatchAugment(0, scale=(0.5, 1.0), rotate=9.0)):
        source = TensorSource(images, targets, num_classes=4, normalise=UNIT, augment=augment)
        batch, classes, frame = next(iter(ImageLoader(source, batch_size=5)))
        assert batch.shape == (5, 3, 9, 12)
        assert {part.device.type for part in (batch, classes, *frame)} == {"meta"}
