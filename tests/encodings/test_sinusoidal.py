import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from positional_encodings.torch_encodings import PositionalEncoding2D
from timm.layers import build_sincos2d_pos_embed
from torch import Tensor

from visionpe import (
    AppendSinusoidal2d,
    Frame,
    MapEncoding,
    Places,
    PointEncoding,
    Sinusoidal2d,
    positions,
    sinusoid,
    sinusoidal2d,
    sinusoidal2d_big_vision,
    sinusoidal2d_code,
    sinusoidal2d_mae,
    sinusoidal2d_timm,
)
from visionpe.encodings import _crossed

Code = Callable[[Tensor, int], Tensor]


def slowly(h: int, w: int, width: int, order: str, last: int) -> Tensor:
    """One number at a time: `order` names the blocks, `last` is what `k` is divided by."""
    bands = width // 4
    code = torch.zeros(width, h, w, dtype=torch.float64)
    for block, name in enumerate(order.split()):
        function, axis = (math.sin if name[0] == "s" else math.cos), name[1]
        for k in range(bands):
            frequency = 10000.0 ** -(k / last)
            for i in range(h):
                for j in range(w):
                    p = i if axis == "y" else j
                    code[block * bands + k, i, j] = function(p * frequency)
    return code


@pytest.mark.parametrize(
    ("function", "order", "fewer"),
    [
        (sinusoidal2d, "sy cy sx cx", 0),
        (sinusoidal2d_timm, "sy sx cy cx", 0),
        (sinusoidal2d_mae, "sx cx sy cy", 0),
        (sinusoidal2d_big_vision, "sx cx sy cy", 1),
    ],
)
@pytest.mark.parametrize(("h", "w", "width"), [(5, 7, 16), (1, 3, 8), (14, 9, 64)])
def test_each_convention_is_its_formula(
    function: Code, order: str, fewer: int, h: int, w: int, width: int
) -> None:
    wanted = slowly(h, w, width, order, width // 4 - fewer)
    torch.testing.assert_close(function(positions(h, w), width).double(), wanted, rtol=0, atol=1e-7)


@pytest.mark.parametrize(
    ("interleave", "function"), [(True, sinusoidal2d), (False, sinusoidal2d_timm)]
)
@pytest.mark.parametrize(("h", "w"), [(14, 14), (7, 12), (1, 9)])
def test_timm_builds_the_same(interleave: bool, function: Code, h: int, w: int) -> None:
    theirs = build_sincos2d_pos_embed([h, w], 64, interleave_sin_cos=interleave)
    ours = function(positions(h, w), 64).flatten(1).mT
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-6)


def test_timms_reversed_coordinates_are_maes_order_transposed() -> None:
    theirs = build_sincos2d_pos_embed([5, 8], 64, interleave_sin_cos=True, reverse_coord=True)
    ours = sinusoidal2d_mae(positions(5, 8), 64)  # theirs lists the places column by column
    torch.testing.assert_close(ours.mT.flatten(1).mT, theirs, rtol=0, atol=1e-6)


def test_conventions_differ_as_much_as_codes_can() -> None:
    points = positions(32, 48)
    assert (sinusoidal2d(points, 64) - sinusoidal2d_mae(points, 64)).abs().max() > 1.9
    assert (sinusoidal2d_big_vision(points, 64) - sinusoidal2d_mae(points, 64)).abs().max() > 0.1


@settings(deadline=None, max_examples=40, derandomize=True)
@given(h=st.integers(1, 40), w=st.integers(1, 40), quarter=st.integers(1, 17))
def test_the_separable_build_is_the_general_one(h: int, w: int, quarter: int) -> None:
    wanted = sinusoidal2d(positions(h, w), 4 * quarter)
    assert torch.equal(sinusoidal2d_code(h, w, 4 * quarter), wanted)
    framed = sinusoidal2d_code(h, w, 4 * quarter, Frame.identity(h, w))
    torch.testing.assert_close(framed, wanted, rtol=0, atol=1e-6)


