import re
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import default_collate

from visionpe import Frame, Places, Rotary, attend, grid, inside, positions


@settings(deadline=None, max_examples=40, derandomize=True)
@given(h=st.integers(1, 64), w=st.integers(1, 64))
def test_the_tokens_of_a_map_have_the_coordinates_of_its_cells_row_by_row(h: int, w: int) -> None:
    places = Places.of(h, w, prefix=2, suffix=1)
    assert torch.equal(places.coordinates(), grid(h, w).flatten(1).mT)
    assert torch.equal(places.positions, positions(h, w).flatten(1).mT)
    assert places.tokens == 2 + h * w + 1
    assert places.shape == (h, w)


def test_a_crop_and_a_flip_have_the_places_of_the_image() -> None:
    image = Frame.identity(20, 28)
    whole = Places.of(10, 14, image).positions.unflatten(0, (10, 14))
    crop = Places.of(4, 5, image.crop(6, 2, h=8, w=10))
    assert torch.equal(crop.positions.unflatten(0, (4, 5)), whole[3:7, 1:6])
    assert crop.extent.tolist() == [10, 14]
    assert torch.equal(Places.of(10, 14, image.hflip()).positions, whole.flip(1).flatten(0, 1))


def test_a_resize_keeps_the_coordinates_and_changes_the_cells() -> None:
    image = Frame.identity(12, 20)
    coarse, fine = Places.of(6, 10, image), Places.of(6, 10, image.resize(24, 40))
    assert torch.equal(coarse.coordinates(), fine.coordinates())
    counted = Places.of(12, 20, image, cells=(6, 10))
    assert counted.extent.tolist() == [6, 10]
    assert not torch.equal(counted.positions, Places.of(12, 20, image).positions)
    torch.testing.assert_close(counted.coordinates(), Places.of(12, 20, image).coordinates())


def test_only_cells_one_step_apart_and_upright_count_as_a_lattice() -> None:
    assert Places.of(3, 4, cells=(3, 4)).shape == (3, 4)
    assert Places.of(3, 4, cells=(6, 8)).shape is None
    assert Places.of(3, 4, Frame.identity(3, 4)).shape is None
    assert Places.at(torch.rand(2, 5, 2), (3, 4)).shape is None


def test_places_outside_the_image_are_flagged_and_not_the_centre() -> None:
    frame = Frame.identity(4, 6).pad(left=2, bottom=1)
    places = Places.of(5, 8, frame)
    assert torch.equal(places.inside(), inside(5, 8, frame).flatten())
    assert not places.inside().all()
    assert (places.coordinates()[~places.inside()].abs() > 1).any(-1).all()


def test_any_points_are_places_one_set_for_each_sample() -> None:
    points = torch.rand(3, 7, 2) * 5
    places = Places.at(points, torch.tensor([[5.0, 9.0]]), prefix=1)
    assert places.extent.shape == (3, 2)
    assert places.tokens == 8
    wanted = (2 * points + 1) / torch.tensor([5.0, 9.0]) - 1
    torch.testing.assert_close(places.coordinates(), wanted)
    assert torch.equal(
        Places.at(positions(5, 9).flatten(1).mT, (5, 9)).coordinates(),
        Places.of(5, 9).coordinates(),
    )


def test_places_of_samples_are_stacked() -> None:
    one, other = Places.of(2, 3, prefix=1), Places.of(3, 2, prefix=1)
    both = Places.stack([one, one])
    assert both.positions.shape == (2, 6, 2)
    assert both.extent.tolist() == [[2, 3], [2, 3]]
    assert (both.prefix, both.suffix, both.shape) == (1, 0, (2, 3))
    mixed = Places.stack([one, other])
    assert mixed.shape is None
    assert torch.equal(mixed.coordinates()[1], other.coordinates())
    q = torch.randn(2, 2, 7, 8)
    out = attend(q, q, q, [Rotary()], mixed)
    for i, alone in enumerate((one, other)):
        part = q[i : i + 1]
        torch.testing.assert_close(out[i : i + 1], attend(part, part, part, [Rotary()], alone))


def test_places_of_other_numbers_of_tokens_are_not_stacked() -> None:
    message = (
        "`places` must be of as many tokens, prefixes and suffixes in each sample, but are "
        "[(4, 1, 0), (6, 0, 0)]. Pad the short ones, at any points, and mask them."
    )
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        Places.stack([Places.of(2, 3), Places.of(2, 2, prefix=1)])
    with pytest.raises(ValueError, match=r"^`places` must hold at least one sample's, but"):
        Places.stack([])


def test_places_move_and_are_collated() -> None:
    places = Places.of(2, 3)
    assert places.to(dtype=torch.float64).positions.dtype == torch.float64
    assert places.to("meta").extent.device.type == "meta"
    assert places.to("meta").shape == (2, 3)
    both = default_collate([places.positions, places.positions + 1])
    assert both.shape == (2, 6, 2)


PAIRS = torch.rand(4, 2)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (
            lambda: Places.of(0, 3),
            ValueError,
            "`h` must be at least 1 cell, but is 0.",
        ),
        (
            lambda: Places.of(2, 3, prefix=-1),
            ValueError,
            "`prefix` must be at least 0 tokens, but is -1.",
        ),
        (
            lambda: Places.at(PAIRS, (2, 3), suffix=-2),
            ValueError,
            "`suffix` must be at least 0 tokens, but is -2.",
        ),
        (
            lambda: Places.at(PAIRS * torch.nan, (2, 3)),
            ValueError,
            "`points` must be finite, but hold NaN or infinity. "
            "Tokens without a place are counted by `prefix` and `suffix`.",
        ),
        (
            lambda: Places.at(PAIRS, (0, 3)),
            ValueError,
            "`extent` must be positive, but is [0.0, 3.0].",
        ),
    ],
)
def test_bad_input_is_refused_in_one_sentence(
    make: Callable[[], object], error: type[Exception], message: str
) -> None:
    with pytest.raises(error) as caught:
        make()
    assert str(caught.value) == message


@pytest.mark.usefixtures("unchecked")
def test_points_that_are_no_pairs_or_no_floats_are_refused() -> None:
    with pytest.raises(TypeError) as caught:
        Places.at(torch.zeros(4, 2, dtype=torch.long), (2, 3))
    assert str(caught.value) == "`points` must be floating point numbers, but are torch.int64."
    with pytest.raises(ValueError, match=r"`points` must be \(y, x\) pairs") as wrong:
        Places.at(torch.zeros(4, 3), (2, 3))
    assert str(wrong.value) == ("`points` must be (y, x) pairs, `*b n 2`, but have shape (4, 3).")
