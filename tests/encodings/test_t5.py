import math
import re
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from visionpe import BucketBias, Frame, Places, attend, t5_bucket


def bias_of(layer: BucketBias, places: Places, key_places: Places | None = None) -> Tensor:
    keys = places if key_places is None else key_places
    batch = max(part.positions.shape[:-2].numel() for part in (places, keys))
    q, k = (torch.zeros(batch, layer.heads or 1, part.tokens, 4) for part in (places, keys))
    return layer.bias(q, k, places, keys, 0.5)


def papers_bucket(offset: int, buckets: int, max_distance: int) -> int:
    """The formula, its logarithm nudged up where it falls short of a whole number by rounding."""
    half = buckets // 2
    exact = half // 2
    distance = abs(offset)
    if distance >= exact:
        share = math.log(distance / exact) / math.log(max_distance / exact)
        distance = min(exact + math.floor(share * (half - exact) + 1e-12), half - 1)
    return distance + half * (offset > 0)


@given(half=st.integers(2, 24), above=st.integers(1, 300))
@settings(deadline=None, max_examples=40, derandomize=True)
def test_buckets_are_the_papers_formula(half: int, above: int) -> None:
    buckets, max_distance = 2 * half, half // 2 + above
    offsets = [*range(-350, 351), 65_536, -(2**20)]
    ours = t5_bucket(torch.tensor(offsets), buckets=buckets, max_distance=max_distance)
    assert ours.tolist() == [papers_bucket(d, buckets, max_distance) for d in offsets]


def test_near_offsets_have_their_own_bucket_and_far_ones_share() -> None:
    near = t5_bucket(torch.arange(-7, 8))
    assert near.unique().numel() == 15
    assert t5_bucket(torch.tensor([128, 129, 10**6])).tolist() == [31, 31, 31]
    assert t5_bucket(torch.tensor([8, 9])).unique().numel() == 1
    bucket = t5_bucket(torch.arange(0, 200))
    assert (bucket[2:] >= bucket[1:-1]).all()  # further away, never a nearer bucket
    # Powers of two are whole numbers of logarithmic buckets: at them a new one begins.
    assert t5_bucket(torch.tensor([15, 16, 31, 32, 63, 64])).tolist() == [25, 26, 27, 28, 29, 30]


@given(
    h=st.integers(1, 9),
    w=st.integers(1, 64),
    ends=st.tuples(st.integers(0, 2), st.integers(0, 2)),
)
@settings(deadline=None, max_examples=20, derandomize=True)
def test_lattices_and_points_have_the_sum_of_two_tables(
    h: int, w: int, ends: tuple[int, int]
) -> None:
    layer = BucketBias(3, buckets=8, max_distance=20, std=1.0)
    places = Places.of(h, w, prefix=ends[0], suffix=ends[1])
    bias = bias_of(layer, places)
    points = places._replace(shape=None)
    assert torch.equal(bias, bias_of(layer, points))
    i, j = int(torch.randint(h * w, ())), int(torch.randint(h * w, ()))
    dy, dx = j // w - i // w, j % w - i % w  # key minus query
    rows, columns = papers_bucket(dy, 8, 20), papers_bucket(dx, 8, 20)
    wanted = layer.rows[:, rows] + layer.columns[:, columns]
    assert torch.equal(bias[0, :, ends[0] + i, ends[0] + j], wanted)
    unplaced = bias.clone()
    unplaced[..., ends[0] : ends[0] + h * w, ends[0] : ends[0] + h * w] = 0
    assert not unplaced.any()


def test_a_shift_changes_nothing_but_a_stretch_does() -> None:
    layer = BucketBias(2, std=1.0)
    points = torch.randint(0, 30, (12, 2)).float()
    bias = bias_of(layer, Places.at(points, (99, 99)))
    assert torch.equal(bias_of(layer, Places.at(points + 65_536, (2**17, 2**17))), bias)
    assert not torch.equal(bias_of(layer, Places.at(points * 2, (99, 99))), bias)
    assert not torch.equal(bias, bias.mT)  # directions have buckets of their own


