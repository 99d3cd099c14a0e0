"""Any size, width, batch, dtype and memory format: the result of float64, rounded."""

import copy
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from record import Kind, Record, Sample
from records import RECORDS, awake, call, tensors
from torch import Tensor, nn

from visionpe import AxisBias, DecomposedBias, Factorised2d, MapEncoding, RelativeBias

CELLS = {Kind.ATTENTION: 90, Kind.MAP: 700, Kind.POINT: 700, Kind.OTHER: 300}
DTYPES = [torch.float64, torch.float32, torch.bfloat16, torch.float16]
ANY_SIZE = Sample(nn.Identity).sizes


def size_of(
    draw: st.DataObject, record: Record, sample: Sample, module: nn.Module
) -> tuple[int, int]:
    """`(h, w)` from 1 to 64 each, as long as it stays quick; or one of those that are accepted."""
    if sample.sizes != ANY_SIZE:
        return draw.draw(st.sampled_from(sample.sizes), "size")
    rows, columns = largest(module)
    h = draw.draw(st.integers(1, rows), "h")
    return h, draw.draw(st.integers(1, max(1, min(columns, CELLS[record.kind] // h))), "w")


def largest(module: nn.Module) -> tuple[int, int]:
    """The largest lattice whose offsets, or whose cells, a table of the module knows."""
    if isinstance(module, RelativeBias | AxisBias | DecomposedBias):
        return module.window
    if isinstance(module, Factorised2d) and not module.fractional:
        return module.cells
    return 64, 64


def width_of(draw: st.DataObject, module: nn.Module, sample: Sample) -> int:
    """The sample's channels; any number, odd ones too, if the encoding takes any."""
    if not isinstance(module, MapEncoding) or module.channels is not None:
        return sample.channels
    channels = draw.draw(st.integers(1, 11), "channels")
    try:
        module.out_channels(channels)
    except ValueError:  # conv weights of other channels, or an axis without a sine
        return sample.channels
    return channels


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: record.name)
@settings(deadline=None, max_examples=12, derandomize=True, database=None)
@given(draw=st.data())
def test_the_result_is_float64s_at_any_size_batch_dtype_and_memory_format(
    record: Record, draw: st.DataObject
) -> None:
    sample = draw.draw(st.sampled_from(record.samples), "sample")
    dtype = draw.draw(st.sampled_from(DTYPES), "dtype")
    module = awake(sample).to(dtype)
    size = size_of(draw, record, sample, module)
    wide = Sample(
        sample.make,
        channels=width_of(draw, module, sample),
        heads=sample.heads,
        head_dim=sample.head_dim,
    )
    args = call(record, wide, size, batch=draw.draw(st.integers(0, 4), "batch"), dtype=dtype)
    if draw.draw(st.booleans(), "channels last"):
        args = tuple(last(arg) for arg in args)
    with torch.no_grad():
        got = tensors(module(*args))
        wanted = tensors(copy.deepcopy(module).double()(*(double(arg) for arg in args)))
    for ours, theirs in zip([out.detach() for out in got], wanted, strict=True):
        assert ours.shape == theirs.shape
        if record.inputs is None:
            assert ours.dtype == dtype
        assert ours.isfinite().all()
        if ours.numel():
            bound = 24 * torch.finfo(ours.dtype).eps * max(1.0, float(theirs.detach().abs().max()))
            assert (ours.double() - theirs).abs().max() <= bound


def last(arg: Any) -> Any:
    """A map with its channels last in memory."""
    is_map = isinstance(arg, Tensor) and arg.dim() == 4
    return arg.contiguous(memory_format=torch.channels_last) if is_map else arg


def double(arg: Any) -> Any:
    return arg.double() if isinstance(arg, Tensor) and arg.is_floating_point() else arg
