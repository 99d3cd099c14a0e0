import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from visionpe import (
    Frame,
    MaskedSinusoidal2d,
    Sinusoidal2d,
    inside,
    positions,
    sinusoidal2d_detr,
)


def slowly(mask: Tensor, width: int, temperature: float, offset: float) -> Tensor:
    """The formula of arXiv 2005.12872, one number at a time."""
    h, w = mask.shape
    code = torch.zeros(width, h, w, dtype=torch.float64)
    half = width // 2
    for i in range(h):
        for j in range(w):
            y = (int(mask[: i + 1, j].sum()) + offset) / (int(mask[:, j].sum()) + 1e-6)
            x = (int(mask[i, : j + 1].sum()) + offset) / (int(mask[i].sum()) + 1e-6)
            for channel in range(width):
                position = y if channel < half else x
                k = channel % half
                angle = 2 * math.pi * position / temperature ** (2 * (k // 2) / half)
                code[channel, i, j] = math.sin(angle) if k % 2 == 0 else math.cos(angle)
    return code


@settings(deadline=None, max_examples=25, derandomize=True)
@given(
    h=st.integers(1, 9),
    w=st.integers(1, 9),
    quarter=st.integers(1, 4),
    offset=st.sampled_from([0.0, -0.5]),
    seed=st.integers(0, 99),
)
def test_it_is_the_papers_formula(h: int, w: int, quarter: int, offset: float, seed: int) -> None:
    mask = torch.rand(h, w, generator=torch.Generator().manual_seed(seed)) < 0.7
    mask[:, 0] = mask[0] = True  # a line of padding alone is not in the paper
    got = sinusoidal2d_detr(mask, 4 * quarter, temperature=20, offset=offset, dtype=torch.float64)
    torch.testing.assert_close(got, slowly(mask, 4 * quarter, 20, offset), rtol=0, atol=1e-10)


def test_without_padding_it_is_a_sinusoid_of_positions_from_one_to_two_pi() -> None:
    whole = torch.ones(5, 7, dtype=torch.bool)
    code = sinusoidal2d_detr(whole, 4, dtype=torch.float64)
    size = torch.tensor([5.0, 7.0], dtype=torch.float64)[:, None, None]
    angle = 2 * math.pi * (positions(5, 7, dtype=torch.float64) + 1) / size
    wanted = torch.stack([angle.sin(), angle.cos()], 1).flatten(0, 1)
    torch.testing.assert_close(code, wanted, rtol=0, atol=2e-6)  # 1e-6 in the denominator


def test_padding_does_not_move_the_code_of_the_image() -> None:
    image = sinusoidal2d_detr(torch.ones(5, 7, dtype=torch.bool), 8)
    frame = Frame.identity(5, 7).pad(top=2, left=1, bottom=3, right=4)
    padded = sinusoidal2d_detr(inside(10, 12, frame), 8)
    torch.testing.assert_close(padded[:, 2:7, 1:8], image, rtol=0, atol=1e-6)
    # padding behind the image has the last cell's x
    last = padded[4:, 2:7, 7, None]
    torch.testing.assert_close(padded[4:, 2:7, 8:], last.expand(4, 5, 4))
    assert not padded[0::2, 0, 0].any()  # a line of padding alone is at 0


def test_the_module_takes_the_mask_from_the_frame_or_as_it_is() -> None:
    x = torch.randn(2, 8, 10, 12)
    frames = Frame.stack(
        [Frame.identity(5, 7).pad(bottom=5, right=5), Frame.identity(10, 6).pad(right=6)]
    )
    mask = inside(10, 12, frames)
    module = MaskedSinusoidal2d(temperature=20.0, offset=-0.5)
    wanted = x + sinusoidal2d_detr(mask, 8, temperature=20, offset=-0.5)
    assert torch.equal(module(x, frames), wanted)
    assert torch.equal(module(x, mask=mask), wanted)
    corner = torch.zeros_like(mask)
    corner[:, :3, :3] = True
    assert torch.equal(module(x, frames, mask=corner), module(x, mask=corner & mask))
    assert not torch.equal(module(x), wanted)
    assert torch.equal(module(x), module(x, mask=torch.ones_like(mask)))
    assert module.out_channels(8) == 8


def test_an_offset_of_minus_a_half_makes_a_flip_change_the_sines_sign_and_zero_does_not() -> None:
    mask = torch.ones(6, 9, dtype=torch.bool)

    def deviation(offset: float) -> float:
        code = sinusoidal2d_detr(mask, 4, offset=offset, dtype=torch.float64)
        sin_x, cos_x = code[2], code[3]  # angles in (0, 2 pi): a flip takes a to 2 pi - a
        return max(
            (sin_x.flip(-1) + sin_x).abs().max().item(), (cos_x.flip(-1) - cos_x).abs().max().item()
        )

    assert deviation(-0.5) < 1e-5
    assert deviation(0.0) > 0.5


def test_a_crop_counts_from_its_own_first_cell() -> None:
    """It belongs to the view's valid part: not an absolute code, unlike `Sinusoidal2d`."""
    x = torch.zeros(1, 8, 8, 11)
    frame = Frame.identity(20, 28).crop(3, 5, h=8, w=11)
    assert torch.equal(MaskedSinusoidal2d()(x, frame), MaskedSinusoidal2d()(x))
    assert not torch.equal(Sinusoidal2d()(x, frame), Sinusoidal2d()(x))


def test_a_transposed_mask_swaps_the_halves() -> None:
    mask = torch.rand(6, 9) < 0.6
    code, swapped = sinusoidal2d_detr(mask, 8), sinusoidal2d_detr(mask.mT, 8).mT
    assert torch.equal(code[:4], swapped[4:])
    assert torch.equal(code[4:], swapped[:4])
    assert not torch.equal(code, swapped)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_long_maps_keep_their_code_in_half_precision(dtype: torch.dtype) -> None:
    mask = torch.ones(1, 4096, dtype=torch.bool)
    exact = sinusoidal2d_detr(mask, 8, dtype=torch.float64)
    got = MaskedSinusoidal2d()(torch.zeros(1, 8, 1, 4096, dtype=dtype))[0]
    assert got.dtype == dtype
    assert (got.double() - exact.to(dtype).double()).abs().max() <= torch.finfo(dtype).eps


def test_a_map_of_padding_alone_has_finite_codes() -> None:
    for offset in (0.0, -0.5):
        assert (
            sinusoidal2d_detr(torch.zeros(3, 4, dtype=torch.bool), 8, offset=offset)
            .isfinite()
            .all()
        )


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: MaskedSinusoidal2d()(torch.zeros(1, 6, 3, 4)),
            "`width` (the number of channels) must be a multiple of 4, but is 6. "
            "Two axes have a sine and a cosine each.",
        ),
        (
            lambda: sinusoidal2d_detr(torch.ones(2, 3, dtype=torch.bool), 4, temperature=0),
            "`temperature` must be positive, but is 0.",
        ),
        (lambda: MaskedSinusoidal2d(temperature=-1), "`temperature` must be positive, but is -1."),
    ],
)
def test_bad_input_is_refused_in_one_sentence(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the whole message is compared
        make()
    assert str(caught.value) == message
