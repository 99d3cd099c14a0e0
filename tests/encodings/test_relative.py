import re
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from timm.layers.pos_embed_rel import RelPosBias, gen_relative_position_index
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torchvision.models.swin_transformer import ShiftedWindowAttention

from visionpe import Frame, Places, RelativeBias, attend, relative_bias, relative_index

WINDOWS = [(7, 7), (4, 4), (3, 5), (8, 2)]


def bias_of(layer: RelativeBias, places: Places, key_places: Places | None = None) -> Tensor:
    keys = places if key_places is None else key_places
    assert layer.heads is not None
    batch = max(part.positions.shape[:-2].numel() for part in (places, keys))
    q, k = (torch.zeros(batch, layer.heads, part.tokens, 4) for part in (places, keys))
    return layer.bias(q, k, places, keys, 0.5)


@pytest.mark.parametrize("window", WINDOWS)
def test_its_index_is_timms_and_torchvisions(window: tuple[int, int]) -> None:
    places = Places.of(*window)
    index = relative_index(places, places, window)
    assert torch.equal(index, gen_relative_position_index(window))
    theirs = ShiftedWindowAttention(8, list(window), [0, 0], 2).relative_position_index
    assert torch.equal(index.flatten(), theirs)


@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize("prefix", [0, 1])
def test_its_bias_is_timms_and_beits(window: tuple[int, int], prefix: int) -> None:
    theirs = RelPosBias(window, 3, prefix_tokens=prefix)
    layer = RelativeBias(3, window, prefix_bias=prefix > 0)
    layer.load_state_dict({"table": theirs.relative_position_bias_table.detach().mT})
    assert torch.equal(bias_of(layer, Places.of(*window, prefix=prefix)), theirs.get_bias())


def test_its_bias_is_torchvisions() -> None:
    theirs = ShiftedWindowAttention(8, [3, 5], [0, 0], 2)
    layer = RelativeBias(2, (3, 5))
    layer.load_state_dict({"table": theirs.relative_position_bias_table.detach().mT})
    assert torch.equal(bias_of(layer, Places.of(3, 5)), theirs.get_relative_position_bias())


def test_pairs_of_one_offset_have_one_bias_and_others_another() -> None:
    places = Places.of(4, 6)
    bias = bias_of(RelativeBias(2, (4, 6), std=1.0), places)[0, 0].detach()
    found: dict[tuple[float, ...], float] = {}
    for i, p in enumerate(places.positions):
        for j, o in enumerate(places.positions):
            offset = tuple((p - o).tolist())
            assert found.setdefault(offset, float(bias[i, j])) == float(bias[i, j])
    assert len(set(found.values())) == 7 * 11


def test_it_is_not_symmetric_nor_the_same_after_swapping_the_axes() -> None:
    layer = RelativeBias(2, (5, 5), std=1.0)
    bias = bias_of(layer, Places.of(3, 5))
    assert not torch.allclose(bias, bias.mT)
    swapped = bias_of(layer, Places.of(5, 3)).unflatten(3, (5, 3)).unflatten(2, (5, 3))
    assert not torch.allclose(swapped.permute(0, 1, 3, 2, 5, 4).flatten(4).flatten(2, 3), bias)


@given(
    h=st.integers(1, 9),
    w=st.integers(1, 9),
    kh=st.integers(1, 9),
    kw=st.integers(1, 9),
    ends=st.tuples(*[st.integers(0, 2)] * 4),
    prefix_bias=st.booleans(),
)
@settings(deadline=None, max_examples=25, derandomize=True)
def test_it_is_the_formula_for_any_sizes(
    h: int, w: int, kh: int, kw: int, ends: tuple[int, ...], prefix_bias: bool
) -> None:
    window = (max(h, kh), max(w, kw) + 1)
    layer = RelativeBias(2, window, prefix_bias=prefix_bias, std=1.0)
    q = Places.of(h, w, prefix=ends[0], suffix=ends[1])
    k = Places.of(kh, kw, prefix=ends[2], suffix=ends[3])
    bias = bias_of(layer, q, k)
    assert bias.shape == (1, 2, q.tokens, k.tokens)
    span = 2 * window[1] - 1
    last = (2 * window[0] - 1) * span
    wanted = torch.zeros(2, q.tokens, k.tokens)
    for i in range(q.tokens):
        for j in range(k.tokens):
            a, b = i - q.prefix, j - k.prefix
            here, there = 0 <= a < h * w, 0 <= b < kh * kw
            if here and there:
                dy, dx = a // w - b // kw, a % w - b % kw
                entry = (dy + window[0] - 1) * span + dx + window[1] - 1
            else:
                entry = last + (0 if there else 1 if here else 2)
                if not prefix_bias:
                    continue
            wanted[:, i, j] = layer.table[:, entry].detach()
    assert torch.equal(bias[0], wanted)


