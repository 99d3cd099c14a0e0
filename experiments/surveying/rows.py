"""One model of the census: a line for each kind of encoding, each swap of padding, and the time."""

import time
from collections.abc import Iterator
from typing import Any

from torch import Tensor, nn

import visionpe
from experiments.surveying.kinds import HEIGHT, KINDS, PADDINGS, Kind, height, pairs, table
from experiments.surveying.models import VISION, Subject, make
from experiments.surveying.sizes import SMALL, SMALLEST, Made, at, run, settle, smallest
from experiments.surveying.trying import (
    NOISE,
    Before,
    Result,
    attempt,
    difference,
    failed,
    tried,
)
from experiments.surveying.watching import Calls
from visionpe.attaching.planning import make_plan

WELL = ("accepted", "nothing there")


def rows(subject: Subject) -> Iterator[Result]:
    """All lines of one model, as they come."""
    try:
        made = smallest(subject)
    except Exception as error:
        yield {**_about(subject), "kind": "all", **failed(error), "outcome": "not made"}
        return
    about = {
        **_about(subject),
        "parameters": sum(p.numel() for p in made.model.parameters()),
    }
    results = _at_size(made)
    results[HEIGHT] = _height(subject, made)
    for result in results.values():
        result["size"] = list(made.size)
    results.update(_in_larger_windows(subject, made, results))
    again = [kind for kind, result in results.items() if result["outcome"] not in WELL]
    if again and made.size != subject.size:
        for kind, result in _at_own_size(subject, again).items():
            if result["outcome"] == "nothing there":  # there was something: the miss stands
                continue
            small = f"at {made.size[0]} x {made.size[1]}: {results[kind].get('reason')}"
            results[kind] = {**result, "size": list(subject.size), "small": small}
    for kind, result in results.items():
        yield {**about, "kind": kind, **result}
    inside = results["table bias"]["outcome"] != "nothing there"
    yield {**about, "kind": "time", "size": list(subject.size), **_seconds(subject, inside)}


def _about(subject: Subject) -> Result:
    return {"name": subject.name, "module": subject.module}


def _in_larger_windows(
    subject: Subject, made: Made, results: dict[str, Result]
) -> dict[str, Result]:
    """What attention takes of a giant whose windows, at the size it was made for, held one token.

    There it has no pairs, and is no attention; in larger images it is.
    """
    alone = [
        kind
        for kind, result in results.items()
        if kind in KINDS and KINDS[kind].has is pairs and result["outcome"] == "nothing there"
        if result["reason"] != "no attention"
    ]
    larger = at(subject, SMALL[0], told=True) if alone and made.size in SMALLEST else None
    if larger is None:
        return {}
    again = _at_size(larger, alone)
    return {kind: {**result, "size": list(larger.size)} for kind, result in again.items()}


def _at_own_size(subject: Subject, kinds: list[str]) -> dict[str, Result]:
    made = at(subject, subject.size, told=False)
    if made is None:
        return {kind: {"outcome": "not made", "reason": "not finite"} for kind in kinds}
    results = {} if kinds == [HEIGHT] else _at_size(made, kinds)
    if HEIGHT in kinds:
        results[HEIGHT] = _height(subject, made)
    return results


def _at_size(made: Made, kinds: list[str] | None = None) -> dict[str, Result]:
    """Everything but HANet, which asks for another model."""
    wanted = [k for k in (*KINDS, *(f"padding {m}" for m in PADDINGS)) if not kinds or k in kinds]
    results: dict[str, Result] = {}
    model, images = made.model, made.images
    encodings = {name: KINDS[name] for name in wanted if name in KINDS}
    try:
        found = visionpe.trace(model, *made.size, channels=images.shape[1])
    except Exception as error:
        results.update({name: failed(error) for name in encodings})
        encodings = {}
    plans: dict[str, visionpe.Plan] = {}
    for name, kind in encodings.items():
        if not kind.has(found):
            results[name] = {"outcome": "nothing there", "reason": _nothing(name, found, made)}
            continue
        try:
            plans[name] = _plan(found, model, kind)
        except Exception as error:
            results[name] = failed(error)
    before = Before(model, images)
    for name, plan in plans.items():
        exact = KINDS[name].exact
        results[name] = tried(lambda p=plan, e=exact: attempt(model, images, p, before, e))  # type: ignore[misc]
    for name in wanted:
        if name not in KINDS:
            mode: Any = name.removeprefix("padding ")
            results[name] = tried(lambda m=mode: _padded(model, images, m, before))  # type: ignore[misc]
    return {name: results[name] for name in wanted}


