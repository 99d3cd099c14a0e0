import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from timm.layers import RotaryEmbeddingCat, apply_rot_embed_cat
from torch import Tensor, nn

from visionpe import AttentionEncoding, Places, Rotary, half_to_interleaved, interleaved_to_half


def attention(
    x: Tensor, qkv: nn.Linear, heads: int, encoding: AttentionEncoding, places: Places
) -> Tensor:
    q, k, v = qkv(x).unflatten(-1, (3, heads, -1)).permute(2, 0, 3, 1, 4)
    out: Tensor = encoding(q, k, v, places)
    return out


def test_attention_is_unchanged_when_weights_and_layout_are_converted_together() -> None:
    heads, width = 3, 24
    x, places = torch.randn(2, 20, width).double(), Places.of(4, 5)
    qkv = nn.Linear(width, 3 * width).double()
    before = attention(x, qkv, heads, Rotary(layout="half"), places)
    with torch.no_grad():
        for rows in (qkv.weight, qkv.bias):
            q, k, v = rows.chunk(3)
            q, k = half_to_interleaved(q, heads), half_to_interleaved(k, heads)
            rows.copy_(torch.cat([q, k, v]))
    after = attention(x, qkv, heads, Rotary(layout="interleaved"), places)
    torch.testing.assert_close(after, before, rtol=0, atol=1e-12)
    wrong = attention(x, qkv, heads, Rotary(layout="half"), places)
    assert (wrong - before).abs().max() > 1e-3  # a conversion without the other is seen


def test_timms_half_rotation_is_ours_on_converted_channels() -> None:
    rope = RotaryEmbeddingCat(16, temperature=100.0, in_pixels=False, rotate_half=True)
    x, places = torch.randn(2, 3, 20, 16), Places.of(4, 5)
    theirs = apply_rot_embed_cat(x, rope.get_embed([4, 5]), half=True)
    channels = half_to_interleaved(torch.arange(16), heads=1)
    ours = Rotary(order="yx").rotate(x[..., channels], x[..., channels], places, places)[0]
    torch.testing.assert_close(ours, theirs[..., channels], rtol=0, atol=1e-6)


@settings(deadline=None, max_examples=40, derandomize=True)
@given(heads=st.integers(1, 8), pairs=st.integers(1, 33), columns=st.integers(1, 5))
def test_the_conversions_undo_each_other(heads: int, pairs: int, columns: int) -> None:
    for rows in (torch.randn(2 * heads * pairs, columns), torch.randn(2 * heads * pairs)):
        assert torch.equal(interleaved_to_half(half_to_interleaved(rows, heads), heads), rows)
        assert torch.equal(half_to_interleaved(interleaved_to_half(rows, heads), heads), rows)


def test_pairs_stay_in_their_heads() -> None:
    rows = half_to_interleaved(torch.arange(24), heads=2)
    assert rows[:12].tolist() == [0, 6, 1, 7, 2, 8, 3, 9, 4, 10, 5, 11]
    assert (rows[12:] - 12).tolist() == rows[:12].tolist()


@pytest.mark.parametrize("function", [half_to_interleaved, interleaved_to_half])
def test_rows_that_are_no_pairs_are_refused(function: object) -> None:
    assert callable(function)
    message = (
        "`rows` must be a multiple of 2 * 4 (pairs of channels in each of the heads), "
        "but has shape (12, 3)."
    )
    with pytest.raises(ValueError, match="rows") as caught:
        function(torch.zeros(12, 3), 4)
    assert str(caught.value) == message
    with pytest.raises(ValueError, match="heads") as caught:
        function(torch.zeros(12, 3), 0)
    assert str(caught.value) == "`heads` must be at least 1, but is 0."