@given(
    h=st.integers(1, 9),
    w=st.integers(1, 9),
    more=st.tuples(*[st.integers(0, 3)] * 2),
    ends=st.tuples(*[st.integers(0, 2)] * 4),
    prefix_bias=st.booleans(),
)
@settings(deadline=None, max_examples=40, derandomize=True)
def test_a_lattice_with_itself_has_the_bias_and_gradient_of_any_two_alike(
    h: int, w: int, more: tuple[int, int], ends: tuple[int, ...], prefix_bias: bool
) -> None:
    window = (h + more[0], w + more[1])
    layer = RelativeBias(3, window, prefix_bias=prefix_bias, std=1.0).double()
    q = Places.of(h, w, prefix=ends[0], suffix=ends[1])
    k = q._replace(prefix=ends[2], suffix=ends[3])
    by_copies = relative_bias(layer.table, q, k, window)
    by_index = relative_bias(layer.table, q, k._replace(positions=q.positions.clone()), window)
    assert torch.equal(by_copies, by_index)
    weights = torch.randn_like(by_index)
    one, two = (
        torch.autograd.grad((bias * weights).sum(), layer.table)[0]
        for bias in (by_copies, by_index)
    )
    torch.testing.assert_close(one, two, rtol=1e-12, atol=1e-12)


def test_pairs_of_a_lattice_take_no_index() -> None:
    largest = 0

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
            nonlocal largest
            out = func(*args, **(kwargs or {}))
            if isinstance(out, Tensor) and not out.is_floating_point():
                largest = max(largest, out.numel())
            return out

    layer, places = RelativeBias(1, (20, 21), std=1.0), Places.of(20, 21)
    with Watch():  # type: ignore[no-untyped-call]
        bias_of(layer, places)
    assert largest < 420 * 42  # of the index: 420 * 420
    with Watch():  # type: ignore[no-untyped-call]
        bias_of(layer, places, Places.of(20, 21))
    assert largest >= 420 * 420


def test_it_starts_as_plain_attention() -> None:
    q, k, v = torch.randn(3, 2, 2, 17, 8)
    places = Places.of(3, 5, prefix=2)
    for layer in (RelativeBias(2, (3, 5)), RelativeBias(2, (4, 7), prefix_bias=True)):
        assert torch.equal(layer(q, k, v, places), attend(q, k, v, [nullary()], places))
    assert RelativeBias(2, (3, 5), std=0.02).table.std() > 0.01


def nullary() -> RelativeBias:
    return RelativeBias(2, (9, 9))


def test_any_permutation_of_tokens_and_places_permutes_the_output() -> None:
    layer = RelativeBias(2, (3, 5), std=1.0).double()
    q, k, v = torch.randn(3, 2, 2, 15, 8, dtype=torch.float64)
    lattice = Places.of(3, 5, dtype=torch.float64)
    order = torch.randperm(15)
    shuffled = Places.at(lattice.positions[order], (3, 5))
    moved = layer(q[:, :, order], k[:, :, order], v[:, :, order], shuffled)
    torch.testing.assert_close(moved, layer(q, k, v, lattice)[:, :, order], rtol=0, atol=1e-10)
    unmoved = layer(q[:, :, order], k[:, :, order], v[:, :, order], lattice)
    assert (unmoved - moved).abs().max() > 1e-3  # places, not the order of tokens


def test_crops_have_the_bias_of_the_image_and_flips_its_flipped_bias() -> None:
    layer = RelativeBias(2, (6, 8), std=1.0)
    whole = bias_of(layer, Places.of(6, 8)).unflatten(3, (6, 8)).unflatten(2, (6, 8))
    image = Frame.identity(12, 16)  # 2 x 2 pixels a cell
    for top, left in [(2, 6), (1, 3), (0.5, 0.7)]:  # at whole cells, halves, and anywhere
        frame = image.crop(top, left, h=6, w=10)
        crop = bias_of(layer, Places.of(3, 5, frame))
        assert torch.equal(crop, whole[:, :, :3, :5, :3, :5].flatten(4).flatten(2, 3))
    flipped = bias_of(layer, Places.of(6, 8, image.hflip()))
    assert torch.equal(flipped, whole.flip(3, 5).flatten(4).flatten(2, 3))
    assert not torch.equal(flipped, bias_of(layer, Places.of(6, 8)))


def test_far_crops_have_the_same_bias_in_any_precision_of_the_logits() -> None:
    layer = RelativeBias(2, (1, 64), std=1.0)
    near = torch.stack([torch.zeros(64), torch.arange(64.0)], -1)
    places = [Places.at(near + shift, (1, 2**17)) for shift in (0, 65536)]
    q = torch.zeros(1, 2, 64, 4, dtype=torch.bfloat16)
    one, other = (layer.bias(q, q, at, at, 0.5) for at in places)
    assert torch.equal(one, other)
    assert torch.equal(one, bias_of(layer, places[0]).bfloat16())


