import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import coordinates as slow_coordinates

from visionpe import AddCoords, Frame, Places, coordinates


@pytest.mark.parametrize(("h", "w"), [(1, 1), (1, 7), (4, 7), (9, 5)])
@pytest.mark.parametrize("radius", [False, True])
@pytest.mark.parametrize("align", [False, True])
def test_channels_are_the_papers_formula(h: int, w: int, radius: bool, align: bool) -> None:
    got = coordinates(h, w, radius=radius, align_corners=align)
    wanted = slow_coordinates(h, w, radius=radius, align_corners=align)
    torch.testing.assert_close(got.double(), wanted, rtol=0, atol=1e-6)
    assert got.abs().amax() <= 2**0.5 + 1e-6


def test_the_radius_is_zero_at_the_centre_and_nowhere_else() -> None:
    radius = coordinates(5, 7, radius=True)[2]
    assert radius[2, 3] == 0
    assert (radius == 0).sum() == 1
    assert torch.equal(radius, radius.flip(0))
    assert torch.equal(radius, radius.flip(1))


def test_a_size_that_is_not_square_keeps_both_ranges() -> None:
    """The released code scales each axis by the other's length: x then reaches 3 here."""
    y, x = coordinates(4, 7, align_corners=True)
    assert (x.min(), x.max()) == (-1, 1)
    assert (y.min(), y.max()) == (-1, 1)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64])
def test_the_module_appends_the_function_in_the_maps_dtype(dtype: torch.dtype) -> None:
    x = torch.randn(2, 3, 5, 7, dtype=dtype)
    y = AddCoords(radius=True)(x)
    assert y.dtype == dtype
    assert torch.equal(y[:, :3], x)
    precise = torch.promote_types(dtype, torch.float32)
    code = coordinates(5, 7, radius=True, dtype=precise).to(dtype)
    assert torch.equal(y[:, 3:], code.expand(2, -1, -1, -1))
    assert AddCoords(radius=True).out_channels(3) == y.shape[1]


def test_each_sample_has_its_own_frame() -> None:
    whole = Frame.identity(6, 8)
    frames = Frame.stack([whole, whole.hflip(), whole.vflip()])
    y = AddCoords()(torch.zeros(3, 1, 6, 8), frames)
    assert torch.equal(y[1, 1:], y[0, 1:].flip(-1))
    assert torch.equal(y[2, 1:], y[0, 1:].flip(-2))


def test_an_empty_batch_is_encoded() -> None:
    assert AddCoords()(torch.zeros(0, 3, 4, 5)).shape == (0, 5, 4, 5)


def test_a_frame_for_another_batch_is_refused() -> None:
    frames = Frame.stack([Frame.identity(4, 5)] * 3)
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the whole message is compared
        AddCoords()(torch.zeros(2, 1, 4, 5), frames)
    assert str(caught.value) == (
        "`frame` must hold one place for all or one for each of the 2 samples, but holds 3."
    )


@settings(deadline=None, max_examples=40, derandomize=True)
@given(
    h=st.integers(1, 64),
    w=st.integers(1, 64),
    prefix=st.integers(0, 2),
    suffix=st.integers(0, 2),
    radius=st.booleans(),
    align=st.booleans(),
    crop=st.booleans(),
)
def test_tokens_have_the_coordinates_of_the_maps_cells(
    h: int, w: int, prefix: int, suffix: int, radius: bool, align: bool, crop: bool
) -> None:
    frame = Frame.identity(2 * h, 3 * w).crop(1, 2, h=h, w=w) if crop else None
    places = Places.of(h, w, frame, prefix=prefix, suffix=suffix)
    module = AddCoords(radius=radius, align_corners=align)
    x = torch.randn(2, places.tokens, 3)
    got = module.tokens(x, places)
    wanted = module(torch.zeros(2, 3, h, w), frame)[:, 3:].flatten(2).mT
    placed = slice(prefix, prefix + h * w)
    assert torch.equal(got[..., :3], x)
    torch.testing.assert_close(got[:, placed, 3:], wanted, rtol=0, atol=1e-6)
    assert not got[:, :prefix, 3:].any()
    assert not got[:, prefix + h * w :, 3:].any()


def test_aligned_corners_of_tokens_are_the_whole_images_whatever_tokens_there_are() -> None:
    corners = torch.tensor([[0.0, 0.0], [4.0, 6.0], [2.0, 3.0]])
    places = Places.at(corners, (5, 7))
    x = torch.zeros(1, 3, 1)
    aligned = AddCoords(align_corners=True).tokens(x, places)[0, :, 1:]
    assert aligned.tolist() == [[-1.0, -1.0], [1.0, 1.0], [0.0, 0.0]]
    centred = AddCoords().tokens(x, places)[0, :, 1:]
    assert not torch.equal(centred, aligned)
    torch.testing.assert_close(centred, aligned * torch.tensor([4 / 5, 6 / 7]))
    assert AddCoords(align_corners=True).tokens(x[:, :1], Places.of(1, 1)).tolist() == [[[0.0] * 3]]


def test_coordinates_of_a_crop_are_not_those_of_an_image_of_its_size() -> None:
    x = torch.zeros(1, 1, 8, 11)
    frame = Frame.identity(20, 28).crop(3, 5, h=8, w=11)
    whole = AddCoords()(torch.zeros(1, 1, 20, 28))
    assert (AddCoords()(x, frame)[..., 1:, :, :] - whole[..., 1:, 3:11, 5:16]).abs().max() < 1e-6
    assert (AddCoords()(x) - AddCoords()(x, frame)).abs().max() > 0.4


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("radius", [False, True])
def test_coordinates_in_half_precision_are_the_nearest_there_are(
    dtype: torch.dtype, radius: bool
) -> None:
    exact = coordinates(1, 4096, radius=radius, dtype=torch.float64).to(dtype)
    code = AddCoords(radius=radius)(torch.zeros(1, 1, 1, 4096, dtype=dtype))[0, 1:]
    places = Places.of(1, 4096)
    tokens = AddCoords(radius=radius).tokens(torch.zeros(1, 4096, 1, dtype=dtype), places)
    ulp = torch.finfo(dtype).eps
    assert (code.double() - exact.double()).abs().max() <= ulp
    assert (tokens[0, :, 1:].mT.double() - exact[:, 0].double()).abs().max() <= ulp


def test_its_repr_is_the_call_that_makes_it() -> None:
    module = AddCoords(radius=True)
    assert repr(eval(repr(module))) == repr(module)  # noqa: S307 - our own text