def test_products_of_codes_depend_on_differences_only() -> None:
    points = positions(6, 9, dtype=torch.float64)
    code = sinusoidal2d(points, 32).flatten(1)
    gram = code.mT @ code
    shifted = sinusoidal2d(points + torch.tensor([3.0, 11.5])[:, None, None], 32).flatten(1)
    torch.testing.assert_close(shifted.mT @ shifted, gram, rtol=0, atol=1e-10)
    norms = code.norm(dim=0)
    torch.testing.assert_close(norms, norms[:1].expand(54), rtol=0, atol=1e-12)


def test_a_shift_is_a_rotation_of_each_pair() -> None:
    here = sinusoid(torch.arange(5, dtype=torch.float64), 8)
    there = sinusoid(torch.arange(5, dtype=torch.float64) + 3, 8)
    sin, cos = sinusoid(torch.tensor(3.0, dtype=torch.float64), 8)[..., None]
    torch.testing.assert_close(there[0], here[0] * cos + here[1] * sin, rtol=0, atol=1e-12)
    torch.testing.assert_close(there[1], here[1] * cos - here[0] * sin, rtol=0, atol=1e-12)


def test_swapping_the_axes_swaps_the_halves_and_changes_the_code() -> None:
    code = sinusoidal2d(positions(5, 8), 16)
    swapped = sinusoidal2d(positions(8, 5), 16).mT
    assert torch.equal(swapped[8:], code[:8])
    assert torch.equal(swapped[:8], code[8:])
    assert not torch.equal(swapped, code)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_far_positions_keep_their_code_in_half_precision(dtype: torch.dtype) -> None:
    far = torch.arange(65_536.0, 65_536 + 4096)
    exact = sinusoid(far.double(), 64)
    torch.testing.assert_close(sinusoid(far, 64).double(), exact, rtol=0, atol=1e-7)
    x = torch.zeros(1, 16, 1, 4096, dtype=dtype)
    wanted = sinusoidal2d(positions(1, 4096, dtype=torch.float64), 16).to(dtype)
    assert (Sinusoidal2d()(x)[0].double() - wanted.double()).abs().max() <= torch.finfo(dtype).eps


@pytest.mark.parametrize("module", [Sinusoidal2d(cells=(10, 14)), Sinusoidal2d()])
def test_a_pixel_has_one_code_in_the_image_a_crop_and_a_flip(module: MapEncoding) -> None:
    whole = module(torch.zeros(1, 16, 20, 28), Frame.identity(20, 28))[0]
    frame = Frame.identity(20, 28).crop(3, 5, h=8, w=11)
    crop = module(torch.zeros(1, 16, 8, 11), frame)[0]
    torch.testing.assert_close(crop, whole[:, 3:11, 5:16], rtol=0, atol=1e-6)
    flip = module(torch.zeros(1, 16, 20, 28), Frame.identity(20, 28).hflip())[0]
    torch.testing.assert_close(flip, whole.flip(-1), rtol=0, atol=1e-6)


def test_with_fixed_cells_a_pixel_has_one_code_at_every_scale() -> None:
    frame = Frame.identity(20, 28)
    zoomed = frame.resize(60, 84)  # the middle of three fine cells lies on a coarse one's centre
    coarse = Sinusoidal2d(cells=(10, 14))(torch.zeros(1, 16, 20, 28), frame)
    fine = Sinusoidal2d(cells=(10, 14))(torch.zeros(1, 16, 60, 84), zoomed)[..., 1::3, 1::3]
    torch.testing.assert_close(fine, coarse, rtol=0, atol=1e-6)
    free = Sinusoidal2d()(torch.zeros(1, 16, 60, 84), zoomed)[..., 1::3, 1::3]
    assert (free - coarse).abs().max() > 0.5  # without them, cells are the map's own