def test_samples_with_places_of_their_own_have_a_bias_of_their_own() -> None:
    layer = RelativeBias(2, (9, 9), prefix_bias=True, std=1.0)
    points = torch.randint(0, 9, (3, 6, 2)).float()
    many = bias_of(layer, Places.at(points, (9, 9), prefix=1))
    assert many.shape == (3, 2, 7, 7)
    for i in range(3):
        assert torch.equal(many[i : i + 1], bias_of(layer, Places.at(points[i], (9, 9), prefix=1)))
    mixed = bias_of(layer, Places.at(points, (9, 9)), Places.of(2, 3))
    assert mixed.shape == (3, 2, 6, 6)
    shared = bias_of(layer, Places.of(2, 3))
    assert shared.shape[0] == 1  # one bias for all samples


def test_class_tokens_alone_may_ask() -> None:
    layer = RelativeBias(2, (2, 3), prefix_bias=True, std=1.0)
    asks = Places.at(torch.zeros(0, 2), (2, 3), prefix=1)
    bias = bias_of(layer, asks, Places.of(2, 3, prefix=1))
    assert torch.equal(bias[0, :, 0, 0], layer.table[:, -1])
    assert torch.equal(bias[0, :, 0, 1:], layer.table[:, -3:-2].expand(2, 6))


@pytest.mark.usefixtures("unchecked")
def test_it_exports_with_sizes_open_up_to_the_window() -> None:
    class Attention(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoding = RelativeBias(2, (9, 12), std=1.0)

        def forward(self, x: Tensor) -> Tensor:
            h, w = x.shape[-2:]
            q = x.flatten(2).unflatten(1, (2, 4)).mT
            out: Tensor = self.encoding(q, q, q, Places.of(h, w))
            return out

    attention = Attention().eval()
    sizes = {2: torch.export.Dim("h", min=2, max=9), 3: torch.export.Dim("w", min=2, max=12)}
    x, y = torch.randn(2, 8, 5, 7), torch.randn(2, 8, 9, 3)
    program = torch.export.export(attention, (x,), dynamic_shapes=(sizes,))
    with torch.no_grad():  # in training `attend` forms the logits, a graph leaves that to torch
        assert torch.equal(program.module()(y), attention(y))
    wide = {2: torch.export.Dim("h", min=2, max=12)}
    with pytest.raises(torch._dynamo.exc.UserError, match="h <= 12"):
        torch.export.export(attention, (x,), dynamic_shapes=(wide,))


def test_a_table_of_another_window_is_refused_in_one_message() -> None:
    model = nn.Sequential(RelativeBias(2, (3, 5)))
    other = nn.Sequential(RelativeBias(2, (4, 4))).state_dict()
    with pytest.raises(RuntimeError) as caught:
        model.load_state_dict(other)
    assert str(caught.value) == (
        "Error(s) in loading state_dict for Sequential:\n\t"
        "`0.table` must have shape (2, 45), but has shape (2, 49). If it was made for another "
        "window, resize it before loading: resize_relative_bias(table, old_window, (3, 5))."
    )


def test_its_repr_is_the_call_that_makes_it() -> None:
    layer = RelativeBias(2, (3, 5), prefix_bias=True, std=0.02)
    assert repr(layer) == "RelativeBias(2, (3, 5), prefix_bias=True, std=0.02)"
    assert repr(eval(repr(layer))) == repr(layer)  # noqa: S307 - our own text


TOO_SMALL = (
    "`window` must be at least {} for these places, but is {}. "
    "Resize the table: resize_relative_bias(table, {}, {})."
)
FAR = torch.tensor([[0.0, 0.0], [4.0, 6.0]])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: RelativeBias(0, (2, 3)), "`heads` must be at least 1, but is 0."),
        (
            lambda: RelativeBias(1, (0, 3)),
            "`window` must be (h, w), at least 1 cell each, but is (0, 3).",
        ),
        (lambda: RelativeBias(1, (2, 3), std=-1), "`std` must be at least 0, but is -1."),
        (
            lambda: bias_of(RelativeBias(1, (3, 9)), Places.of(5, 7)),
            TOO_SMALL.format((5, 7), (3, 9), (3, 9), (5, 9)),
        ),
        (
            lambda: bias_of(RelativeBias(1, (3, 9)), Places.of(2, 2), Places.of(2, 10)),
            TOO_SMALL.format((2, 10), (3, 9), (3, 9), (3, 10)),
        ),
        (
            lambda: bias_of(RelativeBias(1, (4, 7)), Places.at(FAR, (9, 9))),
            TOO_SMALL.format((5, 7), (4, 7), (4, 7), (5, 7)),
        ),
        (  # a lattice that fits, of cells that are too large
            lambda: bias_of(RelativeBias(1, (4, 4)), Places.of(4, 4, cells=(8, 4))),
            TOO_SMALL.format((7, 4), (4, 4), (4, 4), (7, 4)),
        ),
        (
            lambda: relative_bias(torch.zeros(1, 9), Places.of(1, 2), Places.of(1, 2), (1, 2)),
            "`table` must hold 3 numbers a head for window (1, 2), or 6 with those of tokens "
            "without a place, but holds 9.",
        ),
    ],
)
def test_bad_input_is_refused_in_one_sentence(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message) + "$"):
        make()
