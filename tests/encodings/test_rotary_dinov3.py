import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from timm.layers.pos_embed_sincos import RotaryEmbeddingDinoV3, apply_rot_embed_cat
from torch import Tensor

from visionpe import Frame, Places, RotaryDINOv3, augment_coordinates, dinov3_waves


def turned(encoding: RotaryDINOv3, x: Tensor, places: Places) -> Tensor:
    return encoding.rotate(x, x, places, places)[0]


@pytest.mark.parametrize("normalize", ["separate", "min", "max"])
@pytest.mark.parametrize(("h", "w"), [(5, 7), (14, 9), (1, 6)])
def test_timm_turns_the_same(normalize: Any, h: int, w: int) -> None:
    theirs = RotaryEmbeddingDinoV3(32, normalize_coords=normalize).eval()
    x = torch.rand(2, 3, h * w, 32)  # below 1: the tables' differences, not the queries'
    wanted = apply_rot_embed_cat(x, theirs.get_embed([h, w]), half=True)
    ours = turned(RotaryDINOv3(normalize=normalize).eval(), x, Places.of(h, w))
    turns = max(h, w) / min(h, w) if normalize == "min" else 1  # theirs are rounded to float32
    torch.testing.assert_close(ours, wanted, rtol=0, atol=1e-6 * turns)


def test_timms_interleaved_layout_and_other_base_turn_the_same() -> None:
    theirs = RotaryEmbeddingDinoV3(16, temperature=20.0, rotate_half=False).eval()
    x = torch.rand(2, 3, 35, 16)
    wanted = apply_rot_embed_cat(x, theirs.get_embed([5, 7]))
    ours = turned(RotaryDINOv3(base=20.0, layout="interleaved").eval(), x, Places.of(5, 7))
    torch.testing.assert_close(ours, wanted, rtol=0, atol=1e-6)


def test_it_is_the_papers_formula() -> None:
    waves = dinov3_waves(12)
    for k in range(3):
        period = 100 ** (2 * k / 6)
        assert waves[0, k].item() == pytest.approx(2 * math.pi / period, rel=1e-12)
        assert waves[1, 3 + k].item() == pytest.approx(2 * math.pi / period, rel=1e-12)
    assert (waves[0, 3:] == 0).all()
    assert (waves[1, :3] == 0).all()


def test_the_centre_is_not_turned_and_a_flip_turns_back() -> None:
    x = torch.randn(1, 2, 15, 8).double()
    out = turned(RotaryDINOv3().eval(), x, Places.of(3, 5))
    torch.testing.assert_close(out[..., 7, :], x[..., 7, :], rtol=0, atol=1e-15)
    places = Places.of(3, 5)
    opposite = Places.at(torch.tensor([2.0, 4.0]) - places.positions, (3, 5))
    torch.testing.assert_close(turned(RotaryDINOv3(), out, opposite), x, rtol=0, atol=1e-12)


def test_a_point_is_turned_alike_at_every_scale_and_neighbours_are_not() -> None:
    encoding, x = RotaryDINOv3(), torch.ones(1, 1, 6, 8).double()
    fine = torch.ones(1, 1, 54, 8).double()
    middle = turned(encoding, fine, Places.of(6, 9)).unflatten(-2, (6, 9))[..., 1::3, 1::3, :]
    coarse = turned(encoding, x, Places.of(2, 3))
    torch.testing.assert_close(middle.flatten(-3, -2), coarse, rtol=0, atol=1e-6)
    near = turned(encoding, fine, Places.of(6, 9))
    gaps = [(out[..., 0, :] * out[..., 1, :]).sum() for out in (coarse, near)]
    assert gaps[1] - gaps[0] > 1  # a neighbour is nearer where there are more cells


def test_coordinates_are_those_of_the_frame() -> None:
    frame = Frame.identity(8, 6).crop(2, 1, h=3, w=4)
    places = Places.of(3, 4, frame)
    torch.testing.assert_close(RotaryDINOv3().points(places), places.coordinates())


