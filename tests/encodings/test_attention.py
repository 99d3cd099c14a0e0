"""Attention with encodings gives what torch's own gives, whichever of the two is run."""

import itertools

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from visionpe import DecomposedBias, Places, RelativeBias, Shaw, attend
from visionpe.encodings.attention import forms_logits

B, HEADS, H, W, D = 2, 3, 3, 5, 8
PLACES = Places.of(H, W)


def masks(dtype: torch.dtype) -> dict[str, Tensor | None]:
    """With a query that sees no key, for every sample or for one."""
    row = torch.zeros(B, 1, H * W, H * W, dtype=torch.bool)
    row[1, :, 4] = True
    hidden = (torch.rand(B, 1, H * W, H * W) < 0.4) | row
    numbers = torch.randn(1, HEADS, H * W, H * W, dtype=dtype)
    keys = torch.tensor([[True], [False]]).expand(B, H * W)[:, None, None]  # one sees none at all
    return {
        "none": None,
        "boolean": ~hidden,
        "keys": keys,
        "numbers": numbers,
        "infinite": numbers.expand(B, -1, -1, -1).masked_fill(hidden, -torch.inf),
    }


@pytest.mark.parametrize("name", masks(torch.float32))
def test_a_learned_bias_gives_torchs_attention_and_its_gradients(name: str) -> None:
    mask = masks(torch.float64)[name]
    layer = RelativeBias(HEADS, (H, W), std=1.0).double()
    q, k, v = (torch.randn(B, HEADS, H * W, D).double().requires_grad_() for _ in range(3))
    bias = layer.bias(q, k, PLACES, PLACES, 0.3)
    assert forms_logits(q, bias)
    leaves = [q, k, v, layer.table]
    ours = attend(q, k, v, [layer], PLACES, mask=mask, scale=0.3)
    added = bias
    if mask is not None:
        added = bias.masked_fill(~mask, -torch.inf) if mask.dtype == torch.bool else bias + mask
    theirs = F.scaled_dot_product_attention(q, k, v, attn_mask=added, scale=0.3)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)
    outer = torch.randn_like(ours)
    found, wanted = (torch.autograd.grad(out, leaves, outer) for out in (ours, theirs))
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", masks(torch.float32))
def test_training_and_evaluation_agree(name: str) -> None:
    mask = masks(torch.float32)[name]
    layer = DecomposedBias(D, (H, W), std=1.0)
    q, k, v = torch.randn(3, B, HEADS, H * W, D)
    with torch.no_grad():
        still = layer(q, k, v, PLACES, mask=mask)
    torch.testing.assert_close(layer(q, k, v, PLACES, mask=mask), still, rtol=0, atol=1e-6)


def test_a_learned_mask_alone_is_formed_too() -> None:
    q, k, v = torch.randn(3, B, HEADS, H * W, D)
    mask = torch.randn(HEADS, H * W, H * W)[None].requires_grad_()
    theirs = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    torch.testing.assert_close(attend(q, k, v, [], PLACES, mask=mask), theirs, rtol=0, atol=1e-6)


def test_a_query_that_sees_no_key_gets_zeros_when_values_are_acted_on() -> None:
    layer = Shaw(D, std=1.0)
    q, k, v = torch.randn(3, B, HEADS, H * W, D)
    for name, mask in itertools.islice(masks(torch.float32).items(), 1, None):
        out = layer(q, k, v, PLACES, mask=mask)
        assert bool(out.isfinite().all())
        blind = {"boolean": (1, 4), "infinite": (1, 4), "keys": (1, slice(None))}.get(name)
        if blind is not None:
            sample, query = blind
            assert not out[sample, :, query].any()
        gradients = torch.autograd.grad(out.sum(), list(layer.parameters()))
        assert all(bool(gradient.isfinite().all()) for gradient in gradients)


def test_no_keys_at_all_give_zeros() -> None:
    layer = RelativeBias(HEADS, (H, W))
    q, k = torch.randn(B, HEADS, H * W, D), torch.randn(B, HEADS, 0, D)
    nowhere = Places.at(torch.zeros(0, 2), (H, W))
    seen = torch.ones(B, 1, H * W, 0, dtype=torch.bool)
    out = layer(q, k, k, PLACES, nowhere, mask=seen)
    assert out.shape == q.shape
    assert not out.any()


def test_dropout_drops_weights_and_keeps_their_mean() -> None:
    layer = RelativeBias(HEADS, (H, W), std=1.0)
    q, k, v = torch.randn(3, B, HEADS, H * W, D)
    torch.manual_seed(0)
    ours = attend(q, k, v, [layer], PLACES, dropout=0.4)
    bias = layer.bias(q, k, PLACES, PLACES, D**-0.5)
    torch.manual_seed(0)
    theirs = F.scaled_dot_product_attention(q, k, v, attn_mask=bias, dropout_p=0.4)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-6)
    assert not torch.allclose(ours, attend(q, k, v, [layer], PLACES))


def test_half_precision_in_training_is_that_of_torch() -> None:
    layer = RelativeBias(HEADS, (H, W), std=1.0)
    q, k, v = torch.randn(3, B, HEADS, H * W, D)
    exact = layer(q, k, v, PLACES)
    half = layer(q.bfloat16(), k.bfloat16(), v.bfloat16(), PLACES)
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(half.float(), exact, rtol=0, atol=0.05)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert layer(q, k, v, PLACES).dtype == torch.bfloat16


def test_values_of_another_width_are_refused_where_they_are_acted_on() -> None:
    q, v = torch.randn(1, 1, H * W, D), torch.randn(1, 1, H * W, 5)
    assert Shaw(D, on_values=False)(q, q, v, PLACES).shape == v.shape
    with pytest.raises(ValueError, match="`v` must have the head width 8") as refused:
        Shaw(D)(q, q, v, PLACES)
    assert str(refused.value) == (
        "`v` must have the head width 8 that Shaw is made for, as it acts on values, but has 5."
    )
