"""The bias and contextual modes of iRPE, against the paper's sums with `n x m x d` vectors."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from visionpe import (
    AxialClippedBuckets,
    CrossBuckets,
    EuclideanBuckets,
    Frame,
    IRPEBias,
    IRPEContextual,
    Places,
    ProductBuckets,
    QuantisedBuckets,
    Shaw,
    attend,
)
from visionpe.encodings.offset_buckets import Buckets

SMALL = {"alpha": 1.9, "beta": 3.8, "gamma": 15.2}
MAPS: list[Buckets] = [
    ProductBuckets(),
    CrossBuckets(**SMALL),
    EuclideanBuckets(**SMALL),
    QuantisedBuckets(),
    AxialClippedBuckets(clip=2),
]


def randomised(module: nn.Module) -> nn.Module:
    for parameter in module.parameters():
        nn.init.normal_(parameter)
    return module.double()


def vectors(table: Tensor, buckets: Buckets, places: Places, key_places: Places) -> Tensor:
    """`p_ij` of every query and key: heads n m d, as the paper has it and nobody should."""
    apart = places.positions[:, None] - key_places.positions  # n m 2
    parts = buckets.index(*apart.long().unbind(-1))
    return torch.stack([table[:, part] for part in parts]).sum(0)


def slowly(
    module: IRPEContextual, q: Tensor, k: Tensor, v: Tensor, places: Places, key_places: Places
) -> Tensor:
    """`softmax((q + p_Q) k + q p_K) (v + p_V)`, without the product of two encodings."""
    scale = q.shape[-1] ** -0.5
    logits = q @ k.mT
    if module.key_table is not None:
        p = vectors(module.key_table, module.buckets, places, key_places)
        logits = logits + (q[..., None, :] * p).sum(-1)
    if module.query_table is not None:
        p = vectors(module.query_table, module.buckets, places, key_places)
        logits = logits + (k[..., None, :, :] * p).sum(-1)
    weights = (scale * logits).softmax(-1)
    out: Tensor = weights @ v
    if module.value_table is not None:
        p = vectors(module.value_table, module.buckets, places, key_places)
        out = out + (weights[..., None] * p).sum(-2)
    return out


def qkv(n: int, m: int | None = None, b: int = 2, heads: int = 3, d: int = 5) -> list[Tensor]:
    return [torch.randn(b, heads, c, d, dtype=torch.float64) for c in (n, m or n, m or n)]


@pytest.mark.parametrize("buckets", MAPS, ids=repr)
@pytest.mark.parametrize("heads", [None, 3])
@pytest.mark.parametrize(
    "on", [(False, True, False), (True, False, False), (False, False, True), (True, True, True)]
)
def test_attention_is_the_papers_sum(
    buckets: Buckets, heads: int | None, on: tuple[bool, bool, bool]
) -> None:
    module = IRPEContextual(
        5, heads=heads, buckets=buckets, on_queries=on[0], on_keys=on[1], on_values=on[2]
    )
    randomised(module)
    places, key_places = Places.of(2, 6), Places.of(4, 3)
    q, k, v = qkv(12)
    wanted = slowly(module, q, k, v, places, key_places)
    torch.testing.assert_close(module(q, k, v, places, key_places), wanted, rtol=0, atol=1e-10)
    scattered = key_places._replace(shape=None)  # the same keys, not known to be a lattice
    torch.testing.assert_close(module(q, k, v, places, scattered), wanted, rtol=0, atol=1e-10)


@pytest.mark.parametrize("buckets", MAPS, ids=repr)
@pytest.mark.parametrize("heads", [None, 3])
def test_the_bias_is_the_papers_table(buckets: Buckets, heads: int | None) -> None:
    module = IRPEBias(heads, buckets=buckets)
    randomised(module)
    places, key_places = Places.of(3, 5), Places.of(4, 2)
    wanted = vectors(module.table, buckets, places, key_places).expand(3, 15, 8)
    q, k, _ = qkv(15, 8)
    for keys in (key_places, key_places._replace(shape=None)):
        assert torch.equal(module.bias(q, k, places, keys, 0.5), wanted[None])
    wanted = vectors(module.table, buckets, places, places).expand(3, 15, 15)
    q, k, _ = qkv(15, 18)
    unplaced = places._replace(prefix=2, suffix=1)
    bias = module.bias(q, k, places, unplaced, 0.5)
    assert torch.equal(bias, torch.nn.functional.pad(wanted[None], (2, 1)))


@settings(deadline=None, max_examples=20, derandomize=True)
@given(
    h=st.integers(1, 14),
    w=st.integers(1, 14),
    n=st.integers(1, 9),
    which=st.integers(0, len(MAPS) - 1),
    prefix=st.integers(0, 2),
    suffix=st.integers(0, 2),
)
def test_lattices_points_and_samples_apart_agree_at_every_size(
    h: int, w: int, n: int, which: int, prefix: int, suffix: int
) -> None:
    module = IRPEContextual(5, buckets=MAPS[which], on_queries=True, on_values=True)
    randomised(module)
    keys = Places.of(h, w, prefix=prefix, suffix=suffix)
    places = Places.at(torch.randint(-9, 20, (2, n, 2)).float(), (h, w), prefix=suffix)
    q, k, v = qkv(places.tokens, keys.tokens)
    out = module(q, k, v, places, keys)
    points = module(q, k, v, places, keys._replace(shape=None))
    torch.testing.assert_close(points, out, rtol=0, atol=1e-10)
    for i in range(2):
        own = places._replace(positions=places.positions[i], extent=places.extent[i])
        alone = module(q[i : i + 1], k[i : i + 1], v[i : i + 1], own, keys)
        torch.testing.assert_close(alone, out[i : i + 1], rtol=0, atol=1e-10)


@pytest.mark.parametrize("buckets", MAPS, ids=repr)
def test_pairs_of_one_offset_have_one_bias_to_the_last_bit(buckets: Buckets) -> None:
    module = IRPEBias(2, buckets=buckets)
    randomised(module)
    q, k, _ = qkv(54, heads=2)
    bias = module.bias(q, k, *2 * (Places.of(6, 9),), 1.0)
    moved = Places.at(Places.of(6, 9).positions + torch.tensor([3.0, 70.0]), (90, 90))
    assert torch.equal(module.bias(q, k, moved, moved, 1.0), bias)
    assert not torch.equal(module.bias(q, k, moved, Places.of(6, 9), 1.0), bias)
    flat = bias.unflatten(-1, (6, 9)).unflatten(-3, (6, 9))  # 1 heads h w h w
    assert torch.equal(flat[:, :, 1:, 2:, 1:, 2:], flat[:, :, :-1, :-2, :-1, :-2])


def test_a_crop_and_a_flip_of_a_map_have_the_biases_of_the_map() -> None:
    module = IRPEBias(2)
    randomised(module)
    q, k, _ = qkv(54, heads=2)
    bias = module.bias(q, k, *2 * (Places.of(6, 9),), 1.0)[0].unflatten(-1, (6, 9))
    bias = bias.unflatten(-3, (6, 9))
    window = Places.of(3, 4, Frame.identity(6, 9).crop(2, 3, h=3, w=4))
    crop = module.bias(q[:, :, :12], k[:, :, :12], window, window, 1.0)[0]
    assert torch.equal(crop, bias[:, 2:5, 3:7, 2:5, 3:7].reshape(2, 12, 12))
    turned = Places.of(6, 9, Frame.identity(6, 9).hflip())
    flip = module.bias(q, k, turned, turned, 1.0)[0].unflatten(-1, (6, 9)).unflatten(-3, (6, 9))
    assert torch.equal(flip, bias.flip(2, 4))


def test_undirected_biases_are_symmetric_and_directed_ones_are_not() -> None:
    q, k, _ = qkv(35, heads=2)
    for buckets in MAPS:
        module = IRPEBias(2, buckets=buckets)
        randomised(module)
        bias = module.bias(q, k, *2 * (Places.of(5, 7),), 1.0)
        undirected = isinstance(buckets, EuclideanBuckets | QuantisedBuckets)
        assert torch.equal(bias, bias.mT) is undirected


def test_a_contextual_bias_depends_on_the_query_and_a_plain_one_does_not() -> None:
    contextual, plain = IRPEContextual(5), IRPEBias(3)
    randomised(contextual)
    randomised(plain)
    q, k, _ = qkv(12)
    both = 2 * (Places.of(3, 4),)
    assert torch.equal(plain.bias(q, k, *both, 1.0), plain.bias(-q, k, *both, 1.0))
    here, there = (contextual.bias(x, k, *both, 1.0) for x in (q, -q))
    assert here is not None
    assert there is not None
    torch.testing.assert_close(there, -here, rtol=0, atol=0)
    assert (here - there).abs().max() > 1


def test_cross_has_no_product_of_the_axes() -> None:
    q, k, _ = qkv(30, heads=2)
    for buckets, separate in ((CrossBuckets(**SMALL), True), (ProductBuckets(), False)):
        module = IRPEBias(2, buckets=buckets)
        randomised(module)
        table = module.bias(q, k, *2 * (Places.of(5, 6),), 1.0)[0, 0, 0].unflatten(-1, (5, 6))
        mixed = table - table[:1] - table[:, :1] + table[0, 0]
        assert bool((mixed.abs() < 1e-12).all()) is separate


def test_tokens_without_a_place_are_left_alone() -> None:
    module = IRPEContextual(5, on_queries=True, on_values=True)
    randomised(module)
    q, k, _ = qkv(15)
    places = Places.of(3, 4, prefix=2, suffix=1)
    bias = module.bias(q, k, places, places, 1.0)
    assert bias is not None
    bare = Places.of(3, 4)
    inner = module.bias(q[:, :, 2:14], k[:, :, 2:14], bare, bare, 1.0)
    torch.testing.assert_close(bias[:, :, 2:14, 2:14], inner, rtol=0, atol=1e-12)
    for outer in (bias[:, :, :2], bias[:, :, 14:], bias[..., :2], bias[..., 14:]):
        assert not outer.any()
    added = module.values(torch.rand(2, 3, 15, 15, dtype=torch.float64), places, places)
    assert added is not None
    assert not added[:, :, :2].any()
    assert not added[:, :, 14:].any()
    assert added[:, :, 2:14].all()


def test_clipped_buckets_make_shaws_encoding() -> None:
    shaw = Shaw(5, buckets=AxialClippedBuckets(clip=2))
    contextual = IRPEContextual(5, buckets=AxialClippedBuckets(clip=2), on_values=True)
    randomised(shaw)
    contextual.load_state_dict(shaw.state_dict())
    inputs = qkv(12)
    assert torch.equal(
        contextual.double()(*inputs, Places.of(3, 4)), shaw(*inputs, Places.of(3, 4))
    )


def test_they_start_as_plain_attention_and_every_table_learns_at_once() -> None:
    q, k, v = qkv(12)
    for module in (
        IRPEBias(3).double(),
        IRPEContextual(5, on_queries=True, on_values=True).double(),
    ):
        out = module(q, k, v, Places.of(3, 4))
        torch.testing.assert_close(out, attend(q, k, v, [], Places.of(3, 4)), rtol=0, atol=1e-12)
        out.square().sum().backward()
        assert all(p.grad is not None and p.grad.any() for p in module.parameters())


def test_shares_of_thousands_of_keys_are_summed_precisely_in_half_precision() -> None:
    module = IRPEContextual(1, on_keys=False, on_values=True).bfloat16()
    nn.init.ones_(module.value_table)  # type: ignore[arg-type]
    weights = torch.full((1, 1, 1, 4096), 1 / 4096, dtype=torch.bfloat16)
    added = module.values(weights, Places.of(1, 1), Places.of(64, 64))
    assert added is not None
    assert added.item() == 1  # in bfloat16, a sum of so many stops far below
    assert added.dtype == torch.bfloat16


def test_a_bias_has_the_queries_dtype_under_autocast_too() -> None:
    q, k, _ = (x.float() for x in qkv(12))
    places = Places.of(3, 4)
    for module in (IRPEBias(3), IRPEContextual(5, on_queries=True)):
        half = module.bias(q.bfloat16(), k.bfloat16(), places, places, 1.0)
        with torch.autocast("cpu", torch.bfloat16):
            full = module.bias(q, k, places, places, 1.0)
        assert half is not None
        assert full is not None
        assert (half.dtype, full.dtype) == (torch.bfloat16, torch.float32)


def test_samples_that_share_their_places_share_the_bias() -> None:
    q, k, _ = qkv(12, b=4)
    places = Places.of(3, 4)
    assert IRPEBias(3).double().bias(q, k, places, places, 1.0).shape == (1, 3, 12, 12)
    each = places._replace(positions=places.positions.expand(4, -1, -1), shape=None)
    assert IRPEBias(3).double().bias(q, k, each, each, 1.0).shape == (4, 3, 12, 12)


def test_their_reprs_are_the_calls_that_make_them() -> None:
    for module in (
        IRPEBias(2, buckets=EuclideanBuckets(alpha=2, beta=4, gamma=9)),
        IRPEBias(None),
        IRPEContextual(8, heads=2, buckets=CrossBuckets(), on_queries=True, on_keys=False),
    ):
        assert repr(eval(repr(module))) == repr(module)  # noqa: S307 - our own text


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: IRPEBias(0), "`heads` must be at least 1, but is 0."),
        (lambda: IRPEContextual(0), "`head_dim` must be at least 1, but is 0."),
        (lambda: IRPEContextual(8, heads=-1), "`heads` must be at least 1, but is -1."),
        (
            lambda: IRPEContextual(8, on_keys=False),
            "One of `on_queries`, `on_keys` and `on_values` must be true, but none is.",
        ),
    ],
)
def test_bad_input_is_refused_in_one_sentence(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the whole message is compared
        make()
    assert str(caught.value) == message
