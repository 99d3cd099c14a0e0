from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from visionpe import (
    ConvolutionalContext1d,
    ConvolutionalContext2d,
    Frame,
    Places,
    convolutional_context,
)


@settings(deadline=None, max_examples=30, derandomize=True)
@given(n=st.integers(1, 40), kernel=st.integers(1, 20), groups=st.sampled_from([1, 2, 6]))
def test_on_a_sequence_it_is_wav2vecs_block(n: int, kernel: int, groups: int) -> None:
    """Padding of half a kernel at both ends, the surplus cell of an even kernel cut, weight norm
    over all but the taps: torch's own convolution and weight norm."""
    module = ConvolutionalContext1d(
        6, kernel_size=kernel, groups=groups, weight_norm=True, zero_init=False
    ).double()
    nn.init.normal_(module.kernel.bias)
    conv = nn.Conv1d(6, 6, kernel, padding=kernel // 2, groups=groups).double()
    with torch.no_grad():
        conv.weight.copy_(module.kernel.weight)
        assert conv.bias is not None
        conv.bias.copy_(module.kernel.bias)
    conv = weight_norm(conv, dim=2)
    with torch.no_grad():  # the norms were drawn in float32
        conv.parametrizations.weight.original0.copy_(module.kernel.gain)
    x = torch.randn(2, 6, n, dtype=torch.float64)
    wanted = x + F.gelu(conv(x)[..., :n])
    torch.testing.assert_close(module(x), wanted, rtol=0, atol=1e-10)


@pytest.mark.parametrize("mode", ["zeros", "reflect", "replicate", "circular"])
@pytest.mark.parametrize("kernel", [5, (3, 5)])
def test_on_a_map_it_is_the_same_formula(mode: Any, kernel: Any) -> None:
    conv = nn.Conv2d(6, 6, kernel, padding="same", groups=2, padding_mode=mode).double()
    x = torch.randn(2, 6, 9, 7, dtype=torch.float64)
    got = convolutional_context(x, conv.weight, conv.bias, padding_mode=mode)
    torch.testing.assert_close(got, x + F.gelu(conv(x)), rtol=0, atol=1e-10)


def test_it_starts_with_the_papers_variance() -> None:
    module = ConvolutionalContext1d(64, kernel_size=128, groups=4, zero_init=False)
    assert module.kernel.weight.std().item() == pytest.approx((4 / (128 * 64)) ** 0.5, rel=0.02)
    assert not module.kernel.bias.any()
    normed = ConvolutionalContext1d(64, weight_norm=True, zero_init=False)
    weight = normed.kernel.weight
    torch.testing.assert_close(normed.kernel(), weight)  # the norms are the drawn weights' own


@pytest.mark.parametrize("norm", [False, True])
def test_it_starts_as_the_identity_and_learns(norm: bool) -> None:
    module = ConvolutionalContext2d(6, kernel_size=3, groups=2, weight_norm=norm)
    x = torch.randn(2, 6, 5, 7)
    assert torch.equal(module(x), x)
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
    for _ in range(2):  # with weight norm, the directions have a gradient once the norms have moved
        optimizer.zero_grad()
        (module(x) * x.roll(1, -1)).sum().backward()
        optimizer.step()
    for parameter in module.parameters():
        assert parameter.grad is not None
        assert parameter.grad.abs().max() > 1e-6


def test_a_circular_one_commutes_with_every_shift_and_a_zero_padded_one_does_not() -> None:
    x = torch.randn(1, 6, 8, 11, dtype=torch.float64)

    def change(mode: str) -> Tensor:
        module = ConvolutionalContext2d(
            6, kernel_size=5, groups=2, padding_mode=mode, zero_init=False
        ).double()
        moved, still = module(x.roll((1, 2), (2, 3))), module(x).roll((1, 2), (2, 3))
        return torch.abs(moved - still)

    assert change("circular").max() < 1e-10
    assert change("zeros").max() > 1e-3
    assert change("zeros")[..., 3:6, 4:9].max() < 1e-10  # away from the border it does


def test_a_reversed_sequence_is_not_the_reversed_context() -> None:
    """A kernel that is not symmetric knows before from behind, as relative position must."""
    module = ConvolutionalContext1d(6, kernel_size=5, groups=2, zero_init=False).double()
    x = torch.randn(1, 6, 9, dtype=torch.float64)
    assert (module(x.flip(-1)).flip(-1) - module(x)).abs().max() > 1e-3
    with torch.no_grad():
        module.kernel.weight.copy_(module.kernel.weight + module.kernel.weight.flip(-1))
    torch.testing.assert_close(module(x.flip(-1)).flip(-1), module(x), rtol=0, atol=1e-10)


def test_tokens_of_a_lattice_are_the_map_and_others_keep_their_value() -> None:
    module = ConvolutionalContext2d(6, kernel_size=3, groups=3, zero_init=False)
    x = torch.randn(2, 1 + 15 + 2, 6)
    got = module.tokens(x, Places.of(3, 5, prefix=1, suffix=2))
    wanted = module(x[:, 1:-2].mT.unflatten(-1, (3, 5)), Frame.identity(3, 5))
    torch.testing.assert_close(got[:, 1:-2], wanted.flatten(2).mT)
    assert torch.equal(got[:, :1], x[:, :1])
    assert torch.equal(got[:, -2:], x[:, -2:])


def test_half_precision_keeps_the_dtype() -> None:
    module = ConvolutionalContext1d(16, kernel_size=4, zero_init=False)
    x = torch.randn(2, 16, 9)
    exact = module(x)
    got = module.bfloat16()(x.bfloat16())
    assert got.dtype == torch.bfloat16
    torch.testing.assert_close(got.float(), exact, rtol=0, atol=0.06)
    with torch.autocast("cpu", torch.bfloat16):
        assert module.float()(x).dtype == torch.float32


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ConvolutionalContext1d(0), "`channels` must be at least 1, but is 0."),
        (
            lambda: ConvolutionalContext2d(16, kernel_size=0),
            "`kernel_size` must be at least 1 cell, but is 0.",
        ),
        (
            lambda: ConvolutionalContext1d(20),
            "`groups` must divide the 20 channels, but is 16.",
        ),
        (
            lambda: ConvolutionalContext2d(16, padding_mode="none"),
            "`padding_mode` must be one of ('zeros', 'reflect', 'replicate', 'circular'), "
            "but is 'none'.",
        ),
        (
            lambda: ConvolutionalContext1d(16)(torch.zeros(1, 8, 4)),
            "`x` must have the 16 channels that ConvolutionalContext1d is made for, but has 8.",
        ),
        (
            lambda: ConvolutionalContext1d(16, padding_mode="circular")(torch.zeros(1, 16, 4)),
            "`padding_mode` must be 'zeros' or 'replicate' for a kernel that reaches (64,) cells "
            "beyond a map of (4,), but is 'circular'.",
        ),
    ],
)
def test_bad_input_is_refused_in_one_sentence(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the whole message is compared
        make()
    assert str(caught.value) == message
