"""The adapter to torchvision's transforms, against images whose values are their coordinates."""

import re
from typing import Any

import pytest
import torch
from ramps import off, points, ramp
from torchvision import tv_tensors
from torchvision.transforms import v2

from visionpe import Frame, inside
from visionpe.data.torchvision_augment import TorchvisionAugment
from visionpe.errors import GeometryError

H, W = 37, 52
LINEAR = v2.InterpolationMode.BILINEAR


def geometric(policy: Any) -> Any:
    """An automatic policy left with the operations that move pixels."""
    space = policy._AUGMENTATION_SPACE
    moves = ("ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate")
    policy._AUGMENTATION_SPACE = {name: space[name] for name in moves}
    return policy


MOVES: dict[str, list[Any]] = {
    "crop": [v2.RandomCrop((20, 31))],
    "crop of a padded image": [v2.RandomCrop((50, 60), padding=9)],
    "mirrors": [v2.RandomHorizontalFlip(0.5), v2.RandomVerticalFlip(0.5)],
    "resize up": [v2.Resize((150, 90))],
    "resize down": [v2.Resize((20, 23), antialias=False)],
    "shorter side": [v2.Resize(41)],
    "random sizes": [v2.RandomShortestSize([40, 50, 60]), v2.ScaleJitter((80, 90), (1.0, 2.0))],
    "resized crop": [v2.RandomResizedCrop((64, 48), scale=(0.3, 1.0))],
    "pad": [v2.Pad([1, 2, 3, 4])],
    "zoom out": [v2.RandomZoomOut(p=1)],
    "centre": [v2.CenterCrop((20, 31))],
    "centre of a small image": [v2.CenterCrop((44, 31))],
    "rotation": [v2.RandomRotation(180, LINEAR)],
    "rotation, larger view": [v2.RandomRotation(180, LINEAR, expand=True)],
    "rotation about a corner": [v2.RandomRotation(30, LINEAR, center=(5, 9))],
    "rotation about a corner, larger view": [
        v2.RandomRotation(30, LINEAR, center=(5, 9), expand=True)
    ],
    "quarter turn": [v2.RandomRotation((90, 90), expand=True)],
    "affine": [v2.RandomAffine(40, (0.2, 0.1), (0.7, 1.4), (-20, 20, -10, 10), LINEAR)],
    "affine about a corner": [
        v2.RandomAffine(40, (0.2, 0.1), (0.7, 1.4), (-20, 20), LINEAR, center=(3, 8))
    ],
    "RandAugment": [geometric(v2.RandAugment(3, 15, interpolation=LINEAR))],
    "TrivialAugment": [geometric(v2.TrivialAugmentWide(interpolation=LINEAR))],
    "chain": [
        v2.RandomResizedCrop((64, 66), scale=(0.3, 0.8)),
        v2.RandomHorizontalFlip(),
        v2.RandomApply([v2.RandomRotation(30, LINEAR)]),
        v2.Compose([v2.Pad(6), v2.RandomChoice([v2.RandomCrop((60, 56)), v2.CenterCrop(50)])]),
    ],
}


@pytest.mark.parametrize("name", MOVES)
def test_the_frame_says_where_each_pixel_came_from(name: str) -> None:
    augment = TorchvisionAugment(MOVES[name])
    compared = 0
    for seed in range(8):
        torch.manual_seed(seed)
        view, frame = augment.apply(ramp(H, W))
        assert type(view) is torch.Tensor
        assert frame.view.tolist() == list(view.shape[-2:])
        assert frame.extent.tolist() == [H, W]
        assert frame.affine.dtype == frame.view.dtype == frame.extent.dtype == torch.float32
        error, n = off(view, frame, margin=2)
        compared += n
        assert error < 1e-4
    assert compared > 1000


def test_antialiasing_weighs_whole_pixels_but_about_the_right_place() -> None:
    """Its weights at whole pixels have not quite their kernel's centre: the frame has."""
    view, frame = TorchvisionAugment([v2.Resize((20, 23))]).apply(ramp(H, W))
    error = (view[:2] - points(frame))[:, 3:-3, 3:-3]
    assert error.abs().max() < 0.1
    assert error.mean().abs() < 0.01


def test_crops_flips_and_pads_are_exact() -> None:
    whole = Frame.identity(H, W)
    for move, expected in [
        (v2.RandomHorizontalFlip(1), whole.hflip()),
        (v2.RandomVerticalFlip(1), whole.vflip()),
        (v2.Pad([1, 2, 3, 4]), whole.pad(left=1, top=2, right=3, bottom=4)),
        (v2.CenterCrop((20, 31)), whole.crop(8, 10, h=20, w=31)),
        (v2.Resize((74, 26)), whole.resize(74, 26)),
    ]:
        _, frame = TorchvisionAugment([move]).apply(ramp(H, W))
        for part, other in zip(frame, expected, strict=True):
            assert torch.equal(part, other)


