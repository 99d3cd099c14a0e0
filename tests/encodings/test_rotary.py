import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from rotary_embedding_torch import (
    RotaryEmbedding,
    apply_rotary_emb,
)
from timm.layers import RotaryEmbeddingCat, apply_rot_embed_cat, build_rotary_pos_embed
from torch import Tensor

from visionpe import Frame, Places, Rotary, RotaryMixed, attend, axial_waves, rotate


def turned(encoding: Rotary, x: Tensor, places: Places) -> Tensor:
    return encoding.rotate(x, x, places, places)[0]


@pytest.mark.parametrize(("h", "w", "width"), [(5, 7, 16), (1, 9, 4), (6, 3, 32)])
def test_it_is_the_papers_formula(h: int, w: int, width: int) -> None:
    x = torch.randn(1, 2, h * w, width).double()
    wanted = torch.zeros_like(x)
    for i in range(h):
        for j in range(w):
            for pair in range(width // 2):
                band = pair % (width // 4)
                position = j if pair < width // 4 else i  # x, then y
                angle = position * 100 ** -(4 * band / width)
                a, b = x[0, :, i * w + j, 2 * pair], x[0, :, i * w + j, 2 * pair + 1]
                wanted[0, :, i * w + j, 2 * pair] = a * math.cos(angle) - b * math.sin(angle)
                wanted[0, :, i * w + j, 2 * pair + 1] = b * math.cos(angle) + a * math.sin(angle)
    torch.testing.assert_close(turned(Rotary(), x, Places.of(h, w)), wanted, rtol=0, atol=1e-12)


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize(("order", "indexing"), [("yx", "ij"), ("xy", "xy")])
def test_timm_turns_the_same(half: bool, order: Any, indexing: str) -> None:
    rope = RotaryEmbeddingCat(
        32, temperature=100.0, in_pixels=False, grid_indexing=indexing, rotate_half=half
    )
    x = torch.randn(2, 3, 35, 32)
    theirs = apply_rot_embed_cat(x, rope.get_embed([5, 7]), half=half)
    ours = turned(Rotary(order=order, layout="half" if half else "interleaved"), x, Places.of(5, 7))
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-6)


def test_timms_tables_are_the_cosines_and_sines_of_our_angles() -> None:
    sin, cos = build_rotary_pos_embed([4, 9], dim=16, temperature=50.0, in_pixels=False)
    waves = axial_waves(16, theta=50, order="yx")
    angles = (Places.of(4, 9).positions.double() @ waves).repeat_interleave(2, -1)
    torch.testing.assert_close(cos, angles.cos().float(), rtol=0, atol=1e-6)
    torch.testing.assert_close(sin, angles.sin().float(), rtol=0, atol=1e-6)


def test_rotary_embedding_torch_turns_the_same() -> None:
    freqs = RotaryEmbedding(dim=8, theta=100).get_axial_freqs(5, 7).flatten(0, 1)
    x = torch.randn(2, 3, 35, 16)
    theirs = apply_rotary_emb(freqs, x)
    torch.testing.assert_close(
        turned(Rotary(order="yx"), x, Places.of(5, 7)), theirs, rtol=0, atol=1e-6
    )


def test_timms_reference_shape_is_ours_in_cells_up_to_a_shift() -> None:
    rope = RotaryEmbeddingCat(16, temperature=100.0, in_pixels=False, ref_feat_shape=[14, 14])
    q, k, v = torch.randn(3, 2, 3, 48, 16)
    table = rope.get_embed([6, 8])
    theirs = torch.nn.functional.scaled_dot_product_attention(
        apply_rot_embed_cat(q, table), apply_rot_embed_cat(k, table), v
    )
    encoding = Rotary(order="yx", cells=(14, 14))
    torch.testing.assert_close(encoding(q, k, v, Places.of(6, 8)), theirs, rtol=0, atol=1e-6)
    assert (turned(encoding, q, Places.of(6, 8)) - apply_rot_embed_cat(q, table)).abs().max() > 0.1


def test_with_fixed_cells_a_point_is_turned_alike_at_every_scale() -> None:
    x = torch.randn(1, 1, 6, 8).double()
    fine = x.unflatten(-2, (2, 3)).repeat_interleave(3, -3).repeat_interleave(3, -2).flatten(-3, -2)
    encoding = Rotary(cells=(4, 9))
    frame = Frame.identity(6, 9)  # the middle of three fine cells lies on a coarse one's centre
    for places in (Places.of(6, 9), Places.of(6, 9, frame, dtype=torch.float64)):
        middle = turned(encoding, fine, places).unflatten(-2, (6, 9))[..., 1::3, 1::3, :]
        wanted = turned(encoding, x, Places.of(2, 3))
        torch.testing.assert_close(middle.flatten(-3, -2), wanted, rtol=0, atol=1e-6)
    free = turned(Rotary(), fine, Places.of(6, 9)).unflatten(-2, (6, 9))[..., 1::3, 1::3, :]
    assert (free.flatten(-3, -2) - turned(Rotary(), x, Places.of(2, 3))).abs().max() > 0.1


def test_swapping_the_axes_swaps_the_halves() -> None:
    x = torch.randn(1, 2, 15, 16)
    places = Places.of(3, 5)
    swapped = places._replace(positions=places.positions.flip(-1), shape=None)
    halves = torch.cat([x[..., 8:], x[..., :8]], -1)
    out = turned(Rotary(), halves, swapped)
    wanted = turned(Rotary(), x, places)
    torch.testing.assert_close(out[..., 8:], wanted[..., :8], rtol=0, atol=1e-6)
    torch.testing.assert_close(out[..., :8], wanted[..., 8:], rtol=0, atol=1e-6)
    yx = turned(Rotary(order="yx"), x, swapped)
    torch.testing.assert_close(yx, wanted, rtol=0, atol=1e-6)


def additivity(waves: Tensor, q: Tensor, k: Tensor) -> Tensor:
    """How far logits are from `f(dy) + g(dx)`: f(y, x) - f(y, 0) - f(0, x) + f(0, 0)."""
    gaps = torch.tensor([[2.0, 3.0], [2.0, 0.0], [0.0, 3.0], [0.0, 0.0]], dtype=torch.float64)
    logits = (q * rotate(k.expand(4, -1), gaps @ waves)).sum(-1)
    return logits[0] - logits[1] - logits[2] + logits[3]


def test_axial_logits_are_a_sum_over_rows_and_columns_and_mixed_ones_are_not() -> None:
    # Blind to diagonals: no logit of the gap (2, 3) that those of (2, 0) and (0, 3) do not give.
    q, k = torch.randn(2, 16).double()
    assert additivity(axial_waves(16), q, k).abs() < 1e-12
    mixed = RotaryMixed(1, 16).waves[:, 0].double()
    assert additivity(mixed, q, k).abs() > 1e-2


def test_nearest_neighbours_are_seen_when_queries_and_keys_are_alike() -> None:
    q = torch.ones(1, 1, 35, 32)
    out = turned(Rotary(), q, Places.of(5, 7))
    products = (out @ out.mT)[0, 0]
    assert (products.argmax(-1) == torch.arange(35)).all()


def test_every_option_changes_what_it_does() -> None:
    x, places = torch.randn(1, 2, 15, 16), Places.of(3, 5)
    plain = turned(Rotary(), x, places)
    for other in (
        Rotary(theta=50),
        Rotary(cells=(9, 9)),
        Rotary(order="yx"),
        Rotary(layout="half"),
    ):
        assert (turned(other, x, places) - plain).abs().max() > 1e-2


def test_it_reaches_the_output_of_attention() -> None:
    q, k, v = torch.randn(3, 2, 3, 15, 16)
    places = Places.of(3, 5, prefix=0)
    difference = attend(q, k, v, [Rotary()], places) - attend(q, k, v, [], places)
    assert difference.abs().max() > 1e-2


def test_its_repr_is_the_call_that_makes_it() -> None:
    for module in (Rotary(), Rotary(theta=7.5, cells=(2, 3), order="yx", layout="half")):
        assert repr(eval(repr(module))) == repr(module)  # noqa: S307 - our own text


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Rotary(theta=0.0), "`theta` must be positive, but is 0.0."),
        (lambda: axial_waves(8, theta=-1.0), "`theta` must be positive, but is -1.0."),
        (
            lambda: Rotary(cells=(3, 0)),
            "`cells` must be at least 1 cell an axis, but is (3, 0).",
        ),
        (
            lambda: turned(Rotary(), torch.zeros(1, 1, 6, 10), Places.of(2, 3)),
            "`head_dim` (the width of a head) must be a multiple of 4, but is 10. "
            "Both axes turn as many pairs of channels.",
        ),
    ],
)
def test_bad_input_is_refused_in_one_sentence(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the whole message is compared
        make()
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"order": "ij"}, '`order` must be "xy" or "yx", but is "ij".'),
        ({"layout": "pairs"}, '`layout` must be "interleaved" or "half", but is "pairs".'),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_unknown_names_are_refused(option: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the whole message is compared
        Rotary(**option)
    assert str(caught.value) == message
