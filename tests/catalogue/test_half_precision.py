"""Tables in half precision: each number is the nearest one to that of float64, or next to it."""

import copy
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from record import Kind, Record, Sample
from records import awake, samples
from torch import Tensor, nn

from visionpe import (
    Alibi2d,
    AxisBias,
    BucketBias,
    Frame,
    IRPEBias,
    LogCPB,
    Places,
    RelativeBias,
)
from visionpe.checking.precision import _exact
from visionpe.checking.subject import Calling

POSITIONS, OFFSET = 4096, 65_536
# No tables but learned sums: near zero an ulp is far below their rounding (docs/encodings.md).
SUMS = (
    *("AddFourierFeatures", "HyperScale", "CoordConv2d", "PEG", "ConvolutionalContext2d"),
    *("HyperConv2d", "HeightAttention"),
)
INDEXED = ("Factorised2d",)  # one setting has no more entries than cells


def ulps(ours: Tensor, wanted: Tensor) -> float:
    """The largest error, each in units of the last place of the number wanted."""
    info = torch.finfo(ours.dtype)
    size = wanted.to(ours.dtype).double().abs().clamp(min=info.smallest_normal)
    last_place = torch.exp2(size.log2().floor()) * info.eps
    return float(((ours.double() - wanted).abs() / last_place).max())


def worst_of(plain: nn.Module, module: nn.Module, args: tuple[Any, ...]) -> float:
    """The largest error of a module in half precision, in units of the last place."""
    with torch.no_grad():
        got, wanted = module(*args), _exact(plain, module, args, {})
    assert wanted, "nothing to compare"
    assert got.dtype == args[0].dtype
    return ulps(got, wanted[0])


def lines(record: Record, sample: Sample) -> Iterator[tuple[int, int, Frame | None]]:
    """A row and a column of positions, and the same far from the origin of a larger image."""
    held = record.name in INDEXED and not sample.scale_free
    count = POSITIONS // 128 if held else POSITIONS
    for h, w in ((1, count), (count, 1)):
        yield h, w, None
        if record.absolute and not held:
            top, left = (OFFSET * (n > 1) for n in (h, w))
            yield h, w, Frame.identity(h + top, w + left).crop(top, left, h=h, w=w)


@samples(
    lambda r, s: r.kind in (Kind.MAP, Kind.POINT) and r.name not in SUMS and s.sizes[0] == (5, 7)
)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_table_of_4096_positions_is_within_an_ulp_at_an_offset_of_65536_too(
    record: Record, sample: Sample, dtype: torch.dtype
) -> None:
    plain = awake(sample)
    module = copy.deepcopy(plain).to(dtype)
    for h, w, frame in lines(record, sample):
        x = torch.zeros(1, sample.channels, h, w, dtype=dtype)
        assert worst_of(plain, module, (x,) if frame is None else (x, frame)) <= 1
        if record.kind is Kind.POINT:
            pair = Calling(plain, "tokens"), Calling(module, "tokens")
            tokens = x.flatten(2).mT
            assert worst_of(*pair, (tokens, Places.of(h, w, frame))) <= 1


def along(axis: int, offset: int, count: int) -> tuple[Places, Places]:
    """Three queries, and as many keys as the axis has positions."""
    points, extent = torch.zeros(count, 2), [1.0, 1.0]
    points[:, axis] = offset + torch.arange(count)
    extent[axis] = offset + count
    size = (extent[0], extent[1])
    return Places.at(points[[0, count // 2, -1]], size), Places.at(points, size)


@samples(lambda r, s: r.encoding in (RelativeBias, LogCPB, AxisBias, BucketBias, Alibi2d, IRPEBias))
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_bias_of_4096_keys_is_within_an_ulp_at_an_offset_of_65536_too(
    record: Record, sample: Sample, dtype: torch.dtype
) -> None:
    plain = awake(sample)
    module = copy.deepcopy(plain).to(dtype)
    # A table of windows holds no more.
    count = min(module.window) if isinstance(module, RelativeBias | AxisBias) else POSITIONS
    q, k = (torch.randn(1, sample.heads, n, sample.head_dim, dtype=dtype) for n in (3, count))
    for axis in (0, 1):
        for offset in (0, OFFSET):
            places = along(axis, offset, count)
            pair = Calling(plain, "bias"), Calling(module, "bias")
            assert worst_of(*pair, (q, k, *places, 0.25)) <= 1


@samples(lambda r, s: r.name.startswith("Rotary"))
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_cosines_and_sines_of_turns_at_4096_positions_are_within_an_ulp_at_an_offset_too(
    record: Record, sample: Sample, dtype: torch.dtype
) -> None:
    plain = awake(sample)
    module = copy.deepcopy(plain).to(dtype)
    for axis in (0, 1):
        for offset in (0, OFFSET):
            queries, keys = along(axis, offset, POSITIONS)
            q = torch.zeros(1, sample.heads, 3, sample.head_dim, dtype=dtype)
            k = torch.zeros(1, sample.heads, POSITIONS, sample.head_dim, dtype=dtype)
            # The first of each pair: turned, the two are the cosine and the sine.
            if module.layout == "half":
                k[..., : sample.head_dim // 2] = 1
            else:
                k[..., ::2] = 1
            turning = Calling(module, "rotate")
            with torch.no_grad():
                got = turning(q, k, queries, keys)[1]
                wanted = _exact(Calling(plain, "rotate"), turning, (q, k, queries, keys), {})[1]
            assert got.dtype == dtype
            assert ulps(got, wanted) <= 1


def test_the_measure_can_fail() -> None:
    wanted = torch.tensor([1.0, 0.001], dtype=torch.float64)
    assert ulps(wanted.bfloat16(), wanted) <= 0.5
    assert ulps(torch.tensor([1.0, 0.00102]).bfloat16(), wanted) > 2
