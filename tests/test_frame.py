import copy
import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader, default_collate
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as tv

from visionpe import Frame, grid, inside

H, W = 37, 52

MOVES: dict[str, Callable[[Frame], Frame]] = {
    "crop": lambda f: f.crop(5, 7, h=20, w=31),
    "hflip": Frame.hflip,
    "vflip": Frame.vflip,
    "resize": lambda f: f.resize(50, 30),
    "pad": lambda f: f.pad(top=3, left=1, bottom=2, right=4),
    "rotate": lambda f: f.rotate(33.0),
    "warp": lambda f: f.warp(torch.tensor([[0.9, 0.2, 1.0], [-0.3, 1.1, 2.0]])),
}


def test_an_identity_frame_is_no_frame() -> None:
    assert torch.equal(grid(H, W, Frame.identity(H, W)), grid(H, W))
    # ... at any whole fraction of its size too
    assert torch.equal(grid(5, 13, Frame.identity(35, 52)), grid(5, 13))


def test_crop_then_grid_is_grid_then_crop() -> None:
    frame = Frame.identity(H, W).crop(5, 7, h=20, w=31)
    assert torch.equal(grid(20, 31, frame), grid(H, W)[:, 5:25, 7:38])


def test_a_crop_of_a_crop_is_one_crop() -> None:
    twice = Frame.identity(H, W).crop(5, 7, h=20, w=31).crop(2, 3, h=9, w=8)
    once = Frame.identity(H, W).crop(7, 10, h=9, w=8)
    assert all(torch.equal(a, b) for a, b in zip(twice, once, strict=True))


def test_flips_turn_coordinates_over_exactly() -> None:
    whole = Frame.identity(H, W)
    assert torch.equal(grid(H, W, whole.hflip()), grid(H, W).flip(-1))
    assert torch.equal(grid(H, W, whole.vflip()), grid(H, W).flip(-2))
    assert torch.equal(grid(H, W).flip(-1)[1], -grid(H, W)[1])  # antisymmetry, no rounding
    assert all(torch.equal(a, b) for a, b in zip(whole.hflip().hflip(), whole, strict=True))


@pytest.mark.parametrize(("h", "w"), [(12, 26), (5, 7), (37, 52), (40, 60)])
def test_tiles_together_are_the_whole_exactly(h: int, w: int) -> None:
    tiles = Frame.identity(H, W).tiles(h, w)
    rows, columns = math.ceil(H / h), math.ceil(W / w)
    parts = grid(h, w, tiles)
    assert parts.shape == (rows * columns, 2, h, w)
    joined = parts.view(rows, columns, 2, h, w).permute(2, 0, 3, 1, 4)
    assert torch.equal(joined.reshape(2, rows * h, columns * w)[:, :H, :W], grid(H, W))
    within = inside(h, w, tiles).view(rows, columns, h, w).transpose(1, 2)
    within = within.reshape(rows * h, columns * w)
    assert within[:H, :W].all()
    assert not within[H:].any()
    assert not within[:, W:].any()


def test_resize_keeps_edges_on_edges() -> None:
    resized = Frame.identity(H, W).resize(50, 30)
    torch.testing.assert_close(grid(50, 30, resized), grid(50, 30), rtol=0, atol=1e-6)


def test_a_quarter_turn_swaps_the_axes() -> None:
    turned = grid(6, 6, Frame.identity(6, 6).rotate(90))
    torch.testing.assert_close(turned, torch.rot90(grid(6, 6), 1, (-2, -1)), rtol=0, atol=1e-6)


def test_the_map_is_what_a_resampler_does_to_an_image_of_coordinates() -> None:
    """torchvision moves an image whose values are its coordinates; the frame says the same."""
    coordinates = grid(H, W)
    bilinear = v2.InterpolationMode.BILINEAR
    frame = Frame.identity(H, W)
    moved: list[tuple[Tensor, Frame]] = [
        (tv.rotate(coordinates, 33.0, interpolation=bilinear), frame.rotate(33.0)),
        (tv.hflip(tv.crop(coordinates, 3, 4, 20, 30)), frame.crop(3, 4, h=20, w=30).hflip()),
        (tv.pad(coordinates, [1, 3, 4, 2]), frame.pad(left=1, top=3, right=4, bottom=2)),
        (tv.resize(coordinates, [74, 104]), frame.resize(74, 104)),
    ]
    for image, placed in moved:
        h, w = image.shape[-2:]
        expected = grid(h, w, placed)
        clear = (expected.abs() < 0.9).all(0)  # away from the border, where resamplers clamp
        assert clear.sum() > 200
        torch.testing.assert_close(image[:, clear], expected[:, clear], rtol=0, atol=2e-5)


@pytest.mark.parametrize("name", MOVES)
def test_composition_is_one_move_after_the_other(name: str) -> None:
    move = MOVES[name]
    whole = Frame.identity(H, W)
    outer = whole.rotate(20.0).crop(2, 3, h=30, w=41)
    h, w = (int(n) for n in outer.view)
    joined = outer.then(move(Frame.identity(h, w)))
    for a, b in zip(joined, move(outer), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-5)


