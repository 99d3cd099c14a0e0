from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from timm.models.twins import PosConv
from torch import Tensor, nn

from visionpe import PEG, Frame, Places, peg

MODES = ["zeros", "reflect", "replicate", "circular"]


def drawn(channels: int, **options: object) -> PEG:
    return PEG(channels, zero_init=False, **options).double()  # type: ignore[arg-type]


def test_timms_has_the_same_output_for_maps_and_tokens() -> None:
    theirs = PosConv(6, 6)
    ours = PEG(6)
    ours.load_state_dict({name: theirs.proj[0].state_dict()[name] for name in ("weight", "bias")})
    x = torch.randn(2, 6, 5, 7)
    tokens = x.flatten(2).mT
    torch.testing.assert_close(ours.tokens(tokens, Places.of(5, 7)), theirs(tokens, (5, 7)))
    torch.testing.assert_close(ours(x).flatten(2).mT, theirs(tokens, (5, 7)))


@settings(deadline=None, max_examples=40, derandomize=True)
@given(
    h=st.integers(1, 20),
    w=st.integers(1, 20),
    channels=st.integers(1, 9),
    reach=st.integers(0, 2),
    mode=st.sampled_from(["zeros", "replicate"]),
    batch=st.integers(0, 3),
)
def test_any_size_is_the_depthwise_convolution_added(
    h: int, w: int, channels: int, reach: int, mode: Any, batch: int
) -> None:
    module = drawn(channels, kernel_size=2 * reach + 1, padding_mode=mode)
    conv = nn.Conv2d(
        channels, channels, 2 * reach + 1, padding=reach, groups=channels, padding_mode=mode
    ).double()
    conv.load_state_dict(module.state_dict())
    x = torch.randn(batch, channels, h, w, dtype=torch.float64)
    torch.testing.assert_close(module(x), x + conv(x), rtol=0, atol=1e-10)


def test_function_and_module_agree_and_the_frame_changes_nothing() -> None:
    module = PEG(3, padding_mode="reflect", zero_init=False)
    x = torch.randn(2, 3, 5, 7)
    wanted = peg(x, module.weight, module.bias, padding_mode="reflect")
    assert torch.equal(module(x), wanted)
    assert torch.equal(module(x, Frame.identity(5, 7).hflip()), wanted)


def test_it_has_the_papers_parameters() -> None:
    """192 channels: 1,728 weights, and 192 biases."""
    module = PEG(192)
    assert module.weight.numel() == 1728
    assert sum(p.numel() for p in module.parameters()) == 1728 + 192
    assert sum(p.numel() for p in PEG(192, bias=False).parameters()) == 1728


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_it_starts_as_the_identity_and_every_parameter_has_a_gradient(dtype: torch.dtype) -> None:
    module = PEG(5).to(dtype)
    x = torch.randn(2, 5, 6, 4, dtype=dtype)
    assert torch.equal(module(x), x)
    module(x).square().sum().backward()
    assert module.weight.grad is not None
    assert module.weight.grad.abs().min() > 0
    module.zero_init = False
    module.reset_parameters()
    assert not torch.equal(module(x), x)


def test_a_shift_moves_the_interior_with_it_and_not_the_border() -> None:
    module = drawn(3)
    x = torch.randn(1, 3, 9, 12, dtype=torch.float64)
    moved, still = module(x.roll((2, 3), (2, 3))), module(x).roll((2, 3), (2, 3))
    # cells that see no border before the shift nor after it
    torch.testing.assert_close(moved[..., 3:8, 4:11], still[..., 3:8, 4:11], rtol=0, atol=1e-10)
    assert (moved - still)[..., 2, :].abs().max() > 0.1
    assert (moved - still)[..., 3].abs().max() > 0.1


@pytest.mark.parametrize("mode", MODES)
def test_only_circular_padding_commutes_with_every_circular_shift(mode: str) -> None:
    module = drawn(3, padding_mode=mode)
    x = torch.randn(1, 3, 9, 12, dtype=torch.float64)
    moved, still = module(x.roll((2, 3), (2, 3))), module(x).roll((2, 3), (2, 3))
    assert ((moved - still).abs().max() < 1e-10) == (mode == "circular")


@pytest.mark.parametrize("mode", MODES)
def test_of_a_constant_map_only_zero_padding_tells_a_cells_place(mode: str) -> None:
    out = drawn(2, padding_mode=mode)(torch.ones(1, 2, 6, 8, dtype=torch.float64))
    flat = (out - out[..., 3:4, 4:5]).abs().max() < 1e-10
    assert flat == (mode != "zeros")


