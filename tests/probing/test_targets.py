"""Targets: as released, and alike at every size."""

import hashlib

import pytest
import torch

from visionpe.probing.targets import TARGETS, published, smooth_noise, target

SIZES = [(28, 28), (7, 12), (1, 5), (5, 1), (1, 1)]
# Grey levels of the released stripes, rows 0, 16, ..., 240 of the first column.
STRIPES = [251, 194, 75, 2, 40, 156, 246, 230, 123, 19, 11, 106, 220, 251, 172, 53]


@pytest.mark.parametrize("name", TARGETS)
@pytest.mark.parametrize("size", SIZES)
def test_targets_are_from_0_to_1(name: str, size: tuple[int, int]) -> None:
    made = TARGETS[name](*size)
    assert made.shape == size
    assert made.min() == 0
    assert made.max() in (0, 1)
    assert (made.max() == 0) == bool((made == made[0, 0]).all())


@pytest.mark.parametrize(("name", "other"), [("H", "V"), ("HS", "VS"), ("G", "G")])
def test_a_target_transposed_is_its_partner(name: str, other: str) -> None:
    assert torch.equal(TARGETS[name](6, 11).T, TARGETS[other](11, 6))


def test_targets_vary_along_their_axis_alone() -> None:
    for name in ("H", "VS"):
        made = TARGETS[name](6, 11)
        assert torch.equal(made, made[:1].expand(6, 11))
    for name in ("V", "HS"):
        made = TARGETS[name](6, 11)
        assert torch.equal(made, made[:, :1].expand(6, 11))


def test_g_and_radius_are_the_same_after_both_flips() -> None:
    for name in ("G", "radius"):
        made = TARGETS[name](6, 11)
        assert torch.equal(made, made.flip(0))
        assert torch.equal(made, made.flip(1))


def test_stripes_have_two_and_a_half_periods() -> None:
    line = TARGETS["HS"](200, 1)[:, 0] - 0.5
    assert int((line[1:] * line[:-1] < 0).sum()) == 5  # crossings


@pytest.mark.parametrize(
    ("name", "digest"),
    [
        ("G", "30ec59f64e8c34e5d6d3b060612e3fc29dd0370710d7c7e86bc383eed594b58d"),
        ("H", None),
        ("V", None),
    ],
)
def test_published_images_are_the_released_ones_bit_for_bit(name: str, digest: str | None) -> None:
    levels = published(name, 256, 256).mul(255).round().to(torch.uint8)
    if digest is None:
        line = torch.arange(256, dtype=torch.uint8)
        wanted = line.expand(256, 256) if name == "H" else line[:, None].expand(256, 256)
        assert torch.equal(levels, wanted)
    else:
        assert hashlib.sha256(levels.numpy().tobytes()).hexdigest() == digest


def test_published_stripes_are_within_a_grey_level_of_the_released_ones() -> None:
    levels = published("HS", 256, 256)[::16, 0] * 254
    off = (levels - torch.tensor(STRIPES)).abs()
    assert off[0] <= 3.5  # the outermost lines of the released files follow no cosine
    assert off[1:].max() <= 1.01
    assert (published("HS") - published("VS").T).abs().max() < 1.01 / 254  # the resizer's order


@pytest.mark.parametrize("name", ["H", "V", "G", "HS", "VS"])
def test_published_targets_are_the_plain_ones_in_8_bits(name: str) -> None:
    assert (published(name, 224, 224) - TARGETS[name](224, 224)).abs().max() < 3.5 / 255


def test_smooth_noise_is_one_function_at_all_sizes() -> None:
    fine = smooth_noise(9 * 5, 7 * 5, seed=3)
    coarse = fine[2::5, 2::5]  # the same centres
    direct = smooth_noise(9, 7, seed=3)
    scaled = (coarse - coarse.min()) / (coarse.max() - coarse.min())
    torch.testing.assert_close(scaled, direct, atol=1e-5, rtol=0)
    assert not torch.allclose(direct, smooth_noise(9, 7, seed=4), atol=0.1)


def test_an_unknown_target_is_refused_with_the_nearest() -> None:
    with pytest.raises(ValueError, match="targets") as refused:
        target("Radius")
    assert str(refused.value) == (
        "`targets` must be among 'H', 'V', 'G', 'HS', 'VS', 'radius', 'quadrant', 'smooth noise', "
        "but has 'Radius'. Did you mean 'radius'?"
    )
    with pytest.raises(ValueError, match=r"^`name` must be one of H, V, G, HS, VS, but is 'R'\.$"):
        published("R")
    with pytest.raises(ValueError, match=r"^`h` must be at least 1, but is 0\.$"):
        TARGETS["HS"](0, 3)
