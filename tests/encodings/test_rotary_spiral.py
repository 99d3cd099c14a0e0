import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from visionpe import Places, Rotary, RotarySpiral, axial_waves, rotate, spiral_waves


@pytest.mark.parametrize(("width", "directions"), [(64, 16), (32, 4), (24, 6), (12, 2)])
def test_it_is_the_formula_one_pair_at_a_time(width: int, directions: int) -> None:
    waves = spiral_waves(width, directions=directions)
    quarter = width // 4
    for k in range(quarter):
        rate = 100 ** -(k / quarter)
        for pair, extra in ((k, 0), (k + quarter, 90)):
            angle = math.radians(180 / directions * (k % (directions // 2)) + extra)
            assert waves[1, pair].item() == pytest.approx(rate * math.cos(angle), abs=1e-14)
            assert waves[0, pair].item() == pytest.approx(rate * math.sin(angle), abs=1e-14)


def test_queries_are_turned_by_the_formula() -> None:
    x, places = torch.randn(1, 2, 15, 32).double(), Places.of(3, 5)
    out = RotarySpiral().rotate(x, x, places, places)[0]
    for token in range(15):
        y, column = divmod(token, 5)
        for pair, (wy, wx) in enumerate(spiral_waves(32).mT.tolist()):
            angle = y * wy + column * wx
            a, b = x[0, :, token, 2 * pair], x[0, :, token, 2 * pair + 1]
            wanted = b * math.cos(angle) + a * math.sin(angle)
            torch.testing.assert_close(out[0, :, token, 2 * pair + 1], wanted, rtol=0, atol=1e-12)


@settings(deadline=None, max_examples=40, derandomize=True)
@given(half=st.integers(1, 12), rounds=st.integers(1, 4), theta=st.floats(1.5, 1e4))
def test_directions_are_equally_spaced_and_share_the_pairs_evenly(
    half: int, rounds: int, theta: float
) -> None:
    directions = 2 * half
    waves = spiral_waves(4 * half * rounds, directions=directions, theta=theta)
    angle = torch.atan2(waves[0], waves[1]) / (torch.pi / directions)
    steps = angle.round()
    torch.testing.assert_close(angle, steps, rtol=0, atol=1e-9)
    turns = (steps % directions).long()  # a wave and its opposite are one direction
    assert (torch.bincount(turns, minlength=directions) == rounds).all()
    first, second = waves.chunk(2, -1)
    assert (first * second).sum(0).abs().max() < 1e-12  # two at right angles for each frequency


def test_two_directions_are_the_axial_encoding_and_more_are_not() -> None:
    assert torch.equal(spiral_waves(32, directions=2), axial_waves(32))
    x, places = torch.randn(1, 2, 15, 32), Places.of(3, 5)
    axial = Rotary().rotate(x, x, places, places)[0]
    assert torch.equal(RotarySpiral(directions=2).rotate(x, x, places, places)[0], axial)
    assert (RotarySpiral().rotate(x, x, places, places)[0] - axial).abs().max() > 0.1


def test_it_sees_diagonals_which_axial_rotation_does_not() -> None:
    q, k = torch.randn(2, 32).double()
    gaps = torch.tensor([[2.0, 3.0], [2.0, 0.0], [0.0, 3.0], [0.0, 0.0]], dtype=torch.float64)
    rest = []
    for directions in (8, 2):
        logits = (q * rotate(k.expand(4, -1), gaps @ spiral_waves(32, directions=directions))).sum(
            -1
        )
        rest.append((logits[0] - logits[1] - logits[2] + logits[3]).abs())
    assert rest[0] > 1e-2
    assert rest[1] < 1e-12


def test_every_option_changes_what_it_does() -> None:
    x, places = torch.randn(1, 2, 15, 32), Places.of(3, 5)
    plain = RotarySpiral().rotate(x, x, places, places)[0]
    for other in (
        RotarySpiral(theta=50),
        RotarySpiral(cells=(9, 9)),
        RotarySpiral(directions=8),
        RotarySpiral(layout="half"),
    ):
        assert (other.rotate(x, x, places, places)[0] - plain).abs().max() > 1e-2


def test_its_repr_is_the_call_that_makes_it() -> None:
    for module in (RotarySpiral(), RotarySpiral(directions=4, theta=7.5, cells=(2, 3))):
        assert repr(eval(repr(module))) == repr(module)  # noqa: S307 - our own text


ODD = (
    "`directions` must be an even number of at least 2, but is {}. "
    "Directions come in pairs at right angles."
)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: RotarySpiral(directions=5), ODD.format(5)),
        (lambda: spiral_waves(8, directions=0), ODD.format(0)),
        (lambda: RotarySpiral(theta=0), "`theta` must be positive, but is 0."),
        (
            lambda: RotarySpiral(cells=(0, 3)),
            "`cells` must be at least 1 cell an axis, but is (0, 3).",
        ),
        (
            lambda: RotarySpiral()(*torch.zeros(3, 1, 1, 6, 16), Places.of(2, 3)),
            "`head_dim` (the width of a head) must be a multiple of 2 * `directions`, 32, "
            "but is 16. Every direction turns as many pairs of channels.",
        ),
    ],
)
def test_bad_input_is_refused_in_one_sentence(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the whole message is compared
        make()
    assert str(caught.value) == message
