"""Compiled by torch: the same values and gradients, and how many graphs other sizes cost."""

from typing import Any

import pytest
import torch
from records import awaken
from torch import Tensor, nn
from torch._dynamo.utils import counters
from versions import BEFORE_2_11

from visionpe import (
    AddFourierFeatures,
    AttentionEncoding,
    CoordConv2d,
    IRPEContextual,
    Learned2d,
    Places,
    RelativeBias,
    Rotary,
    Sinusoidal2d,
    attend,
)

pytestmark = pytest.mark.usefixtures("unchecked")
SIZES = ((5, 7), (8, 4), (6, 6), (3, 9), (10, 6), (4, 11))


@pytest.fixture(autouse=True)
def _anew() -> Any:
    torch._dynamo.reset()
    counters.clear()
    yield
    torch._dynamo.reset()


class Maps(nn.Module):
    """Encodings of maps in a row."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = CoordConv2d(3, 8, 3, padding=1, radius=True, zero_init=False)
        self.table = Learned2d(8, (4, 6), init_std=0.02)
        self.waves = AddFourierFeatures(8, 4, trainable=True, seed=0, init_std=0.02)
        self.fixed = Sinusoidal2d(cells=(14, 14))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.fixed(self.waves(self.table(self.conv(x)))).tanh()
        return out


class Attention(nn.Module):
    """A bias, a contextual bias and a rotation at once."""

    def __init__(self) -> None:
        super().__init__()
        self.encodings = nn.ModuleList([RelativeBias(2, (12, 12)), IRPEContextual(8), Rotary()])

    def forward(self, q: Tensor, k: Tensor, v: Tensor, places: Places) -> Tensor:
        acting = [part for part in self.encodings if isinstance(part, AttentionEncoding)]
        return attend(q, k, v, acting, places)


def heads(h: int, w: int) -> tuple[Any, ...]:
    q, k, v = torch.randn(3, 2, 2, 1 + h * w, 8)
    return q, k, v, Places.of(h, w, prefix=1)


def learns_alike(module: nn.Module, compiled: Any, args: tuple[Any, ...]) -> None:
    """The same result, and the same gradients."""
    found = []
    for run in (module, compiled):
        module.zero_grad()
        out = run(*args)
        out.square().sum().backward()
        grads = [p.grad.clone() for p in module.parameters() if p.grad is not None]
        assert grads
        found.append([out.detach(), *grads])
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(theirs, ours, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("backend", ["aot_eager", pytest.param("inductor", marks=pytest.mark.slow)])
@pytest.mark.parametrize("kind", [Maps, Attention])
def test_compiled_they_learn_alike_at_every_size(kind: type[nn.Module], backend: str) -> None:
    module = awaken(kind())
    compiled = torch.compile(module, fullgraph=True, dynamic=True, backend=backend)
    for h, w in SIZES[:2]:
        learns_alike(module, compiled, (torch.randn(2, 3, h, w),) if kind is Maps else heads(h, w))
    # Before 2.11, inductor bounds a size by itself, and makes another graph beyond the bound.
    most = 2 if BEFORE_2_11 and backend == "inductor" else 1
    assert counters["stats"]["unique_graphs"] <= most


@pytest.mark.parametrize("dynamic", [None, True])
def test_six_sizes_take_two_graphs_and_one_if_sizes_are_said_to_change(
    dynamic: bool | None,
) -> None:
    for module, calls in (
        (Maps(), [(torch.randn(2, 3, h, w),) for h, w in SIZES]),
        (Attention(), [heads(*size) for size in SIZES]),
    ):
        torch._dynamo.reset()
        counters.clear()
        compiled = torch.compile(module, fullgraph=True, backend="eager", dynamic=dynamic)
        for args in calls:
            compiled(*args)
        assert counters["stats"]["unique_graphs"] == (1 if dynamic else 2)


def test_a_side_of_one_cell_takes_a_graph_of_its_own() -> None:
    compiled = torch.compile(Maps(), fullgraph=True, backend="eager", dynamic=True)
    for count, (h, w) in enumerate([(5, 7), (1, 6), (6, 1), (1, 1)], 1):
        compiled(torch.randn(2, 3, h, w))
        compiled(torch.randn(2, 3, h, w))
        assert counters["stats"]["unique_graphs"] == count
