import re
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import LargestTensor
from timm.models.mvitv2 import cal_rel_pos_type
from timm.models.vision_transformer_sam import get_decomposed_rel_pos_bias
from torch import Tensor

from visionpe import DecomposedBias, Frame, Places, attend, decomposed_bias, resize_relative_axis


def bias_of(
    layer: DecomposedBias, q: Tensor, places: Places, key_places: Places | None = None
) -> Tensor:
    keys = places if key_places is None else key_places
    k = q.new_zeros(*q.shape[:2], keys.tokens, q.shape[-1])
    return layer.bias(q, k, places, keys, 0.5)


@pytest.mark.parametrize("window", [(7, 7), (4, 4), (3, 5), (8, 2)])
def test_it_is_sams_with_the_query_unscaled(window: tuple[int, int]) -> None:
    layer = DecomposedBias(6, window, std=1.0).double()
    q = torch.randn(2, 3, window[0] * window[1], 6, dtype=torch.float64)
    theirs = get_decomposed_rel_pos_bias(
        q.flatten(0, 1), layer.rows, layer.columns, window, window
    ).unflatten(0, (2, 3))
    ours = bias_of(layer, q, Places.of(*window))
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-10)
    points = Places.of(*window)._replace(shape=None)
    torch.testing.assert_close(bias_of(layer, q, points), theirs, rtol=0, atol=1e-10)
    assert (ours - 6**-0.5 * theirs).abs().max() > 0.1


@pytest.mark.parametrize("lattices", [True, False])
def test_keys_pooled_by_two_have_mvits_offsets(lattices: bool) -> None:
    layer = DecomposedBias(6, (6, 10), std=1.0)
    q = torch.randn(2, 3, 61, 6)
    theirs = cal_rel_pos_type(
        torch.zeros(2, 3, 61, 16), q, True, [6, 10], [3, 5], layer.rows, layer.columns
    )
    places, pooled = Places.of(6, 10, prefix=1), Places.of(3, 5, cells=(6, 10), prefix=1)
    if not lattices:
        places, pooled = places._replace(shape=None), pooled._replace(shape=None)
    ours = bias_of(layer, q, places, pooled)
    torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-6)


@given(
    h=st.integers(1, 7),
    w=st.integers(1, 7),
    kh=st.integers(1, 7),
    kw=st.integers(1, 7),
    ends=st.tuples(*[st.integers(0, 2)] * 4),
)
@settings(deadline=None, max_examples=25, derandomize=True)
def test_it_is_the_formula_for_any_sizes_of_lattices_and_for_points(
    h: int, w: int, kh: int, kw: int, ends: tuple[int, ...]
) -> None:
    window = (max(h, kh) + 1, max(w, kw))
    layer = DecomposedBias(5, window, std=1.0).double()
    q_at = Places.of(h, w, prefix=ends[0], suffix=ends[1])
    k_at = Places.of(kh, kw, prefix=ends[2], suffix=ends[3])
    q = torch.randn(2, 3, q_at.tokens, 5, dtype=torch.float64)
    wanted = torch.zeros(2, 3, q_at.tokens, k_at.tokens, dtype=torch.float64)
    for i in range(h * w):
        for j in range(kh * kw):
            dy, dx = i // w - j // kw, i % w - j % kw
            both = layer.rows[dy + window[0] - 1] + layer.columns[dx + window[1] - 1]
            wanted[..., ends[0] + i, ends[2] + j] = q[:, :, ends[0] + i] @ both.detach()
    torch.testing.assert_close(bias_of(layer, q, q_at, k_at), wanted, rtol=0, atol=1e-10)
    points = (q_at._replace(shape=None), k_at._replace(shape=None))
    torch.testing.assert_close(bias_of(layer, q, *points), wanted, rtol=0, atol=1e-10)


def test_it_is_linear_in_the_query_and_so_not_one_bias_for_all_samples() -> None:
    layer = DecomposedBias(8, (3, 5), std=1.0).double()
    places = Places.of(3, 5)
    a, b = torch.randn(2, 2, 3, 15, 8, dtype=torch.float64)
    both = bias_of(layer, 2 * a - b, places)
    torch.testing.assert_close(
        both, 2 * bias_of(layer, a, places) - bias_of(layer, b, places), rtol=0, atol=1e-10
    )
    assert (both[0] - both[1]).abs().max() > 0.1
    assert not bias_of(layer, 0 * a, places).any()


