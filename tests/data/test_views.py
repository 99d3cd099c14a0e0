"""Windows of photographs, against images whose pixel values are their coordinates."""

import re
from typing import Any

import pytest
import torch
from ramps import off, points, ramp
from torchvision.transforms import v2

from visionpe import Frame
from visionpe.data.views import CentreCrop, ResizedCrop, window

H, W = 90, 61


def test_an_enlarged_window_shows_what_its_frame_says() -> None:
    crop = ResizedCrop((96, 120), scale=(0.2, 0.8))
    frames = set()
    for _ in range(10):
        view, frame = crop.apply(ramp(H, W))
        error, compared = off(view, frame)
        assert error < 1e-4
        assert compared > 1000
        frames.add(tuple(frame.affine.flatten().tolist()))
    assert len(frames) == 10


def test_a_reduced_window_shows_it_within_the_weights_of_whole_pixels() -> None:
    for crop in (ResizedCrop((24, 20)), CentreCrop((24, 20))):
        view, frame = crop.apply(ramp(H, W))
        error = (view[:2] - points(frame))[:, 3:-3, 3:-3]
        assert error.abs().max() < 0.1 * float(frame.affine[:, :2].norm(dim=0).max())
        assert error.mean().abs() < 0.02


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_the_window_is_resized_as_torchvision_does(dtype: torch.dtype) -> None:
    image = torch.randint(0, 256, (3, H, W)).to(dtype)
    view, frame = window(image, 7, 5, 50, 40, size=(32, 48))
    expected = v2.functional.resized_crop(image, 7, 5, 50, 40, [32, 48])
    assert view.dtype == dtype
    assert (view.float() - expected.float()).abs().max() <= (1 if dtype == torch.uint8 else 1e-3)
    whole = Frame.identity(H, W).crop(7, 5, h=50, w=40).resize(32, 48)
    assert torch.equal(frame.affine, whole.affine)


def test_the_middle_is_the_customary_one() -> None:
    """Shorter side to 256, then 224 in the middle: the same window, to a pixel of rounding."""
    for h, w in [(300, 500), (480, 360)]:
        _, frame = CentreCrop((224, 224)).apply(ramp(h, w))
        corner = points(frame)[:, 0, 0]
        side = 0.875 * min(h, w)
        expected = torch.tensor([(h - side) / 2, (w - side) / 2])
        assert (corner - expected).abs().max() < 2
        torch.testing.assert_close(frame.affine[0, 0] * 224, torch.tensor(side), rtol=0, atol=1)


@pytest.mark.parametrize(("h", "w"), [(1, 1), (1, 50), (50, 1), (2, 3), (500, 3)])
def test_images_of_any_shape_have_a_view(h: int, w: int) -> None:
    for crop in (ResizedCrop((8, 10)), CentreCrop((8, 10))):
        view, frame = crop.apply(torch.randint(0, 256, (3, h, w), dtype=torch.uint8))
        assert view.shape == (3, 8, 10)
        assert frame.extent.tolist() == [h, w]
        assert points(frame).amin() > 0
        assert (points(frame) < frame.extent[:, None, None]).all()


def test_areas_ratios_and_mirrors_are_drawn_as_asked() -> None:
    crop = ResizedCrop((10, 10), scale=(0.3, 0.5), ratio=(0.9, 1.2))
    frames = [crop.apply(ramp(80, 90))[1] for _ in range(300)]
    sides = torch.stack([frame.affine[:, :2].diagonal().abs() * 10 for frame in frames])
    area, ratio = sides.prod(-1) / 7200, sides[:, 1] / sides[:, 0]
    assert area.min() > 0.28
    assert area.max() < 0.52
    assert ratio.min() > 0.87
    assert ratio.max() < 1.24
    mirrored = sum(bool(frame.affine[1, 1] < 0) for frame in frames)
    assert 110 < mirrored < 190


def test_where_no_window_fits_the_middle_is_taken() -> None:
    _, frame = ResizedCrop((4, 4), scale=(1.0, 1.0), ratio=(1.0, 1.0), flip=0).apply(ramp(10, 40))
    assert torch.equal(frame.affine, torch.tensor([[2.5, 0.0, 0.0], [0.0, 2.5, 15.0]]))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: CentreCrop((0, 4)), "`image_size` must be positive pixels (h, w), but is (0, 4)."),
        (lambda: CentreCrop((4, 4), 0.0), "`share` must be in (0, 1], but is 0.0."),
        (
            lambda: ResizedCrop((4, 4), scale=(0.5, 0.2)),
            "`scale` must be two shares in (0, 1], rising, but is (0.5, 0.2).",
        ),
        (
            lambda: ResizedCrop((4, 4), ratio=(0.0, 1.0)),
            "`ratio` must be two positive numbers, rising, but is (0.0, 1.0).",
        ),
        (lambda: ResizedCrop((4, 4), flip=-1), "`flip` must be a probability, but is -1."),
    ],
)
def test_wrong_arguments_are_refused(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        make()


def test_they_print_as_the_calls_that_make_them() -> None:
    for crop in (ResizedCrop((4, 5), (0.2, 0.4)), CentreCrop((4, 5), 0.5)):
        assert repr(eval(repr(crop))) == repr(crop)  # noqa: S307 - our own text
