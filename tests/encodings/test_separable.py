import re
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from timm.layers.pos_embed_rel import RelPosBias
from torch import Tensor

from visionpe import AxisBias, Frame, Places, attend, resize_relative_axis


def bias_of(layer: AxisBias, places: Places, key_places: Places | None = None) -> Tensor:
    keys = places if key_places is None else key_places
    batch = max(part.positions.shape[:-2].numel() for part in (places, keys))
    q, k = (torch.zeros(batch, layer.heads or 1, part.tokens, 4) for part in (places, keys))
    return layer.bias(q, k, places, keys, 0.5)


@pytest.mark.parametrize("window", [(4, 4), (3, 5), (8, 2)])
def test_it_is_timms_table_of_the_sums(window: tuple[int, int]) -> None:
    layer = AxisBias(3, window, std=1.0)
    theirs = RelPosBias(window, 3)
    table = layer.rows[:, :, None] + layer.columns[:, None, :]
    theirs.load_state_dict({"relative_position_bias_table": table.flatten(1).mT})
    assert torch.equal(bias_of(layer, Places.of(*window)), theirs.get_bias())


@given(
    h=st.integers(1, 9),
    w=st.integers(1, 9),
    kh=st.integers(1, 9),
    kw=st.integers(1, 9),
    ends=st.tuples(*[st.integers(0, 2)] * 4),
)
@settings(deadline=None, max_examples=25, derandomize=True)
def test_it_is_the_formula_for_any_sizes_of_lattices_and_for_points(
    h: int, w: int, kh: int, kw: int, ends: tuple[int, ...]
) -> None:
    window = (max(h, kh) + 1, max(w, kw))
    layer = AxisBias(2, window, std=1.0)
    q = Places.of(h, w, prefix=ends[0], suffix=ends[1])
    k = Places.of(kh, kw, prefix=ends[2], suffix=ends[3])
    wanted = torch.zeros(2, q.tokens, k.tokens)
    for i in range(h * w):
        for j in range(kh * kw):
            dy, dx = i // w - j // kw, i % w - j % kw
            both = layer.rows[:, dy + window[0] - 1] + layer.columns[:, dx + window[1] - 1]
            wanted[:, ends[0] + i, ends[2] + j] = both.detach()
    assert torch.equal(bias_of(layer, q, k)[0], wanted)
    points = (q._replace(shape=None), k._replace(shape=None))
    assert torch.equal(bias_of(layer, *points)[0], wanted)


def test_rows_and_columns_do_not_interact_and_the_bias_is_no_constant() -> None:
    layer = AxisBias(1, (4, 6), std=1.0).double()
    q = torch.zeros(1, 1, 24, 4, dtype=torch.float64)
    places = Places.of(4, 6)
    bias = layer.bias(q, q, places, places, 0.5)[0, 0]
    first = bias[0].unflatten(0, (4, 6))  # of the first cell to all others
    mixed = first[1:, 1:] - first[1:, :1] - first[:1, 1:] + first[:1, :1]
    torch.testing.assert_close(mixed, torch.zeros_like(mixed), rtol=0, atol=1e-10)
    assert first.std() > 0.1
    assert not torch.equal(bias, bias.mT)


def test_a_constant_can_move_from_one_table_to_the_other() -> None:
    layer = AxisBias(2, (4, 6), std=1.0)
    before = bias_of(layer, Places.of(3, 5))
    with torch.no_grad():
        layer.rows.add_(1)
        layer.columns.sub_(1)
    torch.testing.assert_close(bias_of(layer, Places.of(3, 5)), before)


def test_crops_have_the_bias_of_the_image_and_flips_its_flipped_bias() -> None:
    layer = AxisBias(2, (6, 8), std=1.0)
    whole = bias_of(layer, Places.of(6, 8)).unflatten(3, (6, 8)).unflatten(2, (6, 8))
    image = Frame.identity(12, 16)
    crop = bias_of(layer, Places.of(3, 5, image.crop(1, 3, h=6, w=10)))
    assert torch.equal(crop, whole[:, :, :3, :5, :3, :5].flatten(4).flatten(2, 3))
    flipped = bias_of(layer, Places.of(6, 8, image.vflip()))
    assert torch.equal(flipped, whole.flip(2, 4).flatten(4).flatten(2, 3))
    assert not torch.equal(flipped, bias_of(layer, Places.of(6, 8)))


def test_it_starts_as_plain_attention() -> None:
    q, k, v = torch.randn(3, 2, 2, 17, 8)
    places = Places.of(3, 5, prefix=2)
    out = AxisBias(2, (3, 5))(q, k, v, places)
    torch.testing.assert_close(out, attend(q, k, v, [], places), rtol=0, atol=1e-6)


def test_samples_with_places_of_their_own_have_a_bias_of_their_own() -> None:
    layer = AxisBias(2, (9, 9), std=1.0)
    points = torch.randint(0, 9, (3, 6, 2)).float()
    many = bias_of(layer, Places.at(points, (9, 9), prefix=1))
    assert many.shape == (3, 2, 7, 7)
    for i in range(3):
        assert torch.equal(many[i : i + 1], bias_of(layer, Places.at(points[i], (9, 9), prefix=1)))


def test_tables_of_another_window_are_refused_in_one_message_that_helps() -> None:
    old, new = AxisBias(2, (3, 5), std=1.0), AxisBias(2, (4, 7))
    state = old.state_dict()
    with pytest.raises(RuntimeError) as caught:
        new.load_state_dict(state)
    wrong = (
        "`{}` must have shape (2, {}), but has shape (2, {}). If it was made for another window, "
        "resize it before loading: resize_relative_axis({}.mT, {}, {}).mT."
    )
    assert str(caught.value) == "\n\t".join(
        [
            "Error(s) in loading state_dict for AxisBias:",
            wrong.format("rows", 7, 5, "rows", "old_h", 4),
            wrong.format("columns", 13, 9, "columns", "old_w", 7),
        ]
    )
    state["rows"] = resize_relative_axis(state["rows"].mT, 3, 4).mT
    state["columns"] = resize_relative_axis(state["columns"].mT, 5, 7).mT
    new.load_state_dict(state)


def test_its_repr_is_the_call_that_makes_it() -> None:
    layer = AxisBias(2, (3, 5), std=0.02)
    assert repr(layer) == "AxisBias(2, (3, 5), std=0.02)"
    assert repr(eval(repr(layer))) == repr(layer)  # noqa: S307 - our own text


TOO_SMALL = (
    "`window` must be at least {} for these places, but is {}. Resize both tables: "
    "resize_relative_axis(table.mT, old, new).mT, from {} to {}."
)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: AxisBias(0, (2, 3)), "`heads` must be at least 1, but is 0."),
        (
            lambda: AxisBias(1, (2, 0)),
            "`window` must be (h, w), at least 1 cell each, but is (2, 0).",
        ),
        (lambda: AxisBias(1, (2, 3), std=-1), "`std` must be at least 0, but is -1."),
        (
            lambda: bias_of(AxisBias(1, (3, 9)), Places.of(5, 7)),
            TOO_SMALL.format((5, 7), (3, 9), (3, 9), (5, 9)),
        ),
    ],
)
def test_bad_input_is_refused_in_one_sentence(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message) + "$"):
        make()
