"""What single operations do to places."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from visionpe import trace
from visionpe.tracing.codes import is_pairs, pair, unpair
from visionpe.tracing.lattices import Lattice, fit


class Function(nn.Module):
    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


def lattice(function: Callable[[Tensor], Tensor], h: int = 8, w: int = 12) -> Lattice | None:
    found = trace(nn.Sequential(nn.Conv2d(3, 4, 1), Function(function)), h, w)
    return found.at("1")[-1].lattice


@pytest.mark.parametrize(
    ("function", "spacing", "offset"),
    [
        (lambda x: F.avg_pool2d(x, 2), 2.0, 1.0),
        (lambda x: F.max_pool2d(x, 3, 2, 1), 2.0, 0.5),
        (lambda x: F.max_pool2d(x, 2, 2, ceil_mode=True), 2.0, 1.0),
        (lambda x: F.adaptive_avg_pool2d(x, (4, 6)), 2.0, 1.0),
        (lambda x: F.interpolate(x, scale_factor=2, mode="bilinear"), 0.5, 0.25),
        (lambda x: F.interpolate(x, scale_factor=2), 0.5, 0.25),
        (lambda x: F.pad(x, (1, 1, 1, 1)), 1.0, -0.5),
        (lambda x: F.pad(x, (1, 1, 1, 1), mode="reflect"), 1.0, -0.5),
        (lambda x: F.pixel_unshuffle(x, 2).mean(1, keepdim=True), 2.0, 1.0),
        (lambda x: F.fold(F.unfold(x, 2, stride=2), (8, 12), 2, stride=2), 1.0, 0.5),
        (lambda x: F.conv_transpose2d(x, torch.ones(4, 2, 2, 2), stride=2), 0.5, 0.25),
        (lambda x: F.conv2d(x, torch.ones(2, 4, 3, 3), dilation=2, padding=2), 1.0, 0.5),
        (lambda x: x * x.mean((2, 3), keepdim=True).sigmoid(), 1.0, 0.5),
        (lambda x: x + torch.arange(12.0), 1.0, 0.5),
        (lambda x: torch.zeros_like(x).copy_(x), 1.0, 0.5),
        (lambda x: x.to(torch.float16).softmax(1).float(), 1.0, 0.5),
        (lambda x: x.roll(3, 2).roll(-3, 2), 1.0, 0.5),
        (lambda x: torch.where(x > 0, x, torch.zeros(())), 1.0, 0.5),
        (lambda x: F.group_norm(F.layer_norm(x, [12]), 2), 1.0, 0.5),
        # two branches, shifted against each other: between them
        (lambda x: F.avg_pool2d(x, 2) + x[..., ::2, ::2], 2.0, 0.75),
    ],
)
def test_an_operation_moves_places(
    function: Callable[[Tensor], Tensor], spacing: float, offset: float
) -> None:
    found = lattice(function)
    assert found is not None
    assert (found.spacing, found.offset) == ((spacing, spacing), (offset, offset))


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x.mean((2, 3), keepdim=True),
        lambda x: F.adaptive_avg_pool2d(x, 1),
        lambda x: F.avg_pool2d(x, (8, 12)),
        lambda x: (x.flatten(2) @ torch.ones(96, 96)).view_as(x),  # every token from all
        lambda x: torch.randn_like(x),
        lambda x: torch.linspace(0, 1, 12).expand_as(x),
    ],
)
def test_what_comes_from_everywhere_or_nowhere_has_no_place(
    function: Callable[[Tensor], Tensor],
) -> None:
    found = trace(nn.Sequential(nn.Conv2d(3, 4, 1), Function(function)), 8, 12)
    assert "1" not in {site.module for site in found.sites}


def test_padding_continues_rows_and_adds_tokens_without_a_place() -> None:
    net = nn.Sequential(
        nn.Conv2d(3, 4, 1),
        Function(lambda x: F.pad(x.roll(3, 2), (1, 0)).flatten(2).mT),
        Function(lambda x: F.pad(x, (0, 0, 2, 1))),
    )
    found = trace(net, 8, 12)
    assert found.at("1")[0].prefix == found.at("1")[0].suffix == 0
    assert (found.at("2")[0].prefix, found.at("2")[0].suffix) == (2, 1)


def test_a_query_times_values_of_its_own_place_is_no_attention() -> None:
    """LambdaNetworks, arXiv 2102.08602: each position has a matrix of its own."""

    def lambdas(x: Tensor) -> Tensor:
        tokens = x.flatten(2).mT  # b n c
        matrices = tokens[..., None] * torch.ones(4)  # b n c v
        return (tokens[..., None, :] @ matrices).squeeze(-2).mT.reshape(x.shape)

    found = trace(
        nn.Sequential(nn.Conv2d(3, 4, 1), Function(lambdas), nn.Conv2d(4, 8, 1, stride=2)), 8, 12
    )
    assert found.attention == []
    assert found.at("1")[0].lattice == Lattice(8, 12, (1.0, 1.0), (0.5, 0.5))
    assert found.at("2")[-1].lattice == Lattice(4, 6, (2.0, 2.0), (0.5, 0.5))


def test_an_unknown_operation_is_told() -> None:
    found = trace(
        nn.Sequential(nn.Conv2d(3, 4, 1), Function(lambda x: torch.fft.fft(x).real)), 4, 6
    )
    assert "_fft_r2c" in found.unknown
    assert "operations not known, taken to have no place: _fft_r2c (1)" in str(found)


def test_heads_folded_into_the_batch_are_counted() -> None:
    class Folded(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.patch = nn.Conv2d(3, 12, 4, 4)

        def forward(self, x: Tensor) -> Tensor:
            tokens = self.patch(x).flatten(2).mT  # b n 12
            heads = tokens.unflatten(-1, (3, 4)).transpose(1, 2).flatten(0, 1)  # 3b n 4
            weights = torch.bmm(heads, heads.mT).softmax(-1)
            out: Tensor = weights @ heads
            return out

    (site,) = trace(Folded(), 8, 12).attention
    assert (site.heads, site.head_dim, site.head_axis) == (3, 4, None)
    assert (site.windows, site.window) == (1, (2, 3))


def test_keys_times_queries_is_attention_too() -> None:
    class Turned(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.patch, self.few = nn.Conv2d(3, 4, 2, 2), nn.Conv2d(3, 4, 4, 4)
            self.after = nn.Identity()

        def forward(self, x: Tensor) -> Tensor:
            q, k = self.patch(x).flatten(2).mT, self.few(x).flatten(2).mT
            weights = torch.einsum("bmc,bnc->bmn", k, q).softmax(1)
            out: Tensor = self.after(torch.einsum("bmn,bmc->bnc", weights, k))
            return out

    found = trace(Turned(), 8, 12)
    (site,) = found.attention
    assert (str(site.lattice), str(site.key_lattice)) == ("4 x 6", "2 x 3")
    assert found.at("after")[0].lattice == site.lattice


def test_attention_as_a_whole_and_by_hand_is_the_same() -> None:
    class Attention(nn.Module):
        def __init__(self, *, fused: bool) -> None:
            super().__init__()
            self.fused = fused
            self.patch = nn.Conv2d(3, 8, 4, 4)

        def forward(self, x: Tensor) -> Tensor:
            q = self.patch(x).flatten(2).mT.unflatten(-1, (2, 4)).transpose(1, 2)
            if self.fused:
                return F.scaled_dot_product_attention(q, q, q)
            bias = torch.randn(2, 6, 6)
            out: Tensor = ((q * 0.5) @ q.mT + bias).softmax(-1) @ q
            return out

    (a,), (b,) = (trace(Attention(fused=fused), 8, 12).attention for fused in (True, False))
    assert (a.call, b.call) == ("sdpa", "softmax")
    assert a.queries is not None
    assert b.queries is not None
    assert torch.equal(a.queries.positions, b.queries.positions)
    assert (a.heads, a.head_dim, a.head_axis) == (b.heads, b.head_dim, b.head_axis) == (2, 4, -3)


@settings(deadline=None, max_examples=40, derandomize=True)
@given(h=st.integers(1, 64), w=st.integers(1, 64), s=st.integers(1, 32), seed=st.integers(0, 99))
def test_any_lattice_is_found_in_any_order_and_not_without_a_cell(
    h: int, w: int, s: int, seed: int
) -> None:
    made = Lattice(h, w, (float(s), s / 2), (0.5, 3.0))
    torch.manual_seed(seed)
    points = made.points()[torch.randperm(h * w)]
    found = fit(points[:, 0], points[:, 1], (99, 77))
    assert found is not None
    assert (found.h, found.w, found.offset) == (h, w, made.offset)
    assert found.spacing == (float(s) if h > 1 else 99.0, s / 2 if w > 1 else 77.0)
    if h > 2 and w > 2:
        assert fit(points[1:, 0], points[1:, 1], (99, 77)) is None


@settings(deadline=None, max_examples=40, derandomize=True)
@given(places=st.lists(st.integers(-4000, 4000), min_size=2, max_size=2))
def test_a_pair_keeps_both_places(places: list[int]) -> None:
    row, column = torch.tensor(places, dtype=torch.float64) / 2
    code = pair(row.view(1, 1), column.view(1, 1))
    assert is_pairs(code)
    assert [x.item() for x in unpair(code)] == [row.item(), column.item()]