def test_modules_add_and_append_the_same_code() -> None:
    x = torch.randn(2, 16, 5, 7)
    code = sinusoidal2d_code(5, 7, 16)
    assert torch.equal(Sinusoidal2d()(x), x + code)
    appended = AppendSinusoidal2d(16)(x)
    assert torch.equal(appended[:, :16], x)
    assert torch.equal(appended[:, 16:], code.expand(2, -1, -1, -1))
    assert AppendSinusoidal2d(16).out_channels(3) == 19
    assert Sinusoidal2d().out_channels(16) == 16
    assert Sinusoidal2d()(x.bfloat16()).dtype == torch.bfloat16
    frames = Frame.stack([Frame.identity(5, 7)] * 2)
    torch.testing.assert_close(AppendSinusoidal2d(16)(x, frames), appended, rtol=0, atol=1e-6)


@pytest.mark.usefixtures("unchecked")
def test_it_exports_with_open_sizes() -> None:
    size = {2: torch.export.Dim("h", min=2, max=64), 3: torch.export.Dim("w", min=2, max=64)}
    program = torch.export.export(
        Sinusoidal2d(), (torch.zeros(1, 8, 5, 7),), dynamic_shapes=(size,)
    )
    x = torch.randn(1, 8, 11, 6)
    assert torch.equal(program.module()(x), Sinusoidal2d()(x))


def test_their_reprs_are_the_calls_that_make_them() -> None:
    for module in (Sinusoidal2d(cells=(2, 3)), AppendSinusoidal2d(8, temperature=100)):
        assert repr(eval(repr(module))) == repr(module)  # noqa: S307 - our own text