def test_a_flip_turns_the_buckets_over() -> None:
    layer = BucketBias(2, std=1.0)
    whole = bias_of(layer, Places.of(3, 5)).unflatten(3, (3, 5)).unflatten(2, (3, 5))
    flipped = bias_of(layer, Places.of(3, 5, Frame.identity(6, 10).hflip()))
    assert torch.equal(flipped, whole.flip(3, 5).flatten(4).flatten(2, 3))


def test_layers_that_share_it_have_one_table_with_the_gradients_of_all() -> None:
    class Layer(nn.Module):
        def __init__(self, shared: BucketBias) -> None:
            super().__init__()
            self.bias = shared
            self.project = nn.Linear(8, 24)

        def forward(self, x: Tensor, places: Places) -> Tensor:
            q, k, v = self.project(x).unflatten(-1, (3, 2, 4)).permute(2, 0, 3, 1, 4)
            out: Tensor = self.bias(q, k, v, places).transpose(1, 2).flatten(2)
            return x + out

    shared = BucketBias(2, std=1.0)
    layers = nn.ModuleList([Layer(shared) for _ in range(3)])
    assert sum(p.numel() for p in layers.parameters()) == 3 * (8 * 24 + 24) + 2 * 2 * 32
    x, places = torch.randn(2, 15, 8), Places.of(3, 5)
    for layer in layers:
        x = layer(x, places)
    x.square().sum().backward()
    assert shared.rows.grad is not None
    together = shared.rows.grad.clone()

    layers.zero_grad()  # the same with copies that share nothing: their gradients add up
    alone = [BucketBias(2) for _ in layers]
    torch.manual_seed(0)
    x = torch.randn(2, 15, 8)
    torch.manual_seed(0)
    y = torch.randn(2, 15, 8)
    for layer, own in zip(layers, alone, strict=True):
        own.load_state_dict(shared.state_dict())
        assert isinstance(layer, Layer)
        x = layer(x, places)
        layer.bias = own
        y = layer(y, places)
        layer.bias = shared
    x.square().sum().backward()
    y.square().sum().backward()
    sums = sum(own.rows.grad for own in alone if own.rows.grad is not None)
    assert shared.rows.grad is not None
    torch.testing.assert_close(shared.rows.grad, sums, rtol=1e-4, atol=1e-4)
    assert together.abs().sum() > 0


def test_it_starts_as_plain_attention() -> None:
    q, k, v = torch.randn(3, 2, 2, 17, 8)
    places = Places.of(3, 5, prefix=2)
    plain = attend(q, k, v, [], places)
    torch.testing.assert_close(BucketBias(2)(q, k, v, places), plain, rtol=0, atol=1e-6)
    assert (BucketBias(2, std=1.0)(q, k, v, places) - plain).abs().max() > 1e-2


def test_its_repr_is_the_call_that_makes_it() -> None:
    layer = BucketBias(2, buckets=8, max_distance=20, std=0.5)
    assert repr(layer) == "BucketBias(2, buckets=8, max_distance=20, std=0.5)"
    assert repr(eval(repr(layer))) == repr(layer)  # noqa: S307 - our own text


BUCKETS = "`buckets` must be an even number of at least 4, but is {}."


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: BucketBias(0), "`heads` must be at least 1, but is 0."),
        (lambda: BucketBias(1, buckets=7), BUCKETS.format(7)),
        (lambda: t5_bucket(torch.tensor([1]), buckets=2), BUCKETS.format(2)),
        (
            lambda: BucketBias(1, max_distance=8),
            "`max_distance` must be above 8, the distances with a bucket of their own, but is 8.",
        ),
        (lambda: BucketBias(1, std=-0.5), "`std` must be at least 0, but is -0.5."),
    ],
)
def test_bad_input_is_refused_in_one_sentence(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message) + "$"):
        make()