@pytest.mark.parametrize(
    "change",
    [
        v2.ColorJitter(0.5, 0.5, 0.5, 0.2),
        v2.RandomPhotometricDistort(p=1),
        v2.GaussianBlur(3),
        v2.RandomErasing(1.0),
        v2.RandomPosterize(3, p=1),
        v2.RandomSolarize(100, p=1),
        v2.RandomEqualize(1.0),
        v2.RandomAutocontrast(1.0),
        v2.RandomAdjustSharpness(2.0, p=1),
        v2.RandomInvert(1.0),
        v2.RandomGrayscale(1.0),
        v2.Grayscale(3),
        v2.RandomChannelPermutation(),
        v2.ToDtype(torch.float32, scale=True),
    ],
    ids=lambda change: type(change).__name__,
)
def test_what_changes_values_leaves_the_frame_alone(change: Any) -> None:
    image = torch.randint(50, 200, (3, H, W), dtype=torch.uint8)
    augment = TorchvisionAugment([v2.RandomCrop((20, 31)), change, v2.RandomHorizontalFlip(1)])
    torch.manual_seed(1)
    changed, frame = augment.apply(image)
    torch.manual_seed(1)
    plain, expected = TorchvisionAugment([augment.transforms[0], augment.transforms[2]]).apply(
        image
    )
    assert torch.equal(frame.affine, expected.affine)
    if not isinstance(change, v2.RandomChannelPermutation):  # one permutation of six is none
        assert not torch.equal(changed.float(), plain.float())


def test_pixels_are_those_of_torchvision_itself() -> None:
    image = torch.randint(0, 256, (3, H, W), dtype=torch.uint8)
    for transform in (
        v2.RandAugment(),
        v2.TrivialAugmentWide(),
        v2.AutoAugment(),
        *MOVES["affine"],
    ):
        for seed in range(4):
            torch.manual_seed(seed)
            view, _ = TorchvisionAugment([transform]).apply(image)
            torch.manual_seed(seed)
            assert torch.equal(view, transform(tv_tensors.Image(image)).as_subclass(torch.Tensor))


def test_pixels_from_outside_are_flagged() -> None:
    view, frame = TorchvisionAugment([v2.Pad([1, 2, 3, 4])]).apply(ramp(H, W))
    _, h, w = view.shape
    assert torch.equal(inside(h, w, frame), view[2] == 1)
    torch.testing.assert_close(points(frame)[:, 2:-4, 1:-3], ramp(H, W)[:2])


class Swirl(v2.Transform):  # type: ignore[misc] # torchvision has no types
    """Moves pixels by no functional of torchvision's."""

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        return tv_tensors.wrap(inpt.roll(1, -1), like=inpt)


@pytest.mark.parametrize(
    ("transform", "message"),
    [
        (
            v2.RandomPerspective(p=1),
            "`transforms` must move pixels by an affine map, but perspective does not: take it "
            "out.",
        ),
        (
            v2.ElasticTransform(),
            "`transforms` must move pixels by an affine map, but elastic does not: take it out.",
        ),
        (
            v2.Pad(3, padding_mode="reflect"),
            "`transforms` must move pixels by an affine map, but a pad is of mode 'reflect': take "
            "'constant' or 'edge'.",
        ),
        *(
            (
                transform,
                "`transforms` must be known to keep pixels in place or to move them by an affine "
                f"map to one view, but {type(transform).__name__} is not: take it out.",
            )
            for transform in (v2.FiveCrop(10), v2.AugMix(), Swirl(), v2.ToPureTensor())
        ),
    ],
    ids=lambda part: type(part).__name__,
)
def test_what_has_no_frame_is_refused(transform: Any, message: str) -> None:
    image = torch.randint(0, 256, (3, H, W), dtype=torch.uint8)
    with pytest.raises(GeometryError, match=f"^{re.escape(message)}$"):
        TorchvisionAugment([v2.RandomHorizontalFlip(), transform]).apply(image)


@pytest.mark.usefixtures("unchecked")
def test_what_is_no_transform_is_refused() -> None:
    message = (
        "`transforms` must be transforms of torchvision.transforms.v2, one at least, but are {}."
    )
    for transforms in ([], [len]):
        kinds = [type(each).__name__ for each in transforms]
        with pytest.raises(ValueError, match=f"^{re.escape(message.format(kinds))}$"):
            TorchvisionAugment(transforms)  # type: ignore[arg-type] # that is the point


def test_torchvisions_own_images_are_left_as_they_were() -> None:
    """Kernels are registered for a type of ours alone."""
    image = tv_tensors.Image(torch.zeros(3, 4, 5))
    assert type(v2.functional.horizontal_flip(image)) is tv_tensors.Image


def test_one_shear_in_a_list_is_of_both_axes_as_torchvision_has_it() -> None:
    shear = v2.Lambda(
        lambda image: v2.functional.affine(image, 0, [0, 0], 1.0, [20.0], interpolation=LINEAR)
    )
    image, frame = TorchvisionAugment([shear]).apply(ramp(H, W))
    error, n = off(image, frame, margin=2)
    assert n > 100
    assert error < 1e-4


def test_transforms_in_place_do_not_write_into_the_data() -> None:
    image = torch.ones(3, 8, 9)
    erased, _ = TorchvisionAugment([v2.RandomErasing(1.0, inplace=True)]).apply(image)
    assert (erased == 0).any()
    assert (image == 1).all()