@pytest.mark.parametrize("width", range(2, 14))
def test_a_width_of_no_multiple_of_four_lacks_the_slowest_cosines_first(width: int) -> None:
    bands = -(-width // 4)
    full = sinusoidal2d(positions(5, 7), 4 * bands).unflatten(0, (4, bands))
    last = {2: (3,), 1: (3, 1), 0: (3, 1, 2)}  # what of the slowest wave is missing: block numbers
    missing = {3: last[2], 2: last[1], 1: last[0], 0: ()}[width % 4]
    wanted = [full[i, : bands - (i in missing)] for i in range(4)]
    code = sinusoidal2d(positions(5, 7), width)
    assert torch.equal(code, torch.cat(wanted))
    assert code.shape == (width, 5, 7)
    assert (code.flatten(1).unique(dim=1).shape[1]) == 35  # every cell is told from every other
    assert torch.equal(Sinusoidal2d()(torch.zeros(1, width, 5, 7))[0], code)


@pytest.mark.parametrize("width", [2, 3, 7, 8, 10, 11, 64])
def test_positional_encodings_builds_the_same_in_another_order(width: int) -> None:
    """Theirs is y's half, then x's, sine and cosine in turn, cut to the width.

    So it agrees where at most one channel is cut, and has no x at all at width 2.
    """
    theirs = PositionalEncoding2D(width)(torch.zeros(1, 5, 7, width))[0].permute(2, 0, 1)
    bands = -(-width // 4)
    turn = [2 * k + s for s in (0, 1) for k in range(bands)]  # in turn -> sines, cosines
    order = [i for i in [*turn, *(2 * bands + i for i in turn)] if i < width]
    ours = sinusoidal2d(positions(5, 7), width)
    agree = torch.allclose(ours, theirs[order], rtol=0, atol=1e-6)
    assert agree == (width % 4 in (0, 3))
    if width == 2:
        assert torch.equal(theirs, theirs[..., :1].expand(2, 5, 7))
        assert not torch.equal(ours, ours[..., :1].expand(2, 5, 7))


@settings(deadline=None, max_examples=30, derandomize=True)
@given(
    h=st.integers(1, 20),
    w=st.integers(1, 20),
    width=st.integers(2, 33),
    prefix=st.integers(0, 2),
    suffix=st.integers(0, 2),
    cells=st.none() | st.tuples(st.integers(1, 30), st.integers(1, 30)),
)
def test_tokens_are_encoded_as_the_maps_cells_are(
    h: int, w: int, width: int, prefix: int, suffix: int, cells: tuple[int, int] | None
) -> None:
    places = Places.of(h, w, prefix=prefix, suffix=suffix)
    x = torch.randn(2, places.tokens, width)
    placed = slice(prefix, prefix + h * w)
    fmap = x[:, placed].mT.unflatten(-1, (h, w))
    for module in (Sinusoidal2d(cells=cells), AppendSinusoidal2d(5, cells=cells)):
        wanted = module(fmap).flatten(2).mT
        for where in (places, places._replace(shape=None)):  # the quick way and the general one
            got = module.tokens(x, where)
            torch.testing.assert_close(got[:, placed], wanted, rtol=0, atol=1e-6)
            unplaced = torch.cat([got[:, :prefix], got[:, prefix + h * w :]], 1)
            alone = torch.cat([x[:, :prefix], x[:, prefix + h * w :]], 1)
            assert torch.equal(unplaced[..., :width], alone)
            assert not unplaced[..., width:].any()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("block", [1, 300, 600])  # a row has 280 bytes, or half of them
@pytest.mark.parametrize("across", [False, True])
def test_tokens_without_gradients_are_summed_in_blocks_to_the_same_bits(
    monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype, block: int, across: bool
) -> None:
    places = Places.of(11, 7, prefix=2, suffix=1)
    x = torch.randn(3, places.tokens, 10).to(dtype)
    x = x.mT.contiguous().mT if across else x
    wanted = Sinusoidal2d().tokens(x, places)
    monkeypatch.setattr(_crossed, "BLOCK", block)
    blocks = []
    in_blocks = _crossed._add_in_blocks

    def counted(*args: Any) -> Tensor:
        blocks.append(args[-1])
        return in_blocks(*args)

    monkeypatch.setattr(_crossed, "_add_in_blocks", counted)
    before = x.clone()
    got = Sinusoidal2d().tokens(x, places)
    assert len(blocks) == 1
    assert got.dtype == dtype
    assert torch.equal(got, wanted)
    assert torch.equal(x, before)
    # a gradient: nothing is written piece by piece
    watched = x.clone().requires_grad_()
    Sinusoidal2d().tokens(watched, places).sum().backward()
    assert len(blocks) == 1
    assert watched.grad is not None
    assert bool((watched.grad == 1).all())


@pytest.mark.parametrize("width", range(4, 9))
def test_lattices_of_a_batch_have_each_their_own_place(width: int) -> None:
    whole = Places.of(5, 7)
    offsets = torch.tensor([[[0.0, 0.0]], [[2.5, 40.0]]])
    places = whole._replace(positions=whole.positions + offsets, extent=whole.extent.expand(2, 2))
    x = torch.randn(2, 35, width)
    got = Sinusoidal2d().tokens(x, places)
    assert torch.equal(got, Sinusoidal2d().tokens(x, places._replace(shape=None)))
    alone = Sinusoidal2d().tokens(x, whole)
    assert torch.equal(got[0], alone[0])
    assert (got[1] - alone[1]).abs().max() > 0.5


@pytest.mark.parametrize("module", [Sinusoidal2d(cells=(10, 14)), AppendSinusoidal2d(6)])
def test_tokens_follow_their_frame_and_their_order(module: PointEncoding) -> None:
    whole = Frame.identity(20, 28)
    frames = Frame.stack([whole.crop(3, 5, h=8, w=11), whole.crop(3, 5, h=8, w=11).rotate(30)])
    x = torch.randn(2, 16, 8, 11)
    places = Places.of(8, 11, frames)
    tokens = x.flatten(2).mT
    wanted = module(x, frames).flatten(2).mT
    torch.testing.assert_close(module.tokens(tokens, places), wanted, rtol=0, atol=1e-6)
    order = torch.randperm(88)
    mixed = places._replace(positions=places.positions[:, order])
    got = module.tokens(tokens[:, order], mixed)
    torch.testing.assert_close(got, wanted[:, order], rtol=0, atol=1e-6)
    assert (module.tokens(tokens[:, order], places) - wanted[:, order]).abs().max() > 0.1


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_far_tokens_keep_their_code_in_half_precision(dtype: torch.dtype) -> None:
    far = torch.stack([torch.zeros(4096), torch.arange(65_536.0, 69_632.0)], -1)
    x = torch.zeros(1, 4096, 18, dtype=dtype)
    got = Sinusoidal2d().tokens(x, Places.at(far, (1, 70_000)))[0]
    wanted = sinusoidal2d(far.double().mT[..., None], 18)[..., 0].mT.to(dtype)
    assert got.dtype == dtype
    assert (got.double() - wanted.double()).abs().max() <= torch.finfo(dtype).eps


def test_appended_codes_of_two_places_have_the_products_of_their_difference() -> None:
    x = torch.zeros(1, 3, 2, dtype=torch.float64)
    points = torch.tensor([[0.0, 2.0], [4.0, 1.5], [9.0, 0.0]], dtype=torch.float64)

    def gram(points: Tensor) -> Tensor:
        code = AppendSinusoidal2d(8).tokens(x, Places.at(points, (20, 20)))[0, :, 2:]
        return code @ code.mT

    torch.testing.assert_close(gram(points + 3.25), gram(points), rtol=0, atol=1e-10)
    # with fewer cosines a shift no longer is a rotation
    code = sinusoidal2d(points.mT[..., None], 2)[..., 0]
    moved = sinusoidal2d((points + 3.25).mT[..., None], 2)[..., 0]
    assert (moved.mT @ moved - code.mT @ code).abs().max() > 0.1


WIDTH = (
    "`width` (the number of channels) must be a multiple of 4, but is {}. "
    "Two axes have a sine and a cosine each."
)
NARROW = (
    "`width` (the number of channels) must be at least 2, but is {}. "
    "Each of two axes has a sine at least."
)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Sinusoidal2d()(torch.zeros(1, 1, 3, 4)), NARROW.format(1)),
        (lambda: AppendSinusoidal2d(0), NARROW.format(0)),
        (lambda: sinusoidal2d(positions(2, 3), 1), NARROW.format(1)),
        (lambda: Sinusoidal2d().out_channels(1), NARROW.format(1)),
        (lambda: sinusoidal2d_timm(positions(2, 3), 7), WIDTH.format(7)),
        (lambda: sinusoidal2d_mae(positions(2, 3), 2), WIDTH.format(2)),
        (lambda: sinusoidal2d_big_vision(positions(2, 3), 0), WIDTH.format(0)),
        (
            lambda: Sinusoidal2d().tokens(torch.zeros(2, 7, 8), Places.of(2, 3)),
            "`x` must hold as many tokens as `places`, 6 (0 + 6 + 0), but holds 7.",
        ),
        (
            lambda: sinusoid(torch.zeros(3), 5),
            "`width` must be an even number of at least 2, but is 5.",
        ),
        (lambda: Sinusoidal2d(temperature=0), "`temperature` must be positive, but is 0."),
        (
            lambda: AppendSinusoidal2d(4, temperature=-1),
            "`temperature` must be positive, but is -1.",
        ),
        (
            lambda: Sinusoidal2d(cells=(0, 4)),
            "`cells` must be at least 1 cell an axis, but is (0, 4).",
        ),
    ],
)
def test_bad_input_is_refused_in_one_sentence(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the whole message is compared
        make()
    assert str(caught.value) == message
