import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from visionpe import AxialClippedBuckets, ClippedBuckets, Frame, Places, Shaw, attend
from visionpe.encodings.offset_buckets import Buckets

MAPS: list[Buckets] = [ClippedBuckets(clip=2), AxialClippedBuckets(clip=3)]


def randomised(module: Shaw) -> Shaw:
    for parameter in module.parameters():
        nn.init.normal_(parameter)
    return module.double()


def clip(x: float, k: int) -> int:
    return int(max(-k, min(k, x)))


def vector(table: Tensor, buckets: Buckets, dy: float, dx: float) -> Tensor:
    """`a` for the offset `(dy, dx)` of the key from the query: heads d."""
    if isinstance(buckets, ClippedBuckets):
        k = buckets.clip
        return table[:, (clip(dy, k) + k) * (2 * k + 1) + clip(dx, k) + k]
    assert isinstance(buckets, AxialClippedBuckets)
    k = buckets.clip
    return table[:, clip(dy, k) + k] + table[:, 2 * k + 1 + clip(dx, k) + k]


def slowly(
    module: Shaw, q: Tensor, k: Tensor, v: Tensor, places: Places, key_places: Places
) -> Tensor:
    """Equations 3 and 4 of the paper, one pair of tokens at a time."""
    n, m, d = q.shape[-2], k.shape[-2], q.shape[-1]
    logits, added = torch.zeros(*q.shape[:-1], m), torch.zeros(*q.shape[:-1], m, d)
    logits, added = logits.double(), added.double()
    for i in range(n):
        for j in range(m):
            dy, dx = (key_places.positions[j] - places.positions[i]).tolist()
            keys = vector(module.key_table, module.buckets, dy, dx)
            logits[..., i, j] = (q[..., i, :] * (k[..., j, :] + keys)).sum(-1) / math.sqrt(d)
            if module.value_table is not None:
                added[..., i, j, :] = vector(module.value_table, module.buckets, dy, dx)
    weights = logits.softmax(-1)
    return (weights[..., None] * (v[..., None, :, :] + added)).sum(-2)


def qkv(n: int, m: int | None = None, b: int = 2, heads: int = 3, d: int = 5) -> list[Tensor]:
    return [torch.randn(b, heads, c, d, dtype=torch.float64) for c in (n, m or n, m or n)]


@pytest.mark.parametrize("buckets", MAPS, ids=repr)
@pytest.mark.parametrize("heads", [None, 3])
@pytest.mark.parametrize("on_values", [True, False])
def test_attention_is_the_papers_sum(buckets: Buckets, heads: int | None, on_values: bool) -> None:
    module = randomised(Shaw(5, heads=heads, buckets=buckets, on_values=on_values))
    places, key_places = Places.of(2, 7), Places.of(5, 3)
    q, k, v = qkv(14, 15)
    wanted = slowly(module, q, k, v, places, key_places)
    torch.testing.assert_close(module(q, k, v, places, key_places), wanted, rtol=0, atol=1e-10)
    scattered = key_places._replace(shape=None)
    torch.testing.assert_close(module(q, k, v, places, scattered), wanted, rtol=0, atol=1e-10)


def test_on_a_line_the_vectors_are_the_papers_in_their_order() -> None:
    module = Shaw(1, buckets=ClippedBuckets(clip=2), on_values=False).double()
    with torch.no_grad():  # w_-2 .. w_2 of key minus query, in the middle row of row offsets
        module.key_table[0, 10:15, 0] = torch.arange(-2.0, 3.0)
    q = torch.ones(1, 1, 6, 1, dtype=torch.float64)
    bias = module.bias(q, q, *2 * (Places.of(1, 6),), 1.0)[0, 0]
    apart = torch.arange(6)[None] - torch.arange(6)[:, None]
    assert torch.equal(bias, apart.clamp(-2, 2).double())


@pytest.mark.parametrize("buckets", MAPS, ids=repr)
def test_the_vector_of_the_last_offset_serves_all_beyond_and_no_nearer_one(
    buckets: Buckets,
) -> None:
    module = randomised(Shaw(5, buckets=buckets))
    last = buckets.clip  # type: ignore[attr-defined]
    q = qkv(1)[0]
    one = Places.of(1, 1)

    def at(y: int, x: int) -> Tensor:
        return module.bias(q, q, one, Places.at(torch.tensor([[y, x]]).float(), (99, 99)), 1.0)

    for sign in (-1, 1):
        edge = at(sign * last, 1)
        assert torch.equal(at(sign * (last + 1), 1), edge)
        assert torch.equal(at(sign * 65_536, 1), edge)
        assert not torch.equal(at(sign * (last - 1), 1), edge)
        assert not torch.equal(at(1, sign * last), at(1, sign * (last - 1)))
        assert not torch.equal(at(-sign * last, 1), edge)


@settings(deadline=None, max_examples=25, derandomize=True)
@given(
    h=st.integers(1, 12),
    w=st.integers(1, 12),
    clip=st.integers(1, 9),
    axial=st.booleans(),
    prefix=st.integers(0, 2),
)
def test_pairs_of_one_offset_get_one_bias_from_one_query(
    h: int, w: int, clip: int, axial: bool, prefix: int
) -> None:
    buckets = AxialClippedBuckets(clip=clip) if axial else ClippedBuckets(clip=clip)
    module = randomised(Shaw(5, buckets=buckets))
    q = torch.randn(1, 2, 1, 5, dtype=torch.float64).expand(-1, -1, h * w + prefix, -1)
    places = Places.of(h, w, prefix=prefix)
    bias = module.bias(q, q, places, places, 1.0)
    assert not bias[:, :, :prefix].any()
    assert not bias[..., :prefix].any()
    bias = bias[:, :, prefix:, prefix:].unflatten(-1, (h, w)).unflatten(-3, (h, w))
    torch.testing.assert_close(
        bias[:, :, 1:, 1:, 1:, 1:], bias[:, :, :-1, :-1, :-1, :-1], rtol=0, atol=1e-12
    )


