import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from visionpe import Places, Rotary, RotarySimplex, axial_waves, rotate, simplex_waves


@pytest.mark.parametrize(("width", "theta"), [(12, 100.0), (16, 10.0), (64, 100.0), (10, 50.0)])
def test_it_is_the_formula_one_pair_at_a_time(width: int, theta: float) -> None:
    waves = simplex_waves(width, theta=theta)
    scales = width // 2 // 3
    for corner in range(3):
        for scale in range(scales):
            rate, angle = theta ** -(scale / scales), math.radians(120 * corner)
            wave = waves[:, corner * scales + scale]
            assert wave[1].item() == pytest.approx(rate * math.cos(angle), abs=1e-14)
            assert wave[0].item() == pytest.approx(rate * math.sin(angle), abs=1e-14)
    assert waves.shape == (2, width // 2)
    assert (waves[:, 3 * scales :] == 0).all()  # left over


def test_queries_are_turned_by_the_formula() -> None:
    x = torch.randn(1, 2, 15, 16).double()
    places = Places.of(3, 5)
    out = RotarySimplex().rotate(x, x, places, places)[0]
    for token in range(15):
        y, column = divmod(token, 5)
        for pair, (wy, wx) in enumerate(simplex_waves(16).mT.tolist()):
            angle = y * wy + column * wx
            a, b = x[0, :, token, 2 * pair], x[0, :, token, 2 * pair + 1]
            wanted = a * math.cos(angle) - b * math.sin(angle)
            torch.testing.assert_close(out[0, :, token, 2 * pair], wanted, rtol=0, atol=1e-12)


@settings(deadline=None, max_examples=40, derandomize=True)
@given(pairs=st.integers(3, 64), theta=st.floats(1.5, 1e4))
def test_the_vectors_of_a_scale_are_a_regular_simplex(pairs: int, theta: float) -> None:
    scales = pairs // 3
    waves = simplex_waves(2 * pairs, theta=theta)[:, : 3 * scales].unflatten(1, (3, scales))
    assert waves.sum(1).abs().max() < 1e-14  # they sum to nothing
    second = torch.einsum("acs,bcs->sab", waves, waves)  # and favour no direction
    rates = waves.square().sum(0)[0]
    wanted = 1.5 * rates[:, None, None] * torch.eye(2, dtype=torch.float64)
    torch.testing.assert_close(second, wanted, rtol=1e-12, atol=0 + 1e-15)


def ring(waves: Tensor, radius: float) -> Tensor:
    """The logits of equal queries and keys at gaps of one length in all directions."""
    angle = torch.linspace(0, 2 * torch.pi, 49, dtype=torch.float64)
    gaps = radius * torch.stack([angle.sin(), angle.cos()], -1)
    return (gaps @ waves).cos().mean(-1)


def test_no_direction_is_favoured_as_the_axes_are_by_axial_rotation() -> None:
    # One scale each: anisotropy of the sixth order of the gap, against the fourth.
    triangle, cross = simplex_waves(6, theta=1.0), axial_waves(4, theta=1.0)
    for radius in (0.25, 0.5):
        uneven = ring(triangle, radius).std() / ring(cross, radius).std()
        assert uneven < 0.1 * radius**2


def test_it_sees_diagonals_which_axial_rotation_does_not() -> None:
    q, k = torch.randn(2, 12).double()
    gaps = torch.tensor([[2.0, 3.0], [2.0, 0.0], [0.0, 3.0], [0.0, 0.0]], dtype=torch.float64)
    rest = []
    for waves in (simplex_waves(12), axial_waves(12)):
        logits = (q * rotate(k.expand(4, -1), gaps @ waves)).sum(-1)
        rest.append((logits[0] - logits[1] - logits[2] + logits[3]).abs())
    assert rest[0] > 1e-2
    assert rest[1] < 1e-12


def test_every_option_changes_what_it_does_and_it_is_not_axial() -> None:
    x, places = torch.randn(1, 2, 15, 16), Places.of(3, 5)
    plain = RotarySimplex().rotate(x, x, places, places)[0]
    for other in (
        RotarySimplex(theta=50),
        RotarySimplex(cells=(9, 9)),
        RotarySimplex(layout="half"),
        Rotary(),
    ):
        assert (other.rotate(x, x, places, places)[0] - plain).abs().max() > 1e-2


def test_its_repr_is_the_call_that_makes_it() -> None:
    for module in (RotarySimplex(), RotarySimplex(theta=7.5, cells=(2, 3), layout="half")):
        assert repr(eval(repr(module))) == repr(module)  # noqa: S307 - our own text


NARROW = (
    "`head_dim` (the width of a head) must be an even number of at least 6, but is {}. "
    "A scale has three pairs of channels."
)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: simplex_waves(4), NARROW.format(4)),
        (lambda: simplex_waves(9), NARROW.format(9)),
        (lambda: simplex_waves(6, theta=0), "`theta` must be positive, but is 0."),
        (lambda: RotarySimplex(theta=-1), "`theta` must be positive, but is -1."),
        (
            lambda: RotarySimplex(cells=(3, -1)),
            "`cells` must be at least 1 cell an axis, but is (3, -1).",
        ),
    ],
)
def test_bad_input_is_refused_in_one_sentence(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the whole message is compared
        make()
    assert str(caught.value) == message