def test_for_one_query_everywhere_it_depends_on_offsets_and_not_on_places() -> None:
    layer = DecomposedBias(8, (6, 8), std=1.0)
    q = torch.randn(1, 2, 1, 8)
    whole = bias_of(layer, q.expand(-1, -1, 48, -1), Places.of(6, 8))
    whole = whole.unflatten(3, (6, 8)).unflatten(2, (6, 8))
    frame = Frame.identity(12, 16).crop(1, 3, h=6, w=10)
    crop = bias_of(layer, q.expand(-1, -1, 15, -1), Places.of(3, 5, frame))
    wanted = whole[:, :, :3, :5, :3, :5].flatten(4).flatten(2, 3)
    torch.testing.assert_close(crop, wanted, rtol=0, atol=1e-6)
    other = bias_of(layer, torch.randn(1, 2, 15, 8), Places.of(3, 5))
    assert (other - wanted).abs().max() > 0.1


def test_samples_with_places_of_their_own_have_a_bias_of_their_own() -> None:
    layer = DecomposedBias(8, (9, 9), std=1.0)
    points = torch.randint(0, 9, (3, 6, 2)).float()
    q = torch.randn(3, 2, 7, 8)
    many = bias_of(layer, q, Places.at(points, (9, 9), prefix=1))
    for i in range(3):
        one = bias_of(layer, q[i : i + 1], Places.at(points[i], (9, 9), prefix=1))
        torch.testing.assert_close(many[i : i + 1], one, rtol=0, atol=1e-6)


def test_it_starts_as_plain_attention_and_learns_from_there() -> None:
    q, k, v = torch.randn(3, 2, 2, 17, 8)
    places = Places.of(3, 5, prefix=2)
    layer = DecomposedBias(8, (4, 5))
    out = layer(q, k, v, places)
    torch.testing.assert_close(out, attend(q, k, v, [], places), rtol=0, atol=1e-6)
    out.square().sum().backward()
    for table in layer.parameters():
        assert table.grad is not None
        assert table.grad.abs().max() > 1e-4


def test_the_bias_is_the_querys_dtype_under_autocast_too() -> None:
    layer = DecomposedBias(8, (3, 5), std=1.0)
    for dtype in (torch.float32, torch.bfloat16):
        q = torch.randn(1, 2, 15, 8).to(dtype)
        with torch.autocast("cpu", torch.bfloat16):
            assert bias_of(layer, q, Places.of(3, 5)).dtype == dtype


def test_no_tensor_holds_a_vector_for_every_pair() -> None:
    layer = DecomposedBias(32, (6, 10), std=1.0)
    q = torch.randn(1, 2, 60, 32)
    for places in (Places.of(6, 10), Places.of(6, 10)._replace(shape=None)):
        with LargestTensor() as seen:
            bias_of(layer, q, places).sum().backward()
        assert seen.numbers == 2 * 60 * 60


def test_tables_of_another_window_are_refused_in_one_message_that_helps() -> None:
    old, new = DecomposedBias(8, (3, 5), std=1.0), DecomposedBias(8, (4, 5))
    state = old.state_dict()
    with pytest.raises(RuntimeError) as caught:
        new.load_state_dict(state)
    assert str(caught.value) == (
        "Error(s) in loading state_dict for DecomposedBias:\n\t"
        "`rows` must have shape (7, 8), but has shape (5, 8). If it was made for another window, "
        "resize it before loading: resize_relative_axis(rows, old_h, 4)."
    )
    state["rows"] = resize_relative_axis(state["rows"], 3, 4)
    new.load_state_dict(state)


def test_its_repr_is_the_call_that_makes_it() -> None:
    layer = DecomposedBias(16, (3, 5), std=0.02)
    assert repr(layer) == "DecomposedBias(16, (3, 5), std=0.02)"
    assert repr(eval(repr(layer))) == repr(layer)  # noqa: S307 - our own text


TOO_SMALL = (
    "`window` must be at least {} for these places, but is {}. Resize both tables: "
    "resize_relative_axis(table, old, new), from {} to {}."
)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: DecomposedBias(0, (2, 3)), "`head_dim` must be at least 1, but is 0."),
        (
            lambda: DecomposedBias(4, (2, 0)),
            "`window` must be (h, w), at least 1 cell each, but is (2, 0).",
        ),
        (lambda: DecomposedBias(4, (2, 3), std=-1), "`std` must be at least 0, but is -1."),
        (
            lambda: bias_of(DecomposedBias(4, (3, 9)), torch.zeros(1, 1, 35, 4), Places.of(5, 7)),
            TOO_SMALL.format((5, 7), (3, 9), (3, 9), (5, 9)),
        ),
        (
            lambda: decomposed_bias(
                torch.zeros(1, 1, 8, 4),
                torch.zeros(3, 4),
                torch.zeros(3, 4),
                Places.of(2, 4),
                Places.of(2, 4),
            ),
            TOO_SMALL.format((2, 4), (2, 2), (2, 2), (2, 4)),
        ),
    ],
)
def test_bad_input_is_refused_in_one_sentence(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message) + "$"):
        make()
