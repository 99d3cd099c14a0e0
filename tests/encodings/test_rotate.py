from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from timm.layers import apply_rot_embed_cat
from torch import Tensor

from visionpe import rotate, rotate_half
from visionpe.encodings.rotate import turn, turn_in_reals

Turn = Callable[[Tensor, Tensor], Tensor]
BOTH = pytest.mark.parametrize("function", [rotate, rotate_half])


def slowly(x: Tensor, angles: Tensor, half: bool) -> Tensor:
    """One pair of one token at a time, by its 2x2 matrix."""
    out = torch.zeros_like(x)
    pairs = x.shape[-1] // 2
    for n in range(x.shape[-2]):
        for i in range(pairs):
            a, b = (i, i + pairs) if half else (2 * i, 2 * i + 1)
            cos, sin = angles[n, i].cos(), angles[n, i].sin()
            out[..., n, a] = x[..., n, a] * cos - x[..., n, b] * sin
            out[..., n, b] = x[..., n, a] * sin + x[..., n, b] * cos
    return out


@BOTH
def test_each_layout_is_the_formula(function: Turn) -> None:
    x, angles = torch.randn(2, 3, 5, 6).double(), torch.randn(5, 3).double() * 9
    wanted = slowly(x, angles, function is rotate_half)
    torch.testing.assert_close(function(x, angles), wanted, rtol=0, atol=1e-12)


@BOTH
def test_timm_applies_the_same(function: Turn) -> None:
    x, angles = torch.randn(2, 3, 7, 8), torch.randn(7, 4) * 9
    half = function is rotate_half
    wide = torch.cat([angles, angles], -1) if half else angles.repeat_interleave(2, -1)
    theirs = apply_rot_embed_cat(x, torch.cat([wide.sin(), wide.cos()], -1), half=half)
    torch.testing.assert_close(function(x, angles), theirs, rtol=0, atol=1e-6)


@BOTH
@pytest.mark.parametrize("learned", [False, True])
@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")  # torch's own first tangent
def test_gradients_of_all_kinds(function: Turn, learned: bool) -> None:
    x = torch.randn(2, 3, 4, dtype=torch.float64, requires_grad=True)
    angles = torch.randn(3, 2, dtype=torch.float64, requires_grad=learned)
    assert torch.autograd.gradcheck(
        function, (x, angles), check_forward_ad=True, check_batched_grad=True
    )
    assert torch.autograd.gradgradcheck(function, (x, angles), check_batched_grad=True)


def test_turned_halves_are_not_kept_for_the_gradient() -> None:
    x, angles = torch.randn(64, 5, 6, requires_grad=True), torch.randn(5, 3)
    kept: list[int] = []

    def pack(tensor: Tensor) -> Tensor:
        kept.append(tensor.numel())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        out = rotate_half(x, angles)
    assert max(kept) <= angles.numel()
    out.sum().backward()
    assert x.grad is not None
    torch.testing.assert_close(x.grad, rotate_half(torch.ones_like(x), -angles))


def test_the_layouts_are_not_the_same() -> None:
    x, angles = torch.randn(5, 8), torch.randn(5, 4)
    assert (rotate(x, angles) - rotate_half(x, angles)).abs().max() > 0.1


@BOTH
def test_norms_are_kept_and_turns_add_up(function: Turn) -> None:
    x, a, b = torch.randn(4, 5, 6).double(), torch.randn(5, 3).double(), torch.randn(5, 3).double()
    torch.testing.assert_close(function(x, a).norm(dim=-1), x.norm(dim=-1), rtol=0, atol=1e-12)
    torch.testing.assert_close(function(function(x, a), b), function(x, a + b), rtol=0, atol=1e-12)
    assert torch.equal(function(x, torch.zeros(5, 3)), x)


@settings(deadline=None, max_examples=40, derandomize=True)
@given(
    n=st.integers(1, 20),
    pairs=st.integers(1, 33),
    batch=st.integers(0, 3),
)
def test_complex_and_real_arithmetic_agree(n: int, pairs: int, batch: int) -> None:
    x, angles = torch.randn(batch, 2, n, 2 * pairs), torch.randn(n, pairs) * 9
    phases = torch.polar(torch.ones_like(angles), angles)
    wanted = turn_in_reals(x, angles.cos(), angles.sin(), "interleaved")
    torch.testing.assert_close(turn(x, phases), wanted, rtol=0, atol=1e-6)


def test_queries_may_be_any_view() -> None:
    angles = torch.randn(5, 4)
    qkv = torch.randn(2, 5, 3, 6, 8)
    views = [
        qkv.permute(2, 0, 3, 1, 4)[1],  # as timm splits them
        torch.randn(5, 11)[:, 2:10],  # rows of an odd length
        torch.randn(41)[1:].view(5, 8),  # beginning at an odd place
        torch.randn(8, 5).mT,
        torch.randn(1, 8).expand(5, 8),
    ]
    for x in views:
        wanted = slowly(x, angles, half=False)
        torch.testing.assert_close(rotate(x, angles), wanted, rtol=0, atol=1e-6)


@BOTH
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_turned_in_single_precision(function: Turn, dtype: torch.dtype) -> None:
    x, angles = torch.randn(3, 50, 16).to(dtype), torch.randn(50, 8).double() * 99
    out = function(x, angles)
    exact = function(x.double(), angles)
    assert out.dtype == dtype
    bound = torch.finfo(dtype).eps / 2 * exact.abs() + 1e-6
    assert ((out.double() - exact).abs() <= bound).all()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(function(x, angles), out)


@BOTH
@pytest.mark.usefixtures("unchecked")
def test_captured_graphs_hold_no_complex_numbers(function: Turn) -> None:
    class Turned(torch.nn.Module):
        def forward(self, x: Tensor, angles: Tensor) -> Tensor:
            return function(x, angles)

    x, angles = torch.randn(2, 5, 8), torch.randn(5, 4)
    program = torch.export.export(Turned(), (x, angles))
    for node in program.graph.nodes:
        value = node.meta.get("val")
        assert not (isinstance(value, Tensor) and value.is_complex())
    torch.testing.assert_close(program.module()(x, angles), function(x, angles), rtol=0, atol=1e-6)


@BOTH
def test_a_width_that_does_not_fit_the_angles_is_refused(function: Turn) -> None:
    with pytest.raises(ValueError, match="angles") as caught:
        function(torch.zeros(5, 6), torch.zeros(5, 4))
    assert str(caught.value) == ("`x` must have two channels for each of the 4 angles, but has 6.")
