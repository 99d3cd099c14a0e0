"""Tables in half precision: each number is the nearest one to that of float64, or next to it."""

import copy

import pytest
import torch
from record import Kind, Record, Sample
from records import awake, samples
from torch import Tensor

from visionpe import Frame
from visionpe.checking.precision import _exact

POSITIONS, OFFSET = 4096, 65_536
# Sums of products: near zero an ulp is far below their rounding in float32 (docs/encodings.md).
SUMS = (
    *("FourierFeatures", "AddFourierFeatures", "NerfFeatures", "LogAxisFeatures"),
    *("HyperScale", "CoordConv2d", "PEG", "ConvolutionalContext2d", "HyperConv2d"),
    "HeightAttention",
)
INDEXED = ("Factorised2d",)  # one setting has no more entries than cells


def ulps(ours: Tensor, wanted: Tensor) -> float:
    """The largest error, each in units of the last place of the number wanted."""
    info = torch.finfo(ours.dtype)
    size = wanted.to(ours.dtype).double().abs().clamp(min=info.smallest_normal)
    last_place = torch.exp2(size.log2().floor()) * info.eps
    return float(((ours.double() - wanted).abs() / last_place).max())


@samples(
    lambda r, s: r.kind in (Kind.MAP, Kind.POINT) and r.name not in SUMS and s.sizes[0] == (5, 7)
)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_table_of_4096_positions_is_within_an_ulp_at_an_offset_of_65536_too(
    record: Record, sample: Sample, dtype: torch.dtype
) -> None:
    plain = awake(sample)
    module = copy.deepcopy(plain).to(dtype)
    for size in ((1, POSITIONS), (POSITIONS, 1)):
        if record.name in INDEXED and not sample.scale_free:
            size = (size[0] // 128 or 1, size[1] // 128 or 1)
        x = torch.zeros(1, sample.channels, *size, dtype=dtype)
        calls: list[tuple[object, ...]] = [(x,)]
        if record.absolute and size[0] * size[1] == POSITIONS:
            top, left = (OFFSET * (n > 1) for n in size)
            whole = Frame.identity(size[0] + top, size[1] + left)
            calls.append((x, whole.crop(top, left, h=size[0], w=size[1])))
        for args in calls:
            with torch.no_grad():
                got, wanted = module(*args), _exact(plain, module, args, {})[0]
            assert got.dtype == dtype
            assert ulps(got, wanted) <= 1


def test_the_measure_can_fail() -> None:
    wanted = torch.tensor([1.0, 0.001], dtype=torch.float64)
    assert ulps(wanted.bfloat16(), wanted) <= 0.5
    assert ulps(torch.tensor([1.0, 0.00102]).bfloat16(), wanted) > 2
