"""Images: read several times, the same each time, and refused in one sentence."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

from visionpe import dead_leaves
from visionpe.probing.errors import ProbeError
from visionpe.probing.images import Images, generated, survey

IMAGES = torch.randn(7, 3, 4, 6)


@pytest.mark.parametrize(
    "source",
    [
        IMAGES,
        list(IMAGES.split(3)),
        [(part, 0) for part in IMAGES.split(3)],
        [{"image": part, "label": 1} for part in IMAGES.split(3)],
        DataLoader(TensorDataset(IMAGES), batch_size=3),
    ],
    ids=["tensor", "list", "tuples", "dicts", "loader"],
)
def test_images_come_from_tensors_and_batches_of_any_kind(source: Any) -> None:
    images = Images(source, batch_size=3)
    for _ in range(2):
        assert torch.equal(torch.cat(list(images)), IMAGES)
    assert [len(batch) for batch in images] == [3, 3, 1]
    assert torch.equal(images.first(4), IMAGES[:4])
    assert len(images.first(99)) == 7


def test_a_survey_counts_and_knows_black_and_white() -> None:
    known = survey(Images(IMAGES, batch_size=3))
    assert (known.n, known.channels, known.h, known.w, known.batches) == (7, 3, 4, 6, 3)
    assert torch.equal(known.low, IMAGES.amin((0, 2, 3)))
    assert torch.equal(known.high, IMAGES.amax((0, 2, 3)))


def test_a_loader_draws_no_numbers_of_ours() -> None:
    state = torch.random.get_rng_state()
    survey(Images(DataLoader(TensorDataset(IMAGES), batch_size=3)))
    assert torch.equal(torch.random.get_rng_state(), state)


def test_images_that_change_between_readings_are_refused() -> None:
    known = survey(Images(IMAGES, batch_size=3))
    assert [first for first, _ in known.again(Images(IMAGES, batch_size=4))] == [0, 4]
    with pytest.raises(ProbeError) as refused:
        list(known.again(Images(IMAGES[[0, 1, 2, 3, 5, 4, 6]], batch_size=3)))
    assert str(refused.value) == (
        "`images` must be the same in each reading, but image 4 differs from the first reading's. "
        "Turn off shuffling and random augmentation."
    )
    with pytest.raises(ProbeError, match=r"but image 7 differs"):
        list(known.again(Images(torch.cat([IMAGES, IMAGES]), batch_size=3)))
    with pytest.raises(ProbeError) as refused:
        list(known.again(Images(IMAGES[:5])))
    assert str(refused.value) == (
        "`images` must be the same in each reading, but this one ends after 5 of 7 images."
    )


class Broken:
    def __iter__(self) -> Iterator[Tensor]:
        yield IMAGES
        raise OSError("image file is truncated")


@pytest.mark.parametrize(
    ("source", "error", "said"),
    [
        ([], ValueError, "`images` must hold images, but has none."),
        (
            iter([IMAGES]),
            ValueError,
            "`images` must be readable several times, but is an iterator, list_iterator, which "
            "ends after one. Give a list or a DataLoader.",
        ),
        (
            "photos",
            TypeError,
            "`images` must be a tensor `b c h w` or an iterable of such batches, but is str.",
        ),
        (
            [0],
            TypeError,
            "`images` must hold tensors `b c h w`, but has int. Give batches of tensors, or tuples "
            "and dicts that begin with one.",
        ),
        (
            IMAGES[0],
            ValueError,
            "`images` must be batches `b c h w`, but has 3 dimensions: 3 x 4 x 6.",
        ),
        (
            IMAGES.to(torch.uint8),
            ValueError,
            "`images` must be floats, normalised as the model expects, but are torch.uint8. Give "
            "`images / 255`, or with the mean and deviation of the model's training.",
        ),
        (
            [IMAGES, IMAGES[:, :, :3]],
            ValueError,
            "`images` must be of one size, but image 7 is 3 x 3 x 6 and the first 3 x 4 x 6. "
            "Resize or crop them.",
        ),
        (
            [IMAGES, IMAGES * torch.tensor([1, 1, torch.nan, 1, 1, 1, 1])[:, None, None, None]],
            ValueError,
            "`images` must be finite, but image 9 holds NaN or infinity.",
        ),
        (
            Broken(),
            ProbeError,
            "Batch 1 of `images` cannot be read: image file is truncated",
        ),
    ],
    ids=["none", "iterator", "path", "numbers", "one", "bytes", "sizes", "nan", "broken"],
)
def test_bad_images_are_refused(source: Any, error: type[Exception], said: str) -> None:
    with pytest.raises(error) as refused:
        survey(Images(source))
    assert str(refused.value) == said


def test_dead_leaves_begin_with_the_same_images() -> None:
    few, more = dead_leaves(2, 12, 16, seed=5), dead_leaves(4, 12, 16, seed=5)
    assert torch.equal(few, more[:2])
    assert not torch.equal(few, dead_leaves(2, 12, 16, seed=6))
    assert not torch.equal(more[2], more[3])


@pytest.mark.parametrize("periodic", [False, True])
def test_no_place_of_dead_leaves_is_like_another_by_more_than_chance(periodic: bool) -> None:
    images = dead_leaves(600, 12, 16, periodic=periodic)
    assert images.min() >= 0
    assert images.max() <= 1
    values = 600 * 3
    means = images.mean((0, 1))
    assert (means - 0.5).abs().max() < 4.5 / (12 * values) ** 0.5  # colours are uniform
    across = (images.diff(dim=3) != 0).double().mean((0, 1, 2))  # edges between columns
    spread = (across * (1 - across) / (600 * 12)).sqrt()
    assert ((across - across.mean()).abs() < 6 * spread).all()  # rows of an image go together


def test_periodic_dead_leaves_have_no_seam() -> None:
    def edges(images: Tensor) -> tuple[float, float]:
        seam = (images[..., 0] != images[..., -1]).double().mean()
        return float(seam), float((images.diff(dim=3) != 0).double().mean())

    seam, inside = edges(dead_leaves(200, 12, 16, periodic=True))
    assert seam == pytest.approx(inside, abs=0.06)
    seam, inside = edges(dead_leaves(200, 12, 16))
    assert seam > inside + 0.3


def test_generated_images_have_mean_0_and_variance_1() -> None:
    images = torch.cat(list(generated(16, 24, n=100)))
    assert images.mean().abs() < 0.05
    assert images.var() == pytest.approx(1, abs=0.05)
    with pytest.raises(ValueError, match=r"^`n` must be at least 1, but is 0\.$"):
        dead_leaves(0, 4, 6)


def test_images_that_change_and_keep_their_sum_are_refused() -> None:
    known = survey(Images(IMAGES, batch_size=3))
    with pytest.raises(ProbeError, match=r"but image 0 differs from the first reading's\."):
        list(known.again(Images(IMAGES.flip(3), batch_size=3)))


def test_each_image_is_alone_or_has_its_group() -> None:
    assert survey(Images(IMAGES, batch_size=3)).groups.tolist() == list(range(7))
    groups = [4, 4, 1, 1, 0, 0, 9]
    assert survey(Images(IMAGES, groups=groups)).groups.tolist() == groups
    with pytest.raises(ValueError, match="groups") as refused:
        survey(Images(IMAGES, groups=[0, 1]))
    assert str(refused.value) == (
        "`groups` must hold a number for each of the 7 images, but holds 2."
    )
