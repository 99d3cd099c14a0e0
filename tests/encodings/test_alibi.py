import math
import re

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from visionpe import Alibi2d, Frame, Places, alibi_bias, alibi_slopes, attend


def bias_of(layer: Alibi2d, places: Places, dtype: torch.dtype = torch.float32) -> Tensor:
    batch = places.positions.shape[:-2].numel()
    q = torch.zeros(batch, layer.heads or 1, places.tokens, 4, dtype=dtype)
    return layer.bias(q, q, places, places, 0.5)


def papers_slopes(heads: int) -> list[float]:
    """A geometric sequence from 2^(-8/n) with that ratio; other numbers borrow from twice p."""
    if math.log2(heads).is_integer():
        first = 2 ** (-8 / heads)
        return [first * first**i for i in range(heads)]
    below = 2 ** int(math.log2(heads))
    return papers_slopes(below) + papers_slopes(2 * below)[0::2][: heads - below]


@pytest.mark.parametrize("heads", range(1, 41))
def test_slopes_are_the_papers_rule(heads: int) -> None:
    ours = alibi_slopes(heads, dtype=torch.float64)
    wanted = torch.tensor(papers_slopes(heads), dtype=torch.float64)
    torch.testing.assert_close(ours, wanted, rtol=1e-12, atol=0)
    assert ours.unique().numel() == heads


@given(
    h=st.integers(1, 8),
    w=st.integers(1, 8),
    heads=st.integers(1, 6),
    ends=st.tuples(st.integers(0, 2), st.integers(0, 2)),
)
@settings(deadline=None, max_examples=20, derandomize=True)
def test_it_is_the_slope_times_the_distance(
    h: int, w: int, heads: int, ends: tuple[int, int]
) -> None:
    places = Places.of(h, w, prefix=ends[0], suffix=ends[1], dtype=torch.float64)
    bias = bias_of(Alibi2d(heads), places, torch.float64)
    wanted = torch.zeros_like(bias)
    for head, slope in enumerate(papers_slopes(heads)):
        for i in range(h * w):
            for j in range(h * w):
                distance = math.dist((i // w, i % w), (j // w, j % w))
                wanted[0, head, ends[0] + i, ends[0] + j] = -slope * distance
    torch.testing.assert_close(bias, wanted, rtol=0, atol=1e-10)


def test_it_does_not_change_under_shifts_turns_and_flips_but_under_scale() -> None:
    points = torch.rand(9, 2, dtype=torch.float64) * 20
    slopes = alibi_slopes(3, dtype=torch.float64)

    def of(moved: Tensor) -> Tensor:
        places = Places.at(moved, (99, 99))
        return alibi_bias(slopes, places, places)

    angle = torch.tensor(0.7, dtype=torch.float64)
    turn = torch.stack([angle.cos(), angle.sin(), -angle.sin(), angle.cos()]).reshape(2, 2)
    for moved in (points + 12.75, points @ turn, points.flip(-1), points * torch.tensor([1, -1])):
        torch.testing.assert_close(of(moved), of(points), rtol=0, atol=1e-10)
    torch.testing.assert_close(of(points), of(points).mT, rtol=0, atol=1e-10)
    torch.testing.assert_close(of(3 * points), 3 * of(points), rtol=0, atol=1e-10)
    assert (of(3 * points) - of(points)).abs().max() > 1


def test_it_is_the_euclidean_distance_not_the_sum_of_the_axes() -> None:
    bias = bias_of(Alibi2d(1), Places.of(4, 5))[0, 0, 0].unflatten(0, (4, 5))
    assert bias[3, 4] == -5 / 256
    assert bias[3, 4] != bias[3, 0] + bias[0, 4]


def test_it_is_not_the_identity_at_the_start_and_near_keys_weigh_more() -> None:
    layer, places = Alibi2d(2), Places.of(3, 5)
    assert not list(layer.parameters())
    q = torch.zeros(1, 2, 15, 4)
    v = torch.eye(15).expand(1, 2, 15, 15)
    weights = layer(q, q, v, places)
    assert not torch.allclose(weights, attend(q, q, v, [], places))
    distance = torch.cdist(places.positions, places.positions)
    order = distance.argsort(-1)
    sorted_weights = weights.gather(-1, order.expand_as(weights))
    assert (sorted_weights.diff() <= 1e-7).all()


def test_learned_slopes_start_as_the_fixed_ones_and_learn() -> None:
    layer = Alibi2d(3, learned=True)
    places = Places.of(3, 5, prefix=1)
    assert torch.equal(bias_of(layer, places), bias_of(Alibi2d(3), places))
    bias_of(layer, places).square().sum().backward()
    assert layer.slopes.grad is not None
    assert (layer.slopes.grad > 0).all()


def test_crops_and_samples_have_the_bias_of_their_places() -> None:
    layer = Alibi2d(2)
    image = Frame.identity(12, 16)
    frames = [image.crop(0.5, 0.25, h=6, w=10), image.crop(5, 3, h=6, w=10).hflip()]
    both = bias_of(layer, Places.of(3, 5, Frame.stack(frames)))
    whole = bias_of(layer, Places.of(3, 5)).expand(2, -1, -1, -1)
    torch.testing.assert_close(both, whole, rtol=0, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_rounds_the_result_only(dtype: torch.dtype) -> None:
    far = torch.stack([torch.zeros(4096), torch.arange(65_536.0, 65_536 + 4096)], -1)[::37]
    places = Places.at(far, (1, 2**17))
    for layer in (Alibi2d(6), Alibi2d(4, learned=True)):
        bias = bias_of(layer, places, dtype)
        assert bias.dtype == dtype
        wanted = bias_of(layer, places, torch.float64)
        ulp = torch.finfo(dtype).eps * wanted.abs() + torch.finfo(dtype).smallest_normal
        assert ((bias.double() - wanted).abs() <= ulp).all()


def test_its_repr_is_the_call_that_makes_it() -> None:
    for layer in (Alibi2d(2), Alibi2d(5, learned=True)):
        assert repr(eval(repr(layer))) == repr(layer)  # noqa: S307 - our own text
    assert repr(layer) == "Alibi2d(5, learned=True)"


def test_bad_input_is_refused_in_one_sentence() -> None:
    for make in (Alibi2d, alibi_slopes):
        with pytest.raises(
            ValueError, match=re.escape("`heads` must be at least 1, but is 0.") + "$"
        ):
            make(0)
