"""`torch.jit.trace`, which deployments still use, with gradients on as most call it."""

import pytest
import torch
from record import Kind, Record, Sample
from records import awake, call, oblong, samples, tensors
from torch import nn

from visionpe import Places


class At(nn.Module):
    """Attention's encoding at fixed places: a trace takes tensors alone."""

    def __init__(self, module: nn.Module, places: Places) -> None:
        super().__init__()
        self.module = module
        self.places = places

    def forward(self, *args: torch.Tensor) -> torch.Tensor:
        return self.module(*args, self.places)  # type: ignore[no-any-return]


@samples(lambda record, sample: sample is record.samples[0] and record.inputs is None)
@pytest.mark.filterwarnings("ignore")  # that it is deprecated, and what it fixes
@pytest.mark.usefixtures("unchecked")
def test_a_trace_computes_what_the_module_does(record: Record, sample: Sample) -> None:
    module, size = awake(sample), oblong(sample)
    args = call(record, sample, size)
    if record.kind is Kind.ATTENTION:
        module, args = At(module, args[-1]), args[:-1]
    traced = torch.jit.trace(module, args, check_trace=False)
    fresh = call(record, sample, size)[: len(args)]
    for ours, wanted in zip(tensors(traced(*fresh)), tensors(module(*fresh)), strict=True):
        torch.testing.assert_close(ours, wanted)
