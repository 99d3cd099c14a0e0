import copy
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from timm.layers import RotaryEmbeddingMixed, apply_rot_embed_cat
from torch import nn

from visionpe import Places, Rotary, RotaryMixed, axial_waves, mixed_waves


def test_timm_turns_the_same_with_the_same_frequencies() -> None:
    theirs = RotaryEmbeddingMixed(48, depth=2, num_heads=3)
    x, places = torch.randn(2, 3, 35, 16), Places.of(5, 7)
    for depth in range(2):
        ours = RotaryMixed(3, 16)
        with torch.no_grad():
            ours.waves.copy_(theirs.freqs[:, depth].flip(0))  # theirs are (x, y)
        wanted = apply_rot_embed_cat(x, theirs.get_embed([5, 7])[depth])
        out = ours.rotate(x, x, places, places)[0]
        torch.testing.assert_close(out, wanted, rtol=0, atol=3e-6)


@settings(deadline=None, max_examples=40, derandomize=True)
@given(heads=st.integers(1, 12), quarter=st.integers(1, 16), theta=st.floats(1.5, 1000))
def test_it_starts_as_the_axial_waves_turned_once_a_head(
    heads: int, quarter: int, theta: float
) -> None:
    waves = mixed_waves(heads, 4 * quarter, theta=theta)
    axial = axial_waves(4 * quarter, theta=theta).float()
    lengths = waves.norm(dim=0)
    torch.testing.assert_close(lengths, axial.norm(dim=0).expand(heads, -1), rtol=1e-5, atol=0)
    first, second = waves.chunk(2, -1)
    assert ((first * second).sum(0).abs() < 1e-5).all()  # at right angles
    angle = torch.atan2(first[0], first[1])
    torch.testing.assert_close(angle, angle[:, :1].expand(-1, quarter), rtol=0, atol=1e-4)


def test_heads_start_along_other_directions_and_a_seed_gives_the_same() -> None:
    waves = mixed_waves(6, 16, generator=torch.Generator().manual_seed(3))
    assert torch.equal(waves, mixed_waves(6, 16, generator=torch.Generator().manual_seed(3)))
    directions = torch.atan2(waves[0, :, 0], waves[1, :, 0])
    assert directions.unique().numel() == 6
    module = RotaryMixed(6, 16)
    module.reset_parameters(torch.Generator().manual_seed(3))
    assert torch.equal(module.waves, waves)


def test_with_axial_waves_it_is_the_axial_encoding_and_as_drawn_it_is_not() -> None:
    x, places = torch.randn(2, 3, 35, 16), Places.of(5, 7)
    mixed, axial = RotaryMixed(3, 16), Rotary(theta=10)
    wanted = axial.rotate(x, x, places, places)[0]
    assert (mixed.rotate(x, x, places, places)[0] - wanted).abs().max() > 0.1
    with torch.no_grad():
        mixed.waves.copy_(axial_waves(16, theta=10)[:, None])
    torch.testing.assert_close(mixed.rotate(x, x, places, places)[0], wanted, rtol=0, atol=1e-6)


def test_it_is_not_the_identity_at_the_start() -> None:
    q, k, v = torch.randn(3, 1, 2, 15, 8)
    plain = nn.functional.scaled_dot_product_attention(q, k, v)
    assert (RotaryMixed(2, 8)(q, k, v, Places.of(3, 5)) - plain).abs().max() > 1e-2


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_casting_a_model_does_not_round_its_frequencies(dtype: torch.dtype) -> None:
    rotary = RotaryMixed(2, 8)
    before = copy.deepcopy(rotary)
    rotary.waves.sum().backward()
    model = nn.Sequential(nn.Linear(3, 3), rotary).to(dtype)
    assert model.get_parameter("0.weight").dtype == dtype
    assert rotary.waves.dtype == torch.float32
    assert rotary.waves.grad is not None
    assert rotary.waves.grad.dtype == torch.float32
    assert torch.equal(rotary.waves, before.waves)
    x = torch.randn(1, 2, 64 * 64, 8).to(dtype)
    places = Places.of(64, 64)
    out = rotary.rotate(x, x, places, places)[0]
    wanted = before.double().rotate(x.double(), x.double(), places, places)[0]
    # timm's casts them, which costs 0.21 here.
    assert ((out.double() - wanted).abs() <= torch.finfo(dtype).eps / 2 * wanted.abs() + 2e-6).all()
    assert rotary.double().waves.dtype == torch.float64


def test_timm_does_round_them() -> None:
    theirs = RotaryEmbeddingMixed(16, depth=1, num_heads=2)
    wanted = theirs.get_embed([64, 64])
    error = theirs.bfloat16().get_embed([64, 64]).float() - wanted
    assert error.abs().max() > 0.05


def test_each_wave_gets_a_gradient_and_can_be_learned() -> None:
    target, learner = RotaryMixed(2, 8), RotaryMixed(2, 8)
    with torch.no_grad():
        learner.waves.copy_(target.waves + 0.05 * torch.randn(2, 2, 4))
    x, places = torch.randn(4, 2, 12, 8), Places.of(3, 4)
    wanted = target.rotate(x, x, places, places)[0].detach()
    optimiser = torch.optim.Adam(learner.parameters(), lr=0.01)
    losses = []
    for _ in range(60):
        loss = (learner.rotate(x, x, places, places)[0] - wanted).square().mean()
        optimiser.zero_grad()
        loss.backward()
        assert learner.waves.grad is not None
        assert (learner.waves.grad != 0).all()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.1 * losses[0]


def test_its_repr_is_the_call_that_makes_it() -> None:
    for module in (RotaryMixed(2, 8), RotaryMixed(1, 4, theta=3.0, cells=(2, 3), layout="half")):
        assert repr(eval(repr(module))) == repr(module)  # noqa: S307 - our own text


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: RotaryMixed(0, 8), "`heads` must be at least 1, but is 0."),
        (lambda: mixed_waves(2, 8, theta=0), "`theta` must be positive, but is 0."),
        (
            lambda: RotaryMixed(2, 6),
            "`head_dim` (the width of a head) must be a multiple of 4, but is 6. "
            "Wave vectors come in pairs at right angles.",
        ),
        (
            lambda: RotaryMixed(2, 8, cells=(0, 1)),
            "`cells` must be at least 1 cell an axis, but is (0, 1).",
        ),
        (
            lambda: RotaryMixed(2, 8)(*torch.zeros(3, 1, 3, 6, 8), Places.of(2, 3)),
            "`q` must have the 2 heads that RotaryMixed is made for, but has 3.",
        ),
    ],
)
def test_bad_input_is_refused_in_one_sentence(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the whole message is compared
        make()
    assert str(caught.value) == message
