"""Every check can fail: a module with that fault, and what is said of it."""

from typing import Any

import broken
import pytest
import torch

from visionpe import CheckResult, check
from visionpe.checking.kit import CHECKS

pytestmark = pytest.mark.usefixtures("unchecked")

MAP: dict[str, Any] = {"layout": "bhwc", "channels": 8}
TOKENS: dict[str, Any] = {"layout": "bnc", "channels": 8}
OFFSET: dict[str, Any] = {**TOKENS, "offset": lambda y, x: {"start": x}}

FAULTS: list[tuple[str, type[torch.nn.Module], dict[str, Any], str]] = [
    ("rectangular", broken.Swapped, MAP, "channel 0 varies along other axes at 5x7 than at 6x6"),
    ("rectangular", broken.Transposed, MAP, "5x7 gives 7x5: are h and w swapped?"),
    ("rectangular", broken.OtherAxis, MAP, "the code along y changes with the map's width"),
    ("single_cells", broken.EndsAtOne, MAP, "12 values are not finite at 1x6"),
    ("odd_width", broken.EvenOnly, MAP, "9 channels: breaks with AssertionError"),
    ("empty_batch", broken.FirstSample, MAP, "breaks with IndexError: "),
    ("channels_last", broken.ReadsMemory, {**MAP, "layout": "bchw"}, "other values than for a"),
    ("offsets", broken.IgnoresStart, OFFSET, "at an offset, the code is not that of the longer"),
    ("offsets", broken.IgnoresFrame, {}, "a pixel of a crop has another code than in the image"),
    ("offsets", broken.OffByHalf, {}, "the frame of the whole image is not the same as no frame"),
    ("bfloat16_input", broken.HalfAngles, TOKENS, "(beyond 0.1 from position "),
    ("float16_input", broken.HalfAngles, TOKENS, "(beyond 0.1 from position "),
    ("bfloat16_input", broken.Promotes, MAP, "gives float32 for bfloat16"),
    ("bfloat16_module", broken.HalfTable, TOKENS, "(beyond 0.1 from position "),
    ("float16_module", broken.HalfTable, TOKENS, "(beyond 0.1 from position "),
    ("bfloat16_module", broken.LearnedFrequencies, TOKENS, "learned frequencies must stay float32"),
    ("autocast", broken.HalfMatmul, TOKENS, "(beyond 0.1 from position "),
    ("stale_dtype", broken.ForgetsDtype, MAP, "bfloat16 after float32 (the same module) gives"),
    ("stale_device", broken.ForgetsDevice, MAP, "inputs moved to meta after a call on cpu: "),
    ("stale_size", broken.ForgetsSize, MAP, "call 2, 7x5 and batch 2, is not as of a fresh module"),
    ("stale_state", broken.ForgetsState, TOKENS, "does not use them, but still the old ones"),
    ("modes", broken.GivesItsCache, MAP, "inference, train: RuntimeError: Inference tensors"),
    ("growth", broken.Hoards, MAP, "the module holds "),
    ("growth", broken.HoardsElsewhere, MAP, "somewhere, perhaps in a function's cache, are "),
    ("batch_copies", broken.CopiesEachSample, MAP, "holds 1120 bytes after 1 sample and 17920"),
    ("meta", broken.UnsavedTable, TOKENS, "comes from memory that was never written"),
    ("meta_after_use", broken.FilledOnUse, TOKENS, "comes from memory that was never written"),
    ("meta_constants", broken.SavedTable, TOKENS, "garbage unless a state dict is loaded: table"),
    ("copies", broken.HasLambda, MAP, "cannot be pickled: "),
    ("copies", broken.KeepsGraph, TOKENS, "cannot be copied after a training step: "),
    ("copies", broken.Unregistered, TOKENS, "with its state dict loaded gives another result"),
    ("gradients", broken.Unused, TOKENS, "no gradient reaches spare: 3 of 139 parameters are dead"),
    ("gradients", broken.TimesZero, TOKENS, "the gradient of gain is zero in two steps"),
    ("gradients", broken.RootOfZero, TOKENS, "the gradient of gain is not finite"),
    ("inputs_untouched", broken.WritesInput, MAP, "changes its input in place"),
    ("own_output", broken.GivesItsCache, MAP, "it is the module's own memory"),
    ("deterministic", broken.DrawsInEval, MAP, "two calls in eval mode differ"),
    ("compiled", broken.Breaks, MAP, "does not compile as one graph: "),
    ("export", broken.BakesSize, MAP, "does not export with open sizes: "),
    ("export", broken.AsksWhichIsLonger, MAP, "exported, it refuses 10x6: AssertionError: Guard "),
    ("export_after_use", broken.BakesSize, MAP, "does not export with open sizes: "),
    ("onnx", broken.NoOnnx, MAP, "has no ONNX form: "),
]


@pytest.mark.parametrize(
    ("name", "kind", "options", "says"), FAULTS, ids=lambda v: getattr(v, "__name__", None)
)
def test_a_fault_is_found_and_named(
    name: str, kind: type[torch.nn.Module], options: dict[str, Any], says: str
) -> None:
    finding = check(kind, **options, only=[name])[name]
    assert finding.outcome.value == "failed", finding
    assert says in finding.says


def test_every_check_has_a_module_that_fails_it() -> None:
    assert {name for name, *_ in FAULTS} == set(CHECKS)


def passed(result: CheckResult) -> bool:
    assert result.passed, str(result)
    return True


@pytest.mark.parametrize(
    ("kind", "options"),
    [(broken.Sound, MAP), (broken.SoundTokens, OFFSET), (broken.Weighted, TOKENS)],
)
def test_modules_of_strangers_without_a_fault_pass(
    kind: type[torch.nn.Module], options: dict[str, Any]
) -> None:
    assert passed(check(kind, **options))


def test_a_module_with_one_fault_passes_the_other_checks() -> None:
    result = check(broken.WritesInput, **MAP, only=["rectangular", "growth", "inputs_untouched"])
    assert [finding.name for finding in result.failures] == ["inputs_untouched"]