@settings(deadline=None, max_examples=40, derandomize=True)
@given(
    shift=st.floats(0, 3), jitter=st.floats(1, 4), rescale=st.floats(1, 4), seed=st.integers(0, 99)
)
def test_draws_stay_in_their_ranges(shift: float, jitter: float, rescale: float, seed: int) -> None:
    torch.manual_seed(seed)
    scale, offset = augment_coordinates(shift=shift, jitter=jitter, rescale=rescale)
    widest = jitter * rescale * (1 + 1e-5)
    assert ((1 / widest <= scale) & (scale <= widest)).all()
    assert (offset.abs() <= shift * scale * (1 + 1e-5)).all()
    same, _ = augment_coordinates(rescale=rescale)
    assert same[0] == same[1]


def test_scales_are_log_uniform() -> None:
    draws = torch.stack([augment_coordinates(rescale=2)[0][0] for _ in range(2000)]).log2()
    assert abs(draws.mean().item()) < 0.05  # as often half as double
    assert abs(draws.var().item() - 1 / 3) < 0.03
    shifts = torch.stack([augment_coordinates(shift=0.5)[1] for _ in range(2000)])
    assert abs(shifts.var().item() - 1 / 12) < 0.01


@pytest.mark.parametrize("option", [{"shift": 0.3}, {"jitter": 1.5}, {"rescale": 2.0}])
def test_it_is_random_in_training_only(option: dict[str, Any]) -> None:
    encoding, x, places = RotaryDINOv3(**option), torch.randn(1, 2, 15, 8), Places.of(3, 5)
    fixed = turned(RotaryDINOv3(), x, places)
    first, second = turned(encoding, x, places), turned(encoding, x, places)
    assert (first - second).abs().max() > 1e-3
    torch.manual_seed(5)
    again = turned(encoding, x, places)
    torch.manual_seed(5)
    assert torch.equal(turned(encoding, x, places), again)
    assert torch.equal(turned(encoding.eval(), x, places), fixed)


def test_queries_and_keys_share_a_draw() -> None:
    encoding, x = RotaryDINOv3(shift=0.5, jitter=2.0, rescale=2.0), torch.randn(1, 2, 15, 8)
    places, equal = Places.of(3, 5), Places.of(3, 5)
    q, k = encoding.rotate(x, x, places, equal)
    assert torch.equal(q, k)
    torch.testing.assert_close(q.norm(dim=-1), x.norm(dim=-1))


def test_every_option_changes_what_it_does() -> None:
    x, places = torch.randn(1, 2, 15, 16), Places.of(3, 5)
    plain = turned(RotaryDINOv3(), x, places)
    for other in (
        RotaryDINOv3(base=20.0),
        RotaryDINOv3(normalize="min"),
        RotaryDINOv3(normalize="max"),
        RotaryDINOv3(layout="interleaved"),
    ):
        assert (turned(other, x, places) - plain).abs().max() > 1e-2


def test_its_repr_is_the_call_that_makes_it() -> None:
    for module in (RotaryDINOv3(), RotaryDINOv3(base=9.0, normalize="max", shift=0.5, rescale=2.0)):
        assert repr(eval(repr(module))) == repr(module)  # noqa: S307 - our own text


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"base": 0.0}, "`base` must be positive, but is 0.0."),
        ({"shift": -0.1}, "`shift` must be at least 0 and finite, but is -0.1."),
        ({"jitter": 0.5}, "`jitter` must be a factor of at least 1 and finite, but is 0.5."),
        (
            {"rescale": math.inf},
            "`rescale` must be a factor of at least 1 and finite, but is inf.",
        ),
        (
            {"normalize": "both"},
            '`normalize` must be "separate", "min" or "max", but is "both".',
        ),
        ({"layout": "thirds"}, '`layout` must be "interleaved" or "half", but is "thirds".'),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_bad_options_are_refused_in_one_sentence(option: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the whole message is compared
        RotaryDINOv3(**option)
    assert str(caught.value) == message
