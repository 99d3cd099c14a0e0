"""All records of the catalogue, and their samples as parameters of the generated tests."""

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
from record import Kind, Record, Sample
from torch import Tensor, nn

from visionpe import Places

RECORDS: list[Record] = [
    record
    for path in sorted((Path(__file__).parent / "catalogue").glob("*.py"))
    if not path.stem.startswith(("test_", "_", "conftest"))
    for record in import_module(f"catalogue.{path.stem}").RECORDS
]


def samples(
    of: Callable[[Record, Sample], bool] = lambda record, sample: True,
) -> pytest.MarkDecorator:
    """Parametrises a test over `(record, sample)`, for those that `of` takes."""
    return pytest.mark.parametrize(
        ("record", "sample"),
        [
            pytest.param(record, sample, id=f"{record.name}-{index}")
            for record in RECORDS
            for index, sample in enumerate(record.samples)
            if of(record, sample)
        ],
    )


def awake(sample: Sample, *, seed: int = 0) -> nn.Module:
    """The module in eval mode, nothing in it zero-initialised any more."""
    torch.manual_seed(seed)
    return awaken(sample.make().eval())


def awaken(module: nn.Module) -> nn.Module:
    """The module, with noise added to all that it learns."""
    with torch.no_grad():
        for parameter in module.parameters():
            if parameter.requires_grad:
                parameter.add_(0.1 * torch.randn_like(parameter))
    return module


def oblong(sample: Sample) -> tuple[int, int]:
    """A size that the sample accepts, not square, no side of 1 if it can be."""
    return max(sample.sizes, key=lambda size: (min(size) > 1, size[0] != size[1]))  # the first


def call(
    record: Record,
    sample: Sample,
    size: tuple[int, int],
    *,
    batch: int = 2,
    dtype: torch.dtype = torch.float32,
) -> tuple[Any, ...]:
    """The arguments of an ordinary call."""
    h, w = size
    if record.inputs is not None:
        return record.inputs(sample, size, batch, dtype)
    if record.kind is Kind.ATTENTION:
        shape = (batch, sample.heads, h * w, sample.head_dim)
        return (*(torch.randn(shape, dtype=dtype) for _ in range(3)), Places.of(h, w))
    return (torch.randn(batch, sample.channels, h, w, dtype=dtype),)


def tensors(out: Any) -> list[Tensor]:
    """The tensors in a result, in order."""
    if isinstance(out, Tensor):
        return [out]
    if isinstance(out, dict):
        return [tensor for part in out.values() for tensor in tensors(part)]
    return [t for part in out for t in tensors(part)] if isinstance(out, list | tuple) else []