def test_a_frame_within_another_image_is_refused() -> None:
    with pytest.raises(ValueError, match=r"`inner` must be cut from an image of this view's size"):
        Frame.identity(H, W).then(Frame.identity(H, W + 1))


def test_cells_outside_the_image_are_flagged_and_keep_their_own_coordinates() -> None:
    frame = Frame.identity(4, 6).pad(top=1, left=2, bottom=3, right=1)
    mask = inside(8, 9, frame)
    assert mask.sum() == 24
    assert mask[1:5, 2:8].all()
    outside = grid(8, 9, frame)[:, ~mask]
    assert (outside.abs().amax(0) > 1).all()  # never "the centre"


def test_batches_are_made_by_the_default_collate() -> None:
    frames = [
        Frame.identity(H, W),
        Frame.identity(20, 30).hflip(),
        Frame.identity(9, 8).crop(1, 1, h=3, w=4),
    ]
    batch = default_collate([{"frame": frame} for frame in frames])["frame"]
    assert isinstance(batch, Frame)
    assert batch.affine.shape == (3, 2, 3)
    together = grid(5, 6, batch)
    for i, frame in enumerate(frames):
        assert torch.equal(together[i], grid(5, 6, frame))
        assert torch.equal(together[i], grid(5, 6, batch.sample(i)))
    assert all(torch.equal(a, b) for a, b in zip(Frame.stack(frames), batch, strict=True))


@pytest.mark.parametrize("name", MOVES)
def test_a_batch_moves_as_its_samples_do(name: str) -> None:
    move = MOVES[name]
    frames = [Frame.identity(H, W), Frame.identity(H, W).vflip()]
    batch = move(Frame.stack(frames))
    for i, frame in enumerate(frames):
        for a, b in zip(batch.sample(i), move(frame), strict=True):
            torch.testing.assert_close(a, b)


def test_a_batch_can_be_cropped_sample_by_sample() -> None:
    top = torch.tensor([0.0, 4.0])
    batch = Frame.stack([Frame.identity(H, W)] * 2).crop(top, 2 * top, h=10, w=12)
    assert torch.equal(grid(10, 12, batch)[1], grid(H, W)[:, 4:14, 8:20])


def test_methods_leave_the_old_frame_alone() -> None:
    frame = Frame.identity(H, W)
    before = [part.clone() for part in frame]
    for move in MOVES.values():
        move(frame)
    assert all(torch.equal(a, b) for a, b in zip(before, frame, strict=True))


def test_a_frame_survives_copying_and_a_worker_process() -> None:
    frame = Frame.identity(H, W).rotate(10)
    assert torch.equal(copy.deepcopy(frame).affine, frame.affine)
    loader = DataLoader([frame, frame.hflip()], batch_size=2, num_workers=1)  # type: ignore[arg-type, var-annotated]
    again = next(iter(loader)).sample(0)
    assert isinstance(again, Frame)
    assert torch.equal(again.affine, frame.affine)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda f: f.crop(0, 0, h=0, w=3), "`h` must be a positive number of pixels, but is 0."),
        (lambda f: f.crop(0, 0, h=2, w=-1), "`w` must be a positive number of pixels, but is -1."),
        (lambda f: f.resize(0, 3), "`h` must be a positive number of pixels, but is 0."),
        (lambda f: f.tiles(4, 0), "`w` must be a positive number of pixels, but is 0."),
        (lambda f: Frame.identity(-2, 3), "`h` must be a positive number of pixels, but is -2."),
        (
            lambda f: f.sample(0),
            "`frame` must be batched to take a sample, but has no batch axis.",
        ),
        (
            lambda f: Frame.stack([f, f.crop(0, 0, h=3, w=3)]).tiles(2, 2),
            "`frame` must hold views of one size to be tiled, but sizes differ.",
        ),
        (lambda f: Frame.stack([]), "`frames` must hold at least one frame, but is empty."),
    ],
)
def test_bad_input_is_refused_in_one_sentence(
    make: Callable[[Frame], object], message: str
) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the whole message is compared
        make(Frame.identity(H, W))
    assert str(caught.value) == message


def test_a_frame_is_never_in_half_precision_whatever_torchs_default() -> None:
    try:
        for default, wanted in (
            (torch.bfloat16, torch.float32),
            (torch.float64, torch.float64),
        ):
            torch.set_default_dtype(default)
            frame = Frame.identity(1000, 1000).crop(257, 301, h=10, w=11)
            assert {part.dtype for part in frame} == {wanted}
            assert frame.affine[:, 2].tolist() == [257, 301]
    finally:
        torch.set_default_dtype(torch.float32)


def test_a_batch_of_no_samples_can_be_cut_but_not_tiled() -> None:
    none = Frame(torch.zeros(0, 2, 3), torch.zeros(0, 2), torch.zeros(0, 2))
    for cut in (none.pad(top=1), none.crop(0, 0, h=2, w=2), none.hflip(), none.resize(2, 3)):
        assert [part.shape[0] for part in cut] == [0, 0, 0]
    with pytest.raises(ValueError, match=r"^`frame` must hold at least one view to be tiled"):
        none.tiles(2, 2)
