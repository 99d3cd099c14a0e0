import pytest
import torch
from reference import coordinates as slow_coordinates

from visionpe import AddCoords, Frame, coordinates


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


def test_its_repr_is_the_call_that_makes_it() -> None:
    module = AddCoords(radius=True)
    assert repr(eval(repr(module))) == repr(module)  # noqa: S307 - our own text
