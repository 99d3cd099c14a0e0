"""One encoding in one model: attached, compared, filled with random numbers, taken off again."""

from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

import visionpe
from experiments.surveying.sizes import run
from experiments.surveying.watching import Calls, first_outputs, idle_sites
from visionpe.attaching.putting import put

CLOSE = 1e-5  # of the largest number of an output, where attention is computed in another way
NOISE = 1e-6  # of it: what rounding may change
Result = dict[str, Any]


class Seen(NamedTuple):
    """What an encoding filled with random numbers changes.

    Attributes:
        effect, at_site: in the model's outputs, and in those of the first module it is attached to.
        idle: the modules whose encodings did nothing.
        finite: whether the outputs are numbers.
    """

    effect: float
    at_site: float
    idle: list[str]
    finite: bool

    @property
    def most(self) -> float:
        """The larger of the two differences."""
        return max(self.effect, self.at_site)


class Before:
    """A model as it was: what it returned, how it padded, and what it held.

    Attributes:
        outputs: of the whole model.
        pads: how many calls padded a map, by function.
    """

    def __init__(self, model: nn.Module, images: Tensor) -> None:
        with Calls() as calls:
            self.outputs = run(model, images)
        self.pads = dict(calls.pads)
        self.held = _held(model)

    def left(self, model: nn.Module, images: Tensor) -> str | None:
        """What is not as it was; None: nothing."""
        if _held(model) != self.held:
            return "attributes, hooks or children remained"
        if not _equal(run(model, images), self.outputs):
            return "outputs are not equal to the bit"
        return None


def attempt(
    model: nn.Module, images: Tensor, plan: visionpe.Plan, before: Before, exact: bool
) -> Result:
    """The outcome for one plan, and the figures."""
    result: Result = {
        "sites": len(plan.entries),
        "skipped": dict(Counter(why for _, why in plan.skipped)),
    }
    put(model, plan, False)
    try:
        result.update(_compared(model, images, plan, before, exact))
    except Exception as error:
        result.update(failed(error))
    visionpe.detach(model)
    left = before.left(model, images)
    result["detached"] = left is None
    if left is not None:
        result.update(outcome="not undone", reason=left)
    return result


def _compared(
    model: nn.Module, images: Tensor, plan: visionpe.Plan, before: Before, exact: bool
) -> Result:
    first = plan.entries[0].site.module
    with first_outputs(model, {first}) as inner:
        same = run(model, images)
    identity = difference(same, before.outputs)
    equal = _equal(same, before.outputs)
    result: Result = {"identity": identity, "equal": equal}
    if not (equal if exact else identity <= CLOSE):
        return {**result, "outcome": "changed at first", "reason": f"by {identity:.1e}"}
    # Against the encoding at its start: attention computed in another way may round otherwise.
    seen = _seen(model, images, plan, same, inner, 1.0)
    if seen.idle or not seen.finite:  # what overflows, or grows until others drown: less of it
        seen = _seen(model, images, plan, same, inner, 0.01)
    elif seen.most <= NOISE:  # logits so far apart that a unit decides nothing: more of it
        seen = _seen(model, images, plan, same, inner, 100.0)
    result.update(effect=seen.effect, at_site=seen.at_site)
    if seen.idle:
        some = ", ".join(seen.idle[:3])
        return {**result, "outcome": "silent", "reason": f"{len(seen.idle)} did nothing: {some}"}
    if not seen.finite:
        return {**result, "outcome": "not finite", "reason": "random numbers gave no numbers"}
    if seen.most <= NOISE:
        return {**result, "outcome": "silent", "reason": "random numbers changed nothing"}
    return {**result, "outcome": "accepted"}


def _seen(
    model: nn.Module,
    images: Tensor,
    plan: visionpe.Plan,
    outputs: list[Tensor],
    inner: dict[str, Tensor],
    scale: float,
) -> Seen:
    """What random numbers of some size change of a model's outputs, and of one module's inside."""
    fill(plan, scale)
    (first,) = inner
    changed: list[Tensor] = []
    with first_outputs(model, {first}) as now:
        idle = idle_sites(plan, partial(_collect, changed, model, images))
    return Seen(
        difference(changed, outputs),
        difference([now[first]], [inner[first]]),
        idle,
        all(bool(y.isfinite().all()) for y in changed),
    )


def _collect(outputs: list[Tensor], model: nn.Module, images: Tensor) -> None:
    outputs.extend(run(model, images))


def fill(plan: visionpe.Plan, scale: float) -> None:
    """Random numbers: a tenth of a unit for what is added to maps, a unit for logits; scaled."""
    std = scale * (1.0 if plan.kind == "attention" else 0.1)
    for entry in plan.entries:
        for parameter in entry.encoding.parameters():
            nn.init.normal_(parameter, std=std)


def difference(after: list[Tensor], before: list[Tensor]) -> float:
    """The largest difference, as a share of the largest number of its tensor.

    >>> difference([torch.tensor([1.0, 2.5])], [torch.tensor([1.0, 2.0])])
    0.25
    """
    if [y.shape for y in after] != [y.shape for y in before]:
        return float("inf")
    shares = [
        float((a - b).abs().max() / b.abs().max().clamp_min(1e-30))
        for a, b in zip(after, before, strict=True)
        if a.numel()
    ]
    return max(shares, default=0.0)


def failed(error: Exception) -> Result:
    """How a failure counts: one that says what to do, or a crash."""
    kind = type(error).__name__
    said = " ".join(str(error).split())[:300]
    outcome = "missed" if is_typed(error) else "untyped"
    return {"outcome": outcome, "error": kind, "reason": said}


def is_typed(error: BaseException) -> bool:
    """Whether an error is one of visionpe's own, raised on purpose."""
    if isinstance(error, visionpe.TraceError | visionpe.AttachError):
        return True
    trace, home = error.__traceback__, Path(visionpe.__file__).parent
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    raised = Path(trace.tb_frame.f_code.co_filename) if trace is not None else Path()
    return isinstance(error, ValueError | TypeError) and raised.is_relative_to(home)


def tried(make: Callable[[], Result]) -> Result:
    """A result, or how getting it failed."""
    try:
        return make()
    except Exception as error:
        return failed(error)


def _equal(after: list[Tensor], before: list[Tensor]) -> bool:
    return len(after) == len(before) and all(map(torch.equal, after, before))


def _held(model: nn.Module) -> dict[str, tuple[Any, ...]]:
    """What each module holds: its attributes, its hooks, its parameters."""
    return {
        name: (
            id(module),
            frozenset(vars(module)),
            len(module._forward_hooks),
            len(module._forward_pre_hooks),
            tuple(map(id, module.parameters(recurse=False))),
        )
        for name, module in model.named_modules()
    }