def _plan(found: visionpe.Trace, model: nn.Module, kind: Kind) -> visionpe.Plan:
    """As `visionpe.attach` makes it, of one trace for all kinds."""
    return make_plan(found, model, kind.encoding, at=kind.at, name=None, share=False)


def _padded(model: nn.Module, images: Tensor, mode: Any, before: Before) -> Result:
    """The swap of all pads, and back."""
    if not before.pads:
        return {"outcome": "nothing there", "reason": "no map is padded at this size"}
    change = visionpe.set_padding(model, mode)
    try:
        outputs = run(model, images)
    finally:
        visionpe.set_padding(model, "original")
    result: Result = {"sites": len(change), "effect": difference(outputs, before.outputs)}
    left = before.left(model, images)
    result["detached"] = left is None
    if left is not None:
        return {**result, "outcome": "not undone", "reason": left}
    if [y.shape for y in outputs] != [y.shape for y in before.outputs]:
        return {**result, "outcome": "other shapes", "reason": str([*outputs[0].shape])}
    if not all(bool(y.isfinite().all()) for y in outputs):
        return {**result, "outcome": "not finite", "reason": "outputs are no numbers"}
    if not result["effect"] > NOISE:
        return {**result, "outcome": "silent", "reason": f"pads: {before.pads}"}
    return {**result, "outcome": "accepted"}


def _height(subject: Subject, like: Made) -> Result:
    """HANet's gates behind the stages whose maps `features_only` returns."""
    if subject.name.startswith(VISION):
        return {"outcome": "nothing there", "reason": "no features_only"}
    options: dict[str, Any] = {"img_size": like.size} if like.told else {}
    try:
        model = make(subject, features_only=True, **options)
    except Exception:
        return {"outcome": "nothing there", "reason": "no features_only"}
    try:
        settle(model, like.images)
    except Exception as error:  # the model's own failure at any size
        return {"outcome": "nothing there", "reason": f"features_only fails: {error}"[:200]}
    return tried(lambda: _gated(model, like))


def _gated(model: nn.Module, like: Made) -> Result:
    found = visionpe.trace(model, *like.size, channels=like.images.shape[1])
    at = stages(model, found)
    plan = make_plan(found, model, height, at=at, name=None, share=False)
    if plan.skipped:
        site, why = plan.skipped[0]
        return {"outcome": "missed", "reason": f"not all stages: `{site.module}`: {why}"}
    before = Before(model, like.images)
    return attempt(model, like.images, plan, before, True)


def stages(model: Any, found: visionpe.Trace) -> list[str]:
    """The modules whose maps are returned, as timm names them, as they are called in the model.

    Where timm's name is none of a module that returns a map: the last module that returns one of
    the stage's resolution.
    """
    whole = {
        site.module: site
        for site in found.outputs
        if site.module and site.layout and site.windows == 1 and site.cells
    }
    names = []
    for info in model.feature_info.get_dicts():
        name, step = info["module"], float(info["reduction"])
        spellings = (name, f"model.{name}", name.replace(".", "_"), f"body.{name}")
        alike = [n for n, site in whole.items() if site.lattice and site.lattice.spacing[0] == step]
        names.append(next((n for n in (*spellings, *alike[-1:]) if n in whole), name))
    return names


def _seconds(subject: Subject, inside: bool) -> Result:
    """Of the processor, for trace and plan at the model's own size, by `visionpe.attach`.

    Args:
        inside: plan a table for all attention; else CoordConv for all convolutions.
    """
    model = make(subject)
    what: Any = table if inside else visionpe.CoordConv()
    start = time.process_time()
    try:
        plan = visionpe.attach(model, what, at="all", size=subject.size, dry_run=True)
    except Exception as error:
        return failed(error)
    seconds = round(time.process_time() - start, 3)
    return {"outcome": "accepted", "sites": len(plan.entries), "seconds": seconds}


def _nothing(kind: str, found: visionpe.Trace, made: Made) -> str:
    """Why a model has no such site; of attention, which calls there are that are none."""
    if KINDS[kind].has is not pairs:
        return "no such sites"
    with Calls() as calls:
        run(made.model, made.images)
    known = f"{len(found.attention)} sites without queries at places" if found.attention else ""
    made_of = ", ".join(f"{n} {name}" for name, n in sorted(calls.attention.items()))
    return "; ".join(filter(None, (known, made_of))) or "no attention"