def test_a_shift_of_all_places_changes_nothing_and_of_the_keys_alone_does() -> None:
    module = randomised(Shaw(5))
    inputs = qkv(28)
    here = Places.of(4, 7)
    moved = Places.at(here.positions + torch.tensor([11.0, 2.0]), (40, 40))
    out = module(*inputs, here, here)
    torch.testing.assert_close(module(*inputs, moved, moved), out, rtol=0, atol=1e-12)
    assert (module(*inputs, here, moved) - out).abs().max() > 0.01


def test_a_tile_of_an_image_has_the_biases_it_has_in_the_image() -> None:
    module = randomised(Shaw(5))
    q = qkv(48)[0]
    bias = module.bias(q, q, *2 * (Places.of(6, 8),), 1.0)
    tile = Places.of(3, 4, Frame.identity(6, 8).crop(3, 4, h=3, w=4))
    inside = (torch.arange(48).view(6, 8)[3:, 4:]).flatten()
    own = module.bias(q[:, :, inside], q[:, :, inside], tile, tile, 1.0)
    torch.testing.assert_close(own, bias[:, :, inside][..., inside], rtol=0, atol=1e-12)


def test_the_bias_scales_with_the_query_and_ignores_the_keys() -> None:
    module = randomised(Shaw(5))
    q, k, _ = qkv(12)
    both = 2 * (Places.of(3, 4),)
    bias = module.bias(q, k, *both, 0.25)
    torch.testing.assert_close(module.bias(3 * q, -k, *both, 0.25), 3 * bias, rtol=0, atol=1e-12)
    torch.testing.assert_close(module.bias(q, k, *both, 0.5), 2 * bias, rtol=0, atol=1e-12)


def test_swapping_rows_and_columns_is_not_the_same() -> None:
    for buckets in MAPS:
        module = randomised(Shaw(5, buckets=buckets))
        q = torch.randn(1, 1, 1, 5, dtype=torch.float64).expand(1, 1, 12, 5)
        tall = module.bias(q, q, *2 * (Places.of(4, 3),), 1.0).unflatten(-1, (4, 3))
        wide = module.bias(q, q, *2 * (Places.of(3, 4),), 1.0).unflatten(-1, (3, 4))
        assert (tall[0, 0, 0] - wide[0, 0, 0].mT).abs().max() > 0.1


def test_it_starts_as_plain_attention_and_all_tables_learn_at_once() -> None:
    q, k, v = qkv(12)
    module = Shaw(5).double()
    out = module(q, k, v, Places.of(3, 4))
    torch.testing.assert_close(out, attend(q, k, v, [], Places.of(3, 4)), rtol=0, atol=1e-12)
    out.square().sum().backward()
    assert all(p.grad is not None and p.grad.any() for p in module.parameters())
    started = Shaw(64, heads=4, std=0.02)
    assert 0.015 < float(started.key_table.detach().std()) < 0.02
    assert float(started.key_table.detach().abs().max()) <= 0.04


@pytest.mark.parametrize(("dtype", "bound"), [(torch.bfloat16, 0.03), (torch.float16, 0.004)])
def test_half_precision_is_close_to_double(dtype: torch.dtype, bound: float) -> None:
    module = randomised(Shaw(16))
    q, k, v = (x.to(dtype) for x in qkv(63, d=16))
    wanted = module(q.double(), k.double(), v.double(), Places.of(7, 9))
    half = module.to(dtype)(q, k, v, Places.of(7, 9))
    assert half.dtype == dtype
    assert (half.double() - wanted).abs().max() / wanted.abs().max() < bound


def test_no_intermediate_is_as_large_as_a_vector_for_each_pair() -> None:
    module = Shaw(32)
    largest = 0

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
            nonlocal largest
            out = func(*args, **(kwargs or {}))
            for part in out if isinstance(out, tuple | list) else (out,):
                if isinstance(part, Tensor):
                    largest = max(largest, part.untyped_storage().size() // part.element_size())
            return out

    x = torch.randn(1, 2, 196, 32, requires_grad=True)
    with Watch():  # type: ignore[no-untyped-call]
        module(x, x, x, Places.of(14, 14)).sum().backward()
    assert largest == 2 * 196 * 196  # the logits; vectors for each pair are 32 times as many


def test_its_repr_is_the_call_that_makes_it() -> None:
    for module in (Shaw(8), Shaw(8, heads=2, buckets=MAPS[1], on_values=False, std=0.1)):
        assert repr(eval(repr(module))) == repr(module)  # noqa: S307 - our own text


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Shaw(0), "`head_dim` must be at least 1, but is 0."),
        (lambda: Shaw(8, heads=0), "`heads` must be at least 1, but is 0."),
        (lambda: Shaw(8, std=-1.0), "`std` must be at least 0, but is -1.0."),
        (lambda: ClippedBuckets(clip=0), "`clip` must be at least 1, but is 0."),
        (lambda: AxialClippedBuckets(clip=-2), "`clip` must be at least 1, but is -2."),
        (
            lambda: Shaw(8, heads=2)(*qkv(12, d=8), Places.of(3, 4)),
            "`q` must have the 2 heads that Shaw is made for, but has 3.",
        ),
        (
            lambda: Shaw(8)(*qkv(12), Places.of(3, 4)),
            "`q` must have the head width 8 that Shaw is made for, but has 5.",
        ),
    ],
)
def test_bad_input_is_refused_in_one_sentence(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the whole message is compared
        make()
    assert str(caught.value) == message
