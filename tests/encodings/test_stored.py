"""What a compiled graph makes once: in memory, and nowhere else."""

import pytest
import torch
from torch import Tensor
from torch._inductor.utils import run_and_get_code

from visionpe import Places, Rotary, Shaw
from visionpe.encodings._stored import stored


def test_outside_of_a_graph_nothing_happens() -> None:
    x = torch.randn(3, 2).mT
    assert stored(x) is x


def test_an_exported_graph_has_no_strides() -> None:
    class Wave(torch.nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x + stored(x.sin())

    program = torch.export.export(Wave(), (torch.randn(3, 2),))
    assert not [node for node in program.graph.nodes if "as_strided" in str(node.target)]


@pytest.mark.parametrize("turned", [False, True])
def test_gradients_go_through(turned: bool) -> None:
    def wave(x: Tensor) -> Tensor:
        return 2 * stored(x.mT.sin() if turned else x.sin())

    x = torch.randn(3, 2, dtype=torch.float64, requires_grad=True)
    torch._dynamo.reset()
    call = torch.compile(wave, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(call(x), wave(x))
    (ours,) = torch.autograd.grad(call(x).square().sum(), x)
    (plain,) = torch.autograd.grad(wave(x).square().sum(), x)
    torch.testing.assert_close(ours, plain)


def loops(code: str) -> list[str]:
    """The outermost loops in generated code, one by one."""
    kernels = code.split("async_compile.cpp")[1:]
    return [loop for kernel in kernels for loop in kernel.split("for(int64_t x0=")[1:]]


@pytest.mark.slow
@pytest.mark.usefixtures("unchecked")
def test_a_compiled_rotation_makes_its_sines_once_for_all_samples() -> None:
    rotary, places = Rotary(), Places.of(4, 6)
    q = torch.randn(5, 3, 24, 8)
    torch._dynamo.reset()
    call = torch.compile(lambda x: rotary.rotate(x, x, places, places)[0], fullgraph=True)
    out, (code,) = run_and_get_code(call, q)
    torch.testing.assert_close(out, rotary.rotate(q, q, places, places)[0])
    sines = [loop for loop in loops(code) if ".sin()" in loop or "std::sin(" in loop]
    assert sines
    assert not any("<static_cast<int64_t>(15L)" in loop for loop in sines)  # 5 samples x 3 heads


@pytest.mark.slow
@pytest.mark.usefixtures("unchecked")
def test_a_compiled_look_up_reads_its_buckets_from_memory() -> None:
    shaw, places = Shaw(8, on_values=False, std=0.02), Places.of(4, 6)
    q = torch.randn(5, 3, 24, 8)
    torch._dynamo.reset()
    call = torch.compile(lambda x: shaw.bias(x, x, places, places, 1.0), fullgraph=True)
    with torch.no_grad():
        out, (code,) = run_and_get_code(call, q)
    torch.testing.assert_close(out, shaw.bias(q, q, places, places, 1.0))
    looked_up = [loop for loop in loops(code) if "<static_cast<int64_t>(15L)" in loop]
    assert looked_up
    assert not any("std::max" in loop for loop in looked_up)  # the clipping of offsets
