"""Augmentation of whole batches, against images whose pixel values are their coordinates."""

import re
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from ramps import off, points, ramp

from visionpe import Frame, inside
from visionpe.data.batched import BatchAugment, windows

H, W = 24, 33
MOVES = {
    "windows": BatchAugment(),
    "mirrors": BatchAugment(padding=0, flip=0.5),
    "resized": BatchAugment(padding=0, scale=(0.2, 1.0)),
    "turned": BatchAugment(padding=0, flip=0.3, rotate=40),
    "all": BatchAugment(padding=3, scale=(0.3, 0.9), ratio=(0.5, 2.0), rotate=180),
}


def augmented(augment: BatchAugment, images: torch.Tensor, epoch: int = 0) -> Any:
    return augment(images, torch.arange(len(images)), seed=1, epoch=epoch)


@pytest.mark.parametrize("name", MOVES)
def test_the_frame_says_where_each_pixel_came_from(name: str) -> None:
    views, frame = augmented(MOVES[name], ramp(H, W, batch=64))
    error, compared = off(views, frame)
    assert compared > 64 * 30
    assert error < 1e-4
    assert len(frame.affine.flatten(1).unique(dim=0)) > 1
    assert frame.view.tolist() == frame.extent.tolist() == [[H, W]] * 64


def test_whole_pixels_are_moved_exactly_and_their_bytes_kept() -> None:
    images = torch.randint(0, 256, (40, 3, H, W), dtype=torch.uint8)
    views, frame = augmented(BatchAugment(padding=4), images)
    assert views.dtype == torch.uint8
    padded = F.pad(images, (4, 4, 4, 4))
    seen = set()
    for i in range(40):
        top, left = frame.affine[i, :, 2].int().tolist()
        mirrored = bool(frame.affine[i, 1, 1] < 0)
        left -= W if mirrored else 0
        expected = padded[i, :, 4 + top : 4 + top + H, 4 + left : 4 + left + W]
        assert torch.equal(views[i], expected.flip(-1) if mirrored else expected)
        seen.add((top, left, mirrored))
    assert len(seen) > 25


def test_what_lies_outside_is_black_and_flagged_by_the_frame() -> None:
    views, frame = augmented(BatchAugment(padding=4), ramp(H, W, batch=32))
    there = inside(H, W, frame)
    assert torch.equal(views[:, 2] == 1, there)
    assert 0 < (~there).float().mean() < 0.5


def test_a_resized_window_and_a_turn_agree_with_the_frames_own_methods() -> None:
    augment = BatchAugment(padding=0, flip=0, rotate=30)
    _, frame = augmented(augment, ramp(H, W, batch=4))
    for i in range(4):
        cos, sin = frame.affine[i, 0, 0], frame.affine[i, 0, 1]
        degrees = float(torch.rad2deg(torch.atan2(sin, cos)))
        assert abs(degrees) <= 30
        expected = Frame.identity(H, W).rotate(degrees).affine
        torch.testing.assert_close(frame.affine[i], expected, rtol=0, atol=1e-4)


def test_windows_stay_in_the_image_and_have_the_asked_area_and_ratio() -> None:
    augment = BatchAugment(padding=0, flip=0.5, scale=(0.25, 0.5), ratio=(0.8, 1.25))
    _, frame = augmented(augment, ramp(H, W, batch=500))
    sides = frame.affine[:, :, :2].diagonal(dim1=1, dim2=2).abs() * frame.view
    area = sides.prod(-1) / (H * W)
    assert area.min() > 0.25 - 1e-5
    assert area.max() < 0.5 + 1e-5
    assert area.std() > 0.05
    ratio = sides[:, 1] / sides[:, 0]
    assert ratio.min() > 0.8 - 1e-5
    assert ratio.max() < 1.25 + 1e-5
    where = points(frame)
    assert where.min() > 0
    assert (where < frame.extent[:, :, None, None]).all()


def test_half_of_the_images_are_mirrored_and_places_are_uniform() -> None:
    _, frame = augmented(BatchAugment(padding=2), ramp(4, 5, batch=5000))
    mirrored = frame.affine[:, 1, 1] < 0
    assert abs(mirrored.float().mean() - 0.5) < 0.03
    counts = torch.bincount((frame.affine[:, 0, 2] + 2).long(), minlength=5)
    assert counts.min() > 850
    assert len(counts) == 5


def test_a_sample_is_augmented_alike_in_any_batch_and_otherwise_in_another_epoch() -> None:
    images = torch.rand(20, 3, H, W)
    augment, rows = MOVES["all"], torch.arange(20)
    views, frame = augment(images, rows, seed=0, epoch=3)
    order = torch.randperm(20)[:7]
    again, frame_again = augment(images[order], order, seed=0, epoch=3)
    torch.testing.assert_close(again, views[order], rtol=0, atol=1e-6)
    assert torch.equal(frame_again.affine, frame.affine[order])
    assert not torch.equal(augment(images, rows, seed=0, epoch=4)[0], views)
    assert not torch.equal(augment(images, rows, seed=1, epoch=3)[0], views)


@pytest.mark.parametrize("channels", [1, 3])
def test_bytes_become_shares_where_pixels_are_interpolated(channels: int) -> None:
    images = torch.full((3, channels, 8, 9), 255, dtype=torch.uint8)
    views, _ = augmented(BatchAugment(padding=0, scale=(0.5, 0.9)), images)
    assert views.dtype == torch.float32
    torch.testing.assert_close(views, torch.ones_like(views))


def test_one_pixel_and_no_sample_are_fine() -> None:
    for augment in MOVES.values():
        assert augmented(augment, torch.rand(2, 3, 1, 1))[0].shape == (2, 3, 1, 1)
        views, frame = augmented(augment, torch.rand(0, 3, H, W))
        assert views.shape == (0, 3, H, W)
        assert frame.affine.shape == (0, 2, 3)


def test_windows_are_those_of_a_loop() -> None:
    images = torch.rand(9, 2, 5, 7)
    corner = torch.stack([torch.randint(-3, 4, (9,)), torch.randint(-3, 4, (9,))], -1)
    mirrored = torch.rand(9) < 0.5
    views = windows(images, corner, mirrored, 3)
    for i, (y, x) in enumerate(corner.tolist()):
        expected = F.pad(images[i], (3, 3, 3, 3))[:, 3 + y : 8 + y, 3 + x : 10 + x]
        assert torch.equal(views[i], expected.flip(-1) if mirrored[i] else expected)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"padding": -1}, "`padding` must be at least 0 pixels, but is -1."),
        ({"flip": 1.5}, "`flip` must be a probability, but is 1.5."),
        (
            {"scale": (0.0, 1.0)},
            "`scale` must be two shares in (0, 1], rising, but is (0.0, 1.0).",
        ),
        ({"ratio": (2.0, 1.0)}, "`ratio` must be two positive numbers, rising, but is (2.0, 1.0)."),
        ({"rotate": 200.0}, "`rotate` must be 0 to 180 degrees, but is 200.0."),
    ],
)
def test_wrong_arguments_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        BatchAugment(**options)


def test_it_prints_as_the_call_that_makes_it() -> None:
    augment = MOVES["all"]
    assert repr(eval(repr(augment))) == repr(augment)  # noqa: S307 - our own text
