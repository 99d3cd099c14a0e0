import math
import re
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import LargestTensor
from timm.layers.pos_embed_rel import RelPosMlp
from timm.models.swin_transformer_v2 import WindowAttention
from torch import Tensor, nn
from torchvision.models.swin_transformer import ShiftedWindowAttentionV2

from visionpe import Frame, LogCPB, Places, attend, log_cpb, log_offset
from visionpe.encodings._offsets import distinct_samples


def bias_of(
    layer: LogCPB,
    places: Places,
    key_places: Places | None = None,
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    keys = places if key_places is None else key_places
    batch = max(part.positions.shape[:-2].numel() for part in (places, keys))
    q, k = (
        torch.zeros(batch, layer.heads or 1, part.tokens, 4).to(dtype) for part in (places, keys)
    )
    return layer.bias(q, k, places, keys, 0.5)


def load(layer: LogCPB, first: nn.Linear, last: nn.Linear) -> None:
    layer.load_state_dict({"weight": first.weight, "shift": first.bias, "out": last.weight})


@pytest.mark.parametrize("prefix", [0, 2])
def test_the_papers_form_is_timms_mlp(prefix: int) -> None:
    theirs = RelPosMlp((5, 7), 3, hidden_dim=40, prefix_tokens=prefix, mode="swin").eval()
    layer = LogCPB(3, (5, 7), hidden=40, baseline=0.0)
    load(layer, theirs.mlp.fc1, theirs.mlp.fc2)
    ours = bias_of(layer, Places.of(5, 7, prefix=prefix))
    torch.testing.assert_close(ours, theirs.get_bias(), rtol=0, atol=1e-6)


def test_a_pretrained_window_is_timms() -> None:
    theirs = RelPosMlp((6, 9), 2, hidden_dim=40, mode="swin", pretrained_window_size=(4, 3)).eval()
    layer = LogCPB(2, (4, 3), hidden=40, baseline=0.0)
    load(layer, theirs.mlp.fc1, theirs.mlp.fc2)
    ours = bias_of(layer, Places.of(6, 9))
    torch.testing.assert_close(ours, theirs.get_bias(), rtol=0, atol=1e-6)
    other = LogCPB(2, (6, 9), hidden=40, baseline=0.0)
    other.load_state_dict(layer.state_dict())
    assert (bias_of(other, Places.of(6, 9)) - ours).abs().max() > 1e-2  # the unit is not free


def test_the_papers_form_is_torchvisions_and_swin_v2s() -> None:
    theirs = ShiftedWindowAttentionV2(8, [4, 6], [0, 0], 2)
    layer = LogCPB(2, (4, 6), baseline=0.0)
    load(layer, theirs.cpb_mlp[0], theirs.cpb_mlp[2])
    ours = bias_of(layer, Places.of(4, 6))
    torch.testing.assert_close(ours, theirs.get_relative_position_bias(), rtol=0, atol=1e-6)
    swin = WindowAttention(8, (4, 6), 2)
    load(layer, swin.cpb_mlp[0], swin.cpb_mlp[2])
    table = 16 * torch.sigmoid(swin.cpb_mlp(swin.relative_coords_table)).reshape(-1, 2)
    wanted = table[swin.relative_position_index.flatten()].reshape(24, 24, 2).permute(2, 0, 1)[None]
    torch.testing.assert_close(bias_of(layer, Places.of(4, 6)), wanted, rtol=0, atol=1e-6)


def test_the_scale_of_offsets_is_the_formula() -> None:
    offset = torch.randn(50, 2, dtype=torch.float64) * 20
    for (dy, dx), ours in zip(offset.tolist(), log_offset(offset, (5, 9)).tolist(), strict=True):
        for d, n, value in ((dy, 5, ours[0]), (dx, 9, ours[1])):
            wanted = math.copysign(math.log2(1 + abs(d) * 8 / (n - 1)) / math.log2(8), d)
            assert value == pytest.approx(wanted, abs=1e-12)
    assert log_offset(torch.zeros(1, 2), (1, 1)).tolist() == [[0.0, 0.0]]  # not 0 / 0


@given(
    h=st.integers(1, 8),
    w=st.integers(1, 8),
    cells=st.none() | st.tuples(st.integers(1, 20), st.integers(1, 20)),
    hidden=st.sampled_from([1, 15, 16, 33]),
)
@settings(deadline=None, max_examples=20, derandomize=True)
def test_offsets_once_or_pair_by_pair_give_one_bias(
    h: int, w: int, cells: tuple[int, int] | None, hidden: int
) -> None:
    layer = LogCPB(2, (4, 6), hidden=hidden, std=1.0).double()
    lattice = Places.of(h, w, cells=cells, dtype=torch.float64, prefix=1, suffix=2)
    points = lattice._replace(shape=None)
    once = bias_of(layer, lattice, dtype=torch.float64)
    pairs = bias_of(layer, points, dtype=torch.float64)
    torch.testing.assert_close(once, pairs, rtol=0, atol=1e-10)
    (a,) = torch.autograd.grad(once.sin().sum(), layer.out)
    (b,) = torch.autograd.grad(pairs.sin().sum(), layer.out)
    torch.testing.assert_close(a, b, rtol=0, atol=1e-8)


def test_it_starts_as_plain_attention_with_tokens_without_a_place_too() -> None:
    q, k, v = torch.randn(3, 2, 2, 17, 8, dtype=torch.float64)
    places = Places.of(3, 5, prefix=2, dtype=torch.float64)
    plain = attend(q, k, v, [], places)
    torch.testing.assert_close(LogCPB(2, (3, 5))(q, k, v, places), plain, rtol=0, atol=1e-10)
    paper = LogCPB(2, (3, 5), baseline=0.0)(q, k, v, places)  # 8 for all but the prefix
    assert (paper - plain).abs().max() > 1e-2


def test_without_such_tokens_the_baseline_changes_nothing_and_with_them_it_does() -> None:
    layers = [LogCPB(2, (3, 5), baseline=b, std=0.5).double() for b in (0.0, 8.0)]
    layers[1].load_state_dict(layers[0].state_dict())
    q, k, v = torch.randn(3, 2, 2, 17, 8, dtype=torch.float64)
    one, other = (layer(q[:, :, 2:], k[:, :, 2:], v[:, :, 2:], Places.of(3, 5)) for layer in layers)
    torch.testing.assert_close(one, other, rtol=0, atol=1e-10)
    one, other = (layer(q, k, v, Places.of(3, 5, prefix=2)) for layer in layers)
    assert (one - other).abs().max() > 1e-2


def test_it_depends_on_offsets_only_and_stays_within_8() -> None:
    layer = LogCPB(2, (4, 6), std=1.0).double()
    points = torch.rand(11, 2, dtype=torch.float64) * 9
    here, there = (
        bias_of(layer, Places.at(points + shift, (99, 99)), dtype=torch.float64)
        for shift in (0.0, 31.25)
    )
    torch.testing.assert_close(here, there, rtol=0, atol=1e-10)
    assert here.abs().max() <= 8
    assert not torch.allclose(here, here.mT)  # the sign of an offset counts
    scaled = bias_of(layer, Places.at(points * 2, (99, 99)), dtype=torch.float64)
    assert (scaled - here).abs().max() > 1e-2  # and so does its length


def test_a_crop_between_cells_has_the_bias_of_the_image() -> None:
    layer = LogCPB(2, (6, 8), std=1.0)
    whole = bias_of(layer, Places.of(6, 8)).unflatten(3, (6, 8)).unflatten(2, (6, 8))
    frame = Frame.identity(12, 16).crop(0.5, 0.7, h=6, w=10)
    crop = bias_of(layer, Places.of(3, 5, frame))
    wanted = whole[:, :, :3, :5, :3, :5].flatten(4).flatten(2, 3)
    torch.testing.assert_close(crop, wanted, rtol=0, atol=1e-4)


def test_samples_with_places_of_their_own_have_a_bias_of_their_own() -> None:
    layer = LogCPB(2, (4, 6), std=1.0)
    points = torch.rand(3, 6, 2) * 9
    many = bias_of(layer, Places.at(points, (9, 9)), Places.of(2, 4))
    assert many.shape == (3, 2, 6, 8)
    for i in range(3):
        one = bias_of(layer, Places.at(points[i], (9, 9)), Places.of(2, 4))
        torch.testing.assert_close(many[i : i + 1], one)


def test_windows_that_lie_elsewhere_share_what_they_have_in_common() -> None:
    layer = LogCPB(2, (4, 6), hidden=24, std=1.0)
    image = Frame.identity(40, 48)
    crops = [image.crop(4 * i, 8 * j, h=12, w=16) for i, j in ((0, 0), (3, 1), (7, 4))]
    frames = [*crops, crops[1].hflip(), crops[2].hflip(), image.crop(0, 0, h=24, w=32)]
    places = Places.of(3, 4, Frame.stack(frames), cells=(10, 12))
    q, k, sample = distinct_samples(places.positions, places.positions)
    assert (len(q), len(k)) == (3, 3)  # crops, mirrored crops, the one half as large
    assert sample is not None
    assert [int(i) for i in sample[[1, 2, 4]]] == [int(i) for i in sample[[0, 0, 3]]]
    together, weights = bias_of(layer, places), torch.randn(6, 2, 12, 12)
    (grad,) = torch.autograd.grad((together * weights).sum(), layer.weight)
    alone = [bias_of(layer, Places.of(3, 4, frame, cells=(10, 12))) for frame in frames]
    torch.testing.assert_close(together, torch.cat(alone), rtol=1e-5, atol=1e-5)
    (wanted,) = torch.autograd.grad((torch.cat(alone) * weights).sum(), layer.weight)
    torch.testing.assert_close(grad, wanted, rtol=1e-4, atol=1e-3)


def test_samples_are_not_compared_where_their_places_learn_or_cannot_be_seen() -> None:
    points = torch.rand(3, 5, 2)
    same = points[:1].expand(3, 5, 2)
    assert distinct_samples(points, points)[2] is None  # all differ
    assert distinct_samples(same, same)[2] is not None
    for unseen in (same.clone().requires_grad_(), same.to("meta"), same[:1], same[0]):
        assert distinct_samples(unseen, unseen)[2] is None


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_rounds_the_result_only(dtype: torch.dtype) -> None:
    layer = LogCPB(2, (1, 64), std=0.5).to(dtype)
    exact = LogCPB(2, (1, 64), std=0.5).double()
    exact.load_state_dict(layer.state_dict())
    far = torch.stack([torch.zeros(64), torch.arange(65536.0, 65600.0)], -1)
    for places in (Places.of(1, 64), Places.at(far, (1, 2**17))):
        with torch.autocast("cpu", torch.bfloat16):
            bias = bias_of(layer, places, dtype=dtype)
        assert bias.dtype == dtype
        wanted = bias_of(exact, places, dtype=torch.float64)
        ulp = torch.finfo(dtype).eps * wanted.abs() + torch.finfo(dtype).smallest_normal
        assert ((bias.double() - wanted).abs() <= ulp + 2e-6).all()


def test_no_tensor_holds_all_units_for_all_pairs() -> None:
    layer = LogCPB(2, (4, 6), hidden=512, std=0.5)
    points = Places.at(torch.rand(60, 2) * 9, (9, 9))
    with LargestTensor() as seen:
        bias_of(layer, points).sum().backward()
    assert seen.numbers == 60 * 60 * 16


def test_the_function_and_the_layer_agree() -> None:
    layer = LogCPB(2, (4, 6), hidden=20, std=1.0)
    offset = torch.tensor([[0.0, 0.0], [0.0, -1.0], [0.0, -2.0]])  # of the first of three cells
    row = log_cpb(offset, layer.weight, layer.shift, layer.out, (4, 6))
    torch.testing.assert_close(bias_of(layer, Places.of(1, 3))[0, :, 0], row, rtol=0, atol=1e-6)


def test_its_repr_is_the_call_that_makes_it() -> None:
    layer = LogCPB(2, (3, 5), hidden=7, baseline=0.0, std=0.02)
    assert repr(layer) == "LogCPB(2, (3, 5), hidden=7, baseline=0.0, std=0.02)"
    assert repr(eval(repr(layer))) == repr(layer)  # noqa: S307 - our own text


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: LogCPB(0, (2, 3)), "`heads` must be at least 1, but is 0."),
        (lambda: LogCPB(1, (2, 3), hidden=0), "`hidden` must be at least 1, but is 0."),
        (lambda: LogCPB(1, (2, 3), std=-1), "`std` must be at least 0, but is -1."),
        (
            lambda: LogCPB(1, (2, 0)),
            "`window` must be (h, w), at least 1 cell each, but is (2, 0).",
        ),
    ],
)
def test_bad_input_is_refused_in_one_sentence(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message) + "$"):
        make()


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("own_keys", [True, False])
def test_gradients_of_torch_func_are_autograds_where_places_are_no_lattice(own_keys: bool) -> None:
    layer = LogCPB(2, (3, 4), hidden=20, std=0.5)
    frame = Frame.identity(6, 8).crop(1, 2, h=3, w=4)
    places = Places.of(3, 4, frame)
    keys = Places.of(2, 2) if own_keys else places
    q, k = torch.randn(2, 2, 12, 4), torch.randn(2, 2, keys.tokens, 4)
    parameters: dict[str, Tensor] = dict(layer.named_parameters())

    def loss(given: dict[str, Tensor]) -> Tensor:
        out: Tensor = torch.func.functional_call(layer, given, (q, k, k, places, keys))
        return out.square().sum()

    found = torch.func.grad(loss)(parameters)
    wanted = torch.autograd.grad(loss(parameters), list(parameters.values()))
    for ours, theirs in zip(found.values(), wanted, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