def test_attention_after_it_is_not_permutation_equivariant_and_without_it_is() -> None:
    attention = nn.MultiheadAttention(8, 2, batch_first=True, dtype=torch.float64)
    places, order = Places.of(3, 4), torch.randperm(12)
    x = torch.randn(1, 12, 8, dtype=torch.float64)

    def change(module: PEG) -> float:
        def run(tokens: Tensor) -> Tensor:
            encoded = module.tokens(tokens, places)
            out: Tensor = attention(encoded, encoded, encoded)[0]
            return out

        return (run(x[:, order]) - run(x)[:, order]).abs().max().item()

    assert change(PEG(8).double()) < 1e-10
    assert change(drawn(8)) > 1e-3
    assert change(drawn(8, padding_mode="circular")) > 1e-3  # neighbours, though no position


@pytest.mark.parametrize("mode", MODES)
def test_neither_its_input_nor_its_gradient_is_written_over(mode: str) -> None:
    module = drawn(3, padding_mode=mode)
    x = torch.randn(2, 3, 5, 7, dtype=torch.float64, requires_grad=True)
    before = x.detach().clone()
    got = module(x)
    assert torch.equal(x, before)
    pad = x if mode == "zeros" else F.pad(x, (1, 1, 1, 1), mode=mode)
    wanted = F.conv2d(pad, module.weight, module.bias, padding=int(mode == "zeros"), groups=3) + x
    torch.testing.assert_close(got, wanted, rtol=0, atol=1e-13)
    leaves = [x, *module.parameters()]
    outer = torch.randn_like(got)
    for ours, theirs in zip(
        torch.autograd.grad(got, leaves, outer),
        torch.autograd.grad(wanted, leaves, outer),
        strict=True,
    ):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-10)


def test_tokens_without_a_place_keep_their_value() -> None:
    module = drawn(4)
    x = torch.randn(2, 2 + 15 + 1, 4, dtype=torch.float64)
    got = module.tokens(x, Places.of(3, 5, prefix=2, suffix=1))
    assert torch.equal(got[:, :2], x[:, :2])
    assert torch.equal(got[:, -1:], x[:, -1:])
    wanted = module(x[:, 2:-1].mT.unflatten(-1, (3, 5))).flatten(2).mT
    assert torch.equal(got[:, 2:-1], wanted)


def test_half_precision_and_autocast_keep_the_maps_dtype() -> None:
    module = PEG(4, zero_init=False)
    x = torch.randn(1, 4, 9, 7)
    exact = F.conv2d(x, module.weight, module.bias, padding=1, groups=4) + x
    for dtype in (torch.bfloat16, torch.float16):
        module.to(dtype)
        got = module(x.to(dtype))
        assert got.dtype == dtype
        torch.testing.assert_close(got.float(), exact, rtol=0, atol=16 * torch.finfo(dtype).eps)
        module.float()
    with torch.autocast("cpu", torch.bfloat16):
        assert module(x).dtype == torch.float32


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: PEG(0), "`channels` must be at least 1, but is 0."),
        (lambda: PEG(4, kernel_size=4), "`kernel_size` must be an odd number of cells, but is 4."),
        (
            lambda: PEG(4, padding_mode="same"),
            "`padding_mode` must be one of ('zeros', 'reflect', 'replicate', 'circular'), "
            "but is 'same'.",
        ),
        (
            lambda: PEG(4)(torch.zeros(1, 3, 5, 5)),
            "`x` must have the 4 channels that PEG is made for, but has 3.",
        ),
        (
            lambda: PEG(4, padding_mode="reflect")(torch.zeros(1, 4, 1, 5)),
            "`padding_mode` must be 'zeros' or 'replicate' for a kernel that reaches (1, 1) cells "
            "beyond a map of (1, 5), but is 'reflect'.",
        ),
        (
            lambda: PEG(4).tokens(torch.zeros(1, 2, 4), Places.at(torch.zeros(2, 2), (3, 3))),
            "`places` must be a whole lattice, row by row, for a convolution to run over it, "
            "but `places.shape` is None. `Places.of(h, w)` has one.",
        ),
        (
            lambda: PEG(4).tokens(torch.zeros(1, 5, 4), Places.of(2, 3)),
            "`x` must hold as many tokens as `places`, 6 (0 + 6 + 0), but holds 5.",
        ),
    ],
)
def test_bad_input_is_refused_in_one_sentence(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the whole message is compared
        make()
    assert str(caught.value) == message
