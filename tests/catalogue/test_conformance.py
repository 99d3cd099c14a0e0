"""`visionpe.check` on every encoding of the catalogue."""

from typing import Any

import pytest
import torch
from record import Kind, Record, Sample
from records import oblong, samples
from torch import Tensor, nn
from torch.utils import _pytree as tree

from visionpe import AttentionEncoding, check
from visionpe.checking.kit import CHECKS

# Costly: for an encoding's first sample only.
ONCE = ("compiled", "export", "export_after_use", "onnx", "growth")


def options(record: Record, sample: Sample) -> dict[str, Any]:
    """How `check` calls the sample."""
    given: dict[str, Any] = {"no_grad": tuple(record.no_grad), "aspect": record.aspect}
    if sample.sizes != Sample(nn.Identity).sizes:
        base = oblong(sample)
        given["sizes"] = (base, *(size for size in sample.sizes if size != base))
    if record.inputs is not None:
        make = record.inputs

        def inputs(
            h: int, w: int, batch: int, dtype: torch.dtype, device: torch.device
        ) -> tuple[Any, ...]:
            args: tuple[Any, ...] = make(sample, (h, w), batch, dtype)
            return tuple(
                tree.tree_map_only(Tensor, lambda tensor: tensor.to(device), part) for part in args
            )

        return {**given, "inputs": inputs}
    if record.kind is Kind.ATTENTION:
        return {**given, "heads": sample.heads, "head_dim": sample.head_dim}
    return {**given, "layout": "bchw", "channels": sample.channels}


@samples()
@pytest.mark.usefixtures("unchecked")
def test_it_passes_every_check_but_those_with_a_true_reason(record: Record, sample: Sample) -> None:
    first = sample is record.samples[0]
    names = [name for name in CHECKS if first or name not in ONCE]
    result = check(sample.make, **options(record, sample), only=names)
    reasons = dict(record.exempt)
    if record.no_export:
        reasons |= dict.fromkeys(("export", "export_after_use"), record.no_export)
    if record.no_onnx or record.no_export:
        reasons["onnx"] = record.no_onnx or record.no_export
    unexplained = [finding for finding in result.failures if finding.name not in reasons]
    assert not unexplained, "\n".join(f"{f.name}: {f.says}" for f in unexplained)
    if first:  # a reason may be of one sample only, the first among them
        passing = {finding.name for finding in result if finding.outcome.value == "ok"}
        untrue = [name for name in reasons if name in passing]
        assert not untrue, f"{record.name} passes {', '.join(untrue)}: take the reasons away"


def test_attention_encodings_are_recorded_as_such() -> None:
    from records import RECORDS

    for record in RECORDS:
        assert (record.kind is Kind.ATTENTION) == issubclass(record.encoding, AttentionEncoding)
