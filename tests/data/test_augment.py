"""The adapter to albumentations, against images whose pixel values are their coordinates."""

import copy
import re
from typing import Any

import albumentations as A
import cv2
import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, default_collate

from visionpe import Frame, grid, inside
from visionpe.data.augment import Augment
from visionpe.errors import GeometryError

H, W = 37, 52
Image = np.ndarray[Any, Any]

MOVES: dict[str, Any] = {
    "crop": A.RandomCrop(20, 31),
    "hflip": A.HorizontalFlip(p=0.5),
    "vflip": A.VerticalFlip(p=0.5),
    "quarter turns and flips": A.D4(),
    "resize up": A.Resize(150, 90),
    "resize down": A.Resize(13, 11),
    "resized crop": A.RandomResizedCrop((64, 48)),
    "pad": A.PadIfNeeded(70, 61),
    "rotate": A.Rotate((-90, 90), p=1),
    "affine": A.Affine(scale=(0.7, 1.4), rotate=(-40, 40), shear=(-8, 8), p=1),
    "one of two": A.OneOf([A.HorizontalFlip(), A.Rotate((-9, 9))], p=1),
    "chain": A.Compose(
        [
            A.RandomResizedCrop((64, 48)),
            A.HorizontalFlip(),
            A.VerticalFlip(),
            A.Rotate((-30, 30)),
            A.PadIfNeeded(70, 70),
            A.RandomCrop(60, 56),
        ]
    ),
}


def ramp(h: int = H, w: int = W) -> Image:
    """An image of `(y, x, 1)` at pixel centres."""
    image = np.ones((h, w, 3), np.float32)
    image[..., 0] = (np.arange(h) + 0.5)[:, None]
    image[..., 1] = np.arange(w) + 0.5
    return image


def pixels(frame: Frame) -> Image:
    """The same of a view, from its frame alone."""
    h, w = (int(n) for n in frame.view)
    points = (grid(h, w, frame) + 1) / 2 * frame.extent[:, None, None]
    return points.permute(1, 2, 0).numpy()


def clear(image: Image, frame: Frame) -> Image:
    """Where `ramp` was neither mixed with a border nor clamped at an edge of any crop."""
    step = frame.affine[:, :2].norm(dim=0)  # pixels of the original for one of the view
    down, right = (2 * int(np.ceil(0.5 / n + 1)) + 1 for n in step.tolist())
    there = np.pad((np.abs(image[..., 2] - 1) < 1e-4).astype(np.uint8), 1)
    return cv2.erode(there, np.ones((down, right), np.uint8))[1:-1, 1:-1].astype(bool)


def equal(a: Frame, b: Frame) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


@pytest.mark.parametrize("name", MOVES)
def test_the_frame_says_where_each_pixel_came_from(name: str) -> None:
    augment = Augment(MOVES[name])
    # OpenCV 4 rounds turned points to 1/32 pixel, and reducing enlarges that.
    tolerance = 5e-5 if cv2.__version__ >= "5" else 0.1
    for seed in range(8):
        torch.manual_seed(seed)
        image, frame = augment(ramp())
        assert frame.view.tolist() == list(image.shape[:2])
        assert frame.extent.tolist() == [H, W]
        fits = clear(image, frame)
        assert fits.sum() > 50
        np.testing.assert_allclose(image[fits][:, :2], pixels(frame)[fits], rtol=0, atol=tolerance)


def test_crops_flips_and_pads_are_exact() -> None:
    whole = Frame.identity(H, W)
    moves: list[tuple[Any, Frame]] = [
        (A.Crop(7, 5, 38, 25), whole.crop(5, 7, h=20, w=31)),
        (A.HorizontalFlip(p=1), whole.hflip()),
        (A.VerticalFlip(p=1), whole.vflip()),
        (A.Pad((1, 2, 3, 4)), whole.pad(left=1, top=2, right=3, bottom=4)),
        (
            A.Compose([A.Crop(7, 5, 38, 25), A.HorizontalFlip(p=1)]),
            whole.crop(5, 7, h=20, w=31).hflip(),
        ),
        (A.NoOp(), whole),
    ]
    for move, expected in moves:
        assert equal(Augment(move)(ramp())[1], expected)


