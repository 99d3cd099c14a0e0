"""Is it on? Every option of every public encoding, changed, changes its state or its result."""

import inspect
from dataclasses import replace
from typing import Any

import pytest
import torch
from options import OPTIONS
from record import Kind, Record
from records import RECORDS, awaken, call, tensors
from torch import Tensor, nn

from visionpe import Places


def names(record: Record) -> list[str]:
    """The arguments that have a default."""
    signature = inspect.signature(record.encoding).parameters.values()
    return [part.name for part in signature if part.default is not part.empty]


def state(module: nn.Module) -> dict[str, Any]:
    """What a module holds, its numbers beside how they are held."""
    held = [*module.named_parameters(), *module.named_buffers()]
    return {
        name: (
            tuple(t.shape),
            t.dtype,
            t.device,
            t.requires_grad,
            None if t.is_meta else t.tolist(),
        )
        for name, t in held
    }


def arguments(record: Record) -> tuple[Any, ...]:
    """Of an ordinary call; with a class token, against which a shift of all places is seen too."""
    options, sample = OPTIONS[record.encoding], record.samples[0]
    h, w = options.size
    torch.manual_seed(0)
    if record.kind is Kind.ATTENTION:
        q, k, v = torch.randn(3, 2, sample.heads, 1 + h * w, sample.head_dim)
        return q, k, v, Places.of(h, w, prefix=1)
    return call(record, replace(sample, channels=options.channels or sample.channels), (h, w))


def results(record: Record, module: nn.Module) -> list[Tensor]:
    """What it gives in evaluation and in training, nothing in it zero any more."""
    awaken(module)
    args = arguments(record)
    found = []
    for training in (False, True):
        torch.manual_seed(1)
        with torch.no_grad():
            found += tensors(module.train(training)(*args))
    return found


def made(record: Record, **options: Any) -> nn.Module:
    torch.manual_seed(0)
    return record.encoding(**OPTIONS[record.encoding].base, **options)


def differ(record: Record, name: str, value: Any) -> bool:
    """Whether the option makes another module than its default does."""
    beside = OPTIONS[record.encoding].beside.get(name, {})
    plain, other = made(record, **beside), made(record, **{**beside, name: value})
    if state(plain) != state(other):
        return True
    before, after = (results(record, module) for module in (plain, other))
    if [part.shape for part in before] != [part.shape for part in after]:
        return True
    return any(float((a - b).abs().max()) > 1e-4 for a, b in zip(before, after, strict=True))


@pytest.mark.parametrize(
    ("record", "name"),
    [
        pytest.param(record, name, id=f"{record.name}-{name}")
        for record in RECORDS
        for name in names(record)
    ],
)
def test_an_option_is_on(record: Record, name: str) -> None:
    assert name in OPTIONS[record.encoding].other, f"tests/options.py has no other `{name}`"
    assert differ(record, name, OPTIONS[record.encoding].other[name])


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: record.name)
def test_an_option_given_its_default_changes_nothing(record: Record) -> None:
    signature = inspect.signature(record.encoding).parameters
    assert set(OPTIONS[record.encoding].other) <= set(names(record))
    for name in names(record):
        beside = OPTIONS[record.encoding].beside.get(name, {})
        if name not in beside:
            assert state(made(record, **beside, **{name: signature[name].default})) == state(
                made(record, **beside)
            )


def test_all_encodings_options_are_listed() -> None:
    assert set(OPTIONS) == {record.encoding for record in RECORDS}
