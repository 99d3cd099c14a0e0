from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from positional_encodings.torch_encodings import PositionalEncoding1D

from visionpe import Frame, Sinusoidal1d, Sinusoidal2d, sinusoidal1d, sinusoidal1d_code
from visionpe.grids import line_positions


@settings(deadline=None, max_examples=40, derandomize=True)
@given(n=st.integers(1, 64), width=st.integers(1, 33))
def test_positional_encodings_builds_the_same_in_another_order(n: int, width: int) -> None:
    """Theirs has sine and cosine in turn, and cuts the last cosine of an odd width too."""
    theirs = PositionalEncoding1D(width)(torch.zeros(1, n, width))[0].mT
    ours = sinusoidal1d(torch.arange(float(n)), width)
    order = [*range(0, width, 2), *range(1, width, 2)]
    # Theirs are angles of up to 63 radians in float32: half a unit of their last place is 2e-6.
    torch.testing.assert_close(ours, theirs[order], rtol=0, atol=3e-6)


@settings(deadline=None, max_examples=60, derandomize=True)
@given(
    n=st.integers(1, 200) | st.sampled_from([4096, 65_569]),
    width=st.integers(1, 9),
    cells=st.none() | st.integers(1, 5000),
)
def test_the_sums_of_angles_of_a_line_are_the_angles(n: int, width: int, cells: int | None) -> None:
    points = line_positions(n, cells=cells, dtype=torch.float64)
    wanted = sinusoidal1d(points, width)
    code = sinusoidal1d_code(n, width, cells=cells, dtype=torch.float64)
    torch.testing.assert_close(code, wanted, rtol=0, atol=1e-10)
    for dtype in (torch.float32, torch.bfloat16):  # rounded once, but where 1e-15 decides
        short = sinusoidal1d_code(n, width, cells=cells, dtype=dtype)
        assert short.dtype == dtype
        near = torch.finfo(dtype).eps
        torch.testing.assert_close(short.double(), wanted, rtol=near / 2 + 1e-9, atol=1e-10)


def test_products_of_codes_depend_on_differences_only_if_every_sine_has_its_cosine() -> None:
    points = torch.tensor([0.0, 1.0, 2.5, 9.0], dtype=torch.float64)

    def gram(shift: float, width: int) -> torch.Tensor:
        code = sinusoidal1d(points + shift, width)
        return code.mT @ code

    torch.testing.assert_close(gram(31.7, 8), gram(0, 8), rtol=0, atol=1e-10)
    assert (gram(31.7, 3) - gram(0, 3)).abs().max() > 1e-6


def test_a_shift_is_a_rotation_that_does_not_depend_on_the_position() -> None:
    points = torch.arange(7, dtype=torch.float64)
    sin, cos = sinusoidal1d(points, 6).chunk(2)
    turn_sin, turn_cos = sinusoidal1d(torch.tensor([2.5], dtype=torch.float64), 6).chunk(2)
    moved = torch.cat([sin * turn_cos + cos * turn_sin, cos * turn_cos - sin * turn_sin])
    torch.testing.assert_close(sinusoidal1d(points + 2.5, 6), moved, rtol=0, atol=1e-10)


def test_the_module_adds_the_function() -> None:
    x = torch.randn(2, 5, 9)
    assert torch.equal(Sinusoidal1d()(x), x + sinusoidal1d(torch.arange(9.0), 5))
    torch.testing.assert_close(
        Sinusoidal1d(cells=18)(x), x + sinusoidal1d(2 * torch.arange(9.0) + 0.5, 5)
    )


@pytest.mark.parametrize("cells", [None, 14])
def test_a_pixel_of_a_row_has_one_code_in_the_row_a_crop_and_a_flip(cells: int | None) -> None:
    module = Sinusoidal1d(cells=cells)
    whole = module(torch.zeros(1, 7, 28))
    frame = Frame.identity(1, 28)
    crops = Frame.stack([frame.crop(0, 5, h=1, w=11), frame.crop(0, 12, h=1, w=11).hflip()])
    crop = module(torch.zeros(2, 7, 11), crops)
    torch.testing.assert_close(crop[0], whole[0, :, 5:16], rtol=0, atol=1e-6)
    torch.testing.assert_close(crop[1], whole[0, :, 12:23].flip(-1), rtol=0, atol=1e-6)
    assert (module(torch.zeros(1, 7, 11)) - crop[:1]).abs().max() > 0.1  # without the frame: lost


def test_a_row_is_the_x_half_of_a_map() -> None:
    row = Sinusoidal1d()(torch.zeros(1, 6, 9))
    fmap = Sinusoidal2d()(torch.zeros(1, 12, 4, 9))
    assert torch.equal(fmap[:, 6:, 2], row)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_long_sequences_keep_their_code_in_half_precision(dtype: torch.dtype) -> None:
    frame = Frame.identity(1, 70_000).crop(0, 65_536, h=1, w=4096)
    got = Sinusoidal1d()(torch.zeros(1, 8, 4096, dtype=dtype), frame)[0]
    points = torch.arange(65_536, 65_536 + 4096, dtype=torch.float64)
    wanted = sinusoidal1d(points, 8).to(dtype)
    assert got.dtype == dtype
    assert (got.double() - wanted.double()).abs().max() <= torch.finfo(dtype).eps


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: sinusoidal1d(torch.zeros(3), 0),
            "`width` (the number of channels) must be at least 1, but is 0. "
            "A line has a sine at least.",
        ),
        (lambda: Sinusoidal1d(temperature=-2), "`temperature` must be positive, but is -2."),
        (lambda: Sinusoidal1d(cells=0), "`cells` must be at least 1 cell, but is 0."),
        (
            lambda: Sinusoidal1d()(
                torch.zeros(2, 4, 5), Frame.stack([Frame.identity(1, 5) for _ in range(3)])
            ),
            "`frame` must hold one place for all or one for each of the 2 samples, but holds 3.",
        ),
    ],
)
def test_bad_input_is_refused_in_one_sentence(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the whole message is compared
        make()
    assert str(caught.value) == message