def test_a_random_crop_is_exact_wherever_it_falls() -> None:
    augment = Augment(A.RandomCrop(20, 31))
    corners = set()
    for _ in range(10):
        image, frame = augment(ramp())
        top, left = (int(n) for n in image[0, 0, :2])
        assert equal(frame, Frame.identity(H, W).crop(top, left, h=20, w=31))
        corners.add((top, left))
    assert len(corners) > 3


def test_resize_and_rotate_agree_with_the_frames_own_methods() -> None:
    whole = Frame.identity(H, W)
    # The image's centre turns about (h / 2, w / 2), counter-clockwise, as in torchvision.
    for move, expected in [
        (A.Resize(150, 90), whole.resize(150, 90)),
        (A.Rotate((33, 33), p=1), whole.rotate(33.0)),
    ]:
        image, frame = Augment(move)(ramp())
        tolerance = 1e-5 if cv2.__version__ >= "5" else 0.02
        torch.testing.assert_close(frame.affine, expected.affine, rtol=0, atol=tolerance)
        assert frame.view.tolist() == list(image.shape[:2])


@pytest.mark.parametrize("interpolation", [cv2.INTER_NEAREST, cv2.INTER_CUBIC, cv2.INTER_AREA])
def test_the_frame_does_not_depend_on_how_values_are_interpolated(interpolation: int) -> None:
    _, frame = Augment(A.Resize(150, 90, interpolation=interpolation))(ramp())
    expected = Frame.identity(H, W).resize(150, 90).affine
    torch.testing.assert_close(frame.affine, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("fill", [0, 1, 255])
def test_padded_pixels_lie_outside_whatever_their_colour(fill: float) -> None:
    image, frame = Augment(A.Pad((1, 2, 3, 4), fill=fill, fill_mask=fill))(ramp() + 300)
    h, w = image.shape[:2]
    there = inside(h, w, frame).numpy()
    assert np.array_equal(there, image[..., 0] >= 300)
    assert there.sum() == H * W


def test_dropouts_leave_the_frame_alone() -> None:
    image, frame = Augment(A.CoarseDropout(p=1))(ramp())
    assert (image == 0).any()
    assert equal(frame, Frame.identity(H, W))


def test_photometry_changes_the_image_and_not_the_frame() -> None:
    image = (ramp() * 4).astype(np.uint8)
    photometry = A.Compose([A.InvertImg(p=1), A.GaussianBlur(p=1), A.Normalize(), A.ToTensorV2()])
    torch.manual_seed(3)
    plain, frame = Augment(MOVES["chain"])(image)
    torch.manual_seed(3)
    coloured, same = Augment(MOVES["chain"], photometry)(image)
    assert equal(frame, same)
    assert coloured.shape == (3, 60, 56)  # a tensor, c h w
    assert not np.allclose(coloured.permute(1, 2, 0).numpy(), plain)


def test_photometry_is_applied_to_the_result_of_geometry() -> None:
    image = (ramp() * 4).astype(np.uint8)
    inverted, _ = Augment(A.HorizontalFlip(p=1), A.InvertImg(p=1))(image)
    assert np.array_equal(inverted, 255 - image[:, ::-1])


@pytest.mark.parametrize("channels", [1, 2, 3, 5])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_images_of_any_depth_have_the_same_frame(channels: int, dtype: Any) -> None:
    torch.manual_seed(0)
    _, expected = Augment(MOVES["chain"])(ramp())
    torch.manual_seed(0)
    image, frame = Augment(MOVES["chain"])(np.ones((H, W, channels), dtype))
    assert image.shape == (60, 56, channels)
    assert image.dtype == dtype
    assert equal(frame, expected)


def test_draws_follow_torchs_generator_and_no_two_are_alike() -> None:
    augment = Augment(MOVES["resized crop"])
    torch.manual_seed(5)
    first, second = augment(ramp())[1], augment(ramp())[1]
    torch.manual_seed(5)
    assert equal(first, augment(ramp())[1])
    assert not equal(first, second)
    flips = Augment(A.Compose([A.HorizontalFlip(), A.VerticalFlip()]))
    drawn = {tuple(flips(ramp())[1].affine.flatten().tolist()) for _ in range(40)}
    assert len(drawn) == 4  # each by itself


def test_a_seed_of_a_pipeline_gives_other_draws_of_torchs_generator() -> None:
    def drawn(seed: int | None) -> list[Frame]:
        augment = Augment(A.Compose([A.RandomResizedCrop((64, 48))], seed=seed))
        frames = []
        for _ in range(3):  # a pipeline with a series of its own would go on in it
            torch.manual_seed(5)
            frames.append(augment(ramp())[1])
        return frames

    for seed in (None, 7):
        first, *others = drawn(seed)
        assert all(equal(first, other) for other in others)
    assert not equal(drawn(None)[0], drawn(7)[0])
    assert not equal(drawn(8)[0], drawn(7)[0])


def test_the_given_pipeline_is_left_alone() -> None:
    geometry = copy.deepcopy(MOVES["chain"])
    Augment(geometry)
    assert geometry.additional_targets == {}


class Ramps(torch.utils.data.Dataset[tuple[Any, Frame]]):
    def __init__(self) -> None:
        self.augment = Augment(MOVES["resized crop"], A.ToTensorV2())

    def __len__(self) -> int:
        return 8

    def __getitem__(self, index: int) -> tuple[Any, Frame]:
        return self.augment(ramp(H + index, W))


def test_the_default_collate_batches_images_and_frames() -> None:
    data = Ramps()
    images, frames = default_collate([data[i] for i in range(3)])
    assert isinstance(frames, Frame)
    assert images.shape == (3, 3, 64, 48)
    assert frames.affine.shape == (3, 2, 3)
    assert frames.affine.dtype == frames.view.dtype == frames.extent.dtype == torch.float32
    assert frames.extent.tolist() == [[H, W], [H + 1, W], [H + 2, W]]


def test_worker_processes_and_epochs_draw_different_views() -> None:
    loader = DataLoader(Ramps(), batch_size=1, num_workers=2)
    corners = [tuple(f.affine.flatten().tolist()) for _ in range(2) for _, f in loader]
    assert len(set(corners)) == 16


def test_two_rows_are_enough_for_a_frame_and_one_is_not() -> None:
    for h, w in [(2, 2), (2, 5), (3, 2)]:
        assert equal(Augment(A.HorizontalFlip(p=1))(ramp(h, w))[1], Frame.identity(h, w).hflip())
    _, frame = Augment(A.Resize(4, 9))(ramp(3, 3))
    torch.testing.assert_close(frame.affine, Frame.identity(3, 3).resize(4, 9).affine)
    few = re.escape(
        "`geometry` must show 2 rows and 2 columns of the image, or 3 where it enlarges them, but "
        "shows too little to tell a scale; it is made of "
    )
    for move, h, w in [
        (A.NoOp(), 1, 5),
        (A.NoOp(), 5, 1),
        (A.Resize(3, 3), 2, 2),
        (A.Resize(1, 5), H, W),
        (A.Affine(translate_px=(900, 900), p=1), H, W),
    ]:
        with pytest.raises(ValueError, match=rf"^{few}\w+\.$"):
            Augment(move)(ramp(h, w))


@pytest.mark.parametrize(
    "move",
    [
        A.Perspective(),
        A.ElasticTransform(),  # by default within 0.02 pixels of no move at all
        A.GridDistortion(),
        A.OpticalDistortion(),
        A.ThinPlateSpline(),
        A.GridElasticDeform((4, 4), 5),
        A.RandomGridShuffle(),
    ],
    ids=lambda move: type(move).__name__,
)
def test_what_is_never_affine_is_refused_at_once(move: Any) -> None:
    message = (
        f"`geometry` must move pixels by an affine map, but {type(move).__name__} does not: take "
        "it out."
    )
    with pytest.raises(GeometryError, match=f"^{re.escape(message)}$"):
        Augment(A.Compose([A.HorizontalFlip(), A.OneOf([move])]))


@pytest.mark.parametrize(
    "move",
    [
        A.Pad(4, border_mode=cv2.BORDER_REFLECT_101),
        A.Rotate((20, 30), border_mode=cv2.BORDER_REPLICATE, p=1),
    ],
    ids=lambda move: type(move).__name__,
)
def test_what_is_not_affine_is_refused(move: Any) -> None:
    message = (
        r"^`geometry` must be an affine map within 0\.05 pixels, but is off by [\d.e+]+: take out "
        r"perspective, elastic and grid distortions, borders that reflect, and enlarging again "
        rf"after reducing; it is made of HorizontalFlip, {type(move).__name__}\.$"
    )
    with pytest.raises(ValueError, match=message):
        Augment(A.Compose([A.HorizontalFlip(), move]))(ramp())


@pytest.mark.parametrize(
    ("geometry", "photometry", "message"),
    [
        (
            A.Compose([A.HorizontalFlip(), A.OneOf([A.ColorJitter()])]),
            None,
            "`geometry` must hold no ColorJitter, which changes values; put it into `photometry`.",
        ),
        (
            A.Normalize(),
            None,
            "`geometry` must hold no Normalize, which changes values; put it into `photometry`.",
        ),
        (
            A.Morphological(),
            None,
            "`geometry` must hold no Morphological, which changes values; put it into "
            "`photometry`.",
        ),
        (
            A.ToTensorV2(),
            None,
            "`geometry` must hold no ToTensorV2, which changes values; put it into `photometry`.",
        ),
        (
            A.NoOp(),
            A.HorizontalFlip(),
            "`photometry` must hold no HorizontalFlip, which moves or drops pixels; put it into "
            "`geometry`.",
        ),
        (
            [A.HorizontalFlip()],
            None,
            "`geometry` must be an albumentations transform or Compose, but is list.",
        ),
        (
            A.NoOp(),
            np.negative,
            "`photometry` must be an albumentations transform or Compose, but is ufunc.",
        ),
    ],
)
def test_a_transform_in_the_wrong_place_is_refused(
    geometry: Any, photometry: Any, message: str
) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        Augment(geometry, photometry)


@pytest.mark.parametrize(
    ("image", "found"),
    [
        ([[0.0]], "list"),
        (torch.zeros(3, H, W), "Tensor"),
        (np.zeros((H, W), np.uint8), "uint8 of shape (37, 52)"),
        (np.zeros((1, H, W, 3), np.uint8), "uint8 of shape (1, 37, 52, 3)"),
        (np.zeros((H, W, 3), np.int64), "int64 of shape (37, 52, 3)"),
        (np.zeros((H, W, 3)), "float64 of shape (37, 52, 3)"),
        (np.zeros((0, W, 3), np.uint8), "uint8 of shape (0, 52, 3)"),
    ],
)
def test_what_is_no_image_is_refused_in_one_sentence(image: Any, found: str) -> None:
    message = (
        "`image` must be an array `h w c` of uint8 or float32 with a pixel at least, but is "
        f"{found}."
    )
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        Augment(A.NoOp())(image)


def test_it_prints_as_the_call_that_makes_it() -> None:
    augment = Augment(A.Compose([A.HorizontalFlip(p=1)]), A.Compose([A.InvertImg(p=1)]))
    again = eval(repr(augment), {"Augment": Augment, **vars(A)})  # noqa: S307 - our own text
    assert repr(again) == repr(augment)
