"""A stem without gradients is computed in one pass over its result, which is the same."""

import itertools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.autograd import forward_ad

from visionpe import CoordConv2d, Frame
from visionpe.encodings import _stem
from visionpe.encodings._stem import Stem

LAYOUTS = [torch.contiguous_format, torch.channels_last]
GEOMETRIES: list[tuple[Any, dict[str, Any]]] = [
    (3, {"padding": 1}),
    (7, {"padding": 3, "stride": 2}),
    ((4, 3), {"padding": "same"}),
    ((3, 5), {"padding": (2, 0), "stride": (3, 1), "dilation": (2, 1)}),
    (1, {}),
]


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """How stems were computed; a block is small, so that small results have many."""
    record: list[str] = []
    cut, add = Stem._blocks, Stem._added_to

    def blocks(self: Stem) -> Any:
        for block in cut(self):
            record.append("block")
            yield block

    def added(self: Stem, term: Tensor) -> Tensor:
        record.append("sum")
        return add(self, term)

    monkeypatch.setattr(Stem, "_blocks", blocks)
    monkeypatch.setattr(Stem, "_added_to", added)
    monkeypatch.setattr(_stem, "cached_numbers", lambda: 1000)
    return record


def stem(kernel: Any = 3, **options: Any) -> CoordConv2d:
    return CoordConv2d(3, 10, kernel, **{"padding": 1, **options}, zero_init=False)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(("kernel", "options"), GEOMETRIES)
@pytest.mark.parametrize("mode", ["zeros", "reflect", "replicate", "circular"])
def test_blocks_of_samples_and_rows_are_the_whole(
    layout: torch.memory_format,
    kernel: Any,
    options: dict[str, Any],
    mode: str,
    taken: list[str],
) -> None:
    for (batch, h, w), radius, bias, framed in itertools.product(
        [(37, 5, 8), (3, 41, 23)], (False, True), (False, True), (False, True)
    ):
        conv = stem(kernel, **options, padding_mode=mode, radius=radius, bias=bias)
        conv = conv.to(memory_format=layout)
        x = torch.randn(batch, 3, h, w).contiguous(memory_format=layout)
        crops = [Frame.identity(2 * h, 2 * w).crop(1, i, h=h, w=w) for i in range(batch)]
        frame = Frame.stack(crops) if framed else None
        whole = conv(x, frame)  # with a gradient to come there are no blocks
        assert not taken
        with torch.no_grad():
            got = conv(x, frame)
        if layout is torch.contiguous_format:
            assert len(taken) > 1
            assert set(taken) == {"block"}
        else:
            assert taken == ([] if whole[0].numel() > 1000 else ["sum"])
        torch.testing.assert_close(got, whole, rtol=1e-5, atol=2e-6)
        assert got.stride() == whole.stride()
        taken.clear()


def test_a_torch_without_the_sum_adds_afterwards(
    taken: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    conv = stem().to(memory_format=torch.channels_last)
    x = torch.randn(40, 3, 8, 8)
    with torch.no_grad():
        wanted = conv(x)
        assert taken == ["sum"]
        monkeypatch.setattr(_stem, "_accumulates", lambda: False)
        torch.testing.assert_close(conv(x), wanted, rtol=1e-5, atol=2e-6)
        assert taken == ["sum"]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("size", [(2, 70, 9), (1, 6, 400), (1, 33, 33), (9, 6, 7)])
def test_blocks_take_the_strips_of_whole_images_too(
    layout: torch.memory_format,
    size: tuple[int, int, int],
    taken: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("visionpe.encodings.coordconv.separates", lambda *_: True)
    for kernel, options in GEOMETRIES:
        conv = stem(kernel, **options)
        x = torch.randn(size[0], 3, *size[1:]).contiguous(memory_format=layout)
        whole = conv(x)
        with torch.no_grad():
            torch.testing.assert_close(conv(x), whole, rtol=1e-5, atol=2e-6)
    if layout is torch.contiguous_format or size[0] == 9:
        assert taken


@pytest.mark.parametrize("layout", LAYOUTS)
def test_with_zero_coordinate_weights_a_large_stem_is_the_plain_convolution(
    layout: torch.memory_format,
) -> None:
    """Bit for bit, at sizes where blocks are taken by themselves."""
    for shape in [(97, 3, 33, 32), (1, 3, 301, 507), (61, 1, 64, 69)]:
        plain = nn.Conv2d(shape[1], 64, 3, padding=1).to(memory_format=layout)
        conv = CoordConv2d(shape[1], 64, 3, padding=1).to(memory_format=layout)
        conv.load_state_dict(plain.state_dict(), strict=False)
        x = torch.randn(shape).contiguous(memory_format=layout)
        with torch.inference_mode():
            assert torch.equal(conv(x), plain(x))


def test_the_result_lies_in_memory_as_torch_would_lay_it() -> None:
    for first, second, channels, kernel in itertools.product(LAYOUTS, LAYOUTS, (1, 3), (1, 3)):
        conv = CoordConv2d(channels, 16, kernel, zero_init=False).to(memory_format=second)
        conv.weight = nn.Parameter(conv.weight.detach().clone(memory_format=second))
        x = torch.randn(60, channels, 64, 69).clone(memory_format=first)
        with torch.no_grad():
            got, wanted = conv(x), nn.functional.conv2d(x, conv.weight)
        assert got.stride() == wanted.stride()


def refused() -> dict[str, Callable[[nn.Module], Tensor]]:
    x = torch.randn(40, 3, 8, 8)

    def dual(conv: nn.Module) -> Tensor:
        with forward_ad.dual_level():
            y: Tensor = conv(forward_ad.make_dual(x, torch.ones_like(x)))
            tangent = forward_ad.unpack_dual(y).tangent
            return torch.as_tensor(tangent)

    def autocast(conv: nn.Module) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            y: Tensor = conv(x)
        return y

    def moved(conv: nn.Module, to: torch.dtype | str) -> Tensor:
        return torch.as_tensor(conv.to(to)(x.to(to)))

    return {
        "tangent": dual,
        "autocast": autocast,
        "float64": lambda conv: moved(conv, torch.float64),
        "meta": lambda conv: moved(conv, "meta"),
    }


@pytest.mark.filterwarnings("ignore:`torch.jit.script")
@pytest.mark.parametrize("how", refused())
def test_where_blocks_would_be_wrong_or_slow_there_are_none(how: str, taken: list[str]) -> None:
    with torch.no_grad():
        assert refused()[how](stem()).shape[1] == 10
        assert not taken
        assert CoordConv2d(5, 10, 3)(torch.randn(40, 5, 8, 8)).shape[1] == 10
        assert not taken
        assert stem()(torch.randn(0, 3, 8, 8)).shape == (0, 10, 8, 8)
        assert not taken
        stem()(torch.randn(40, 3, 8, 8))
        assert taken


@pytest.mark.filterwarnings("ignore")  # of what is deprecated and of what a trace fixes
@pytest.mark.usefixtures("unchecked")
def test_a_trace_takes_none_for_it_would_keep_their_number(taken: list[str]) -> None:
    with torch.no_grad():
        torch.jit.trace(stem(), torch.randn(40, 3, 8, 8), check_trace=False)
    assert not taken
