"""A state back into a model: attached again by its recipe where it is not, and filled."""

from contextlib import nullcontext
from pathlib import Path
from typing import Any, TypeVar, cast

import torch
from torch import nn

from visionpe.attaching.attached import CHILD, Attached, attached_to
from visionpe.attaching.choosing import candidates
from visionpe.attaching.files import read
from visionpe.attaching.folded import require_unfolded
from visionpe.attaching.matching import (
    Shapes,
    encoding_of,
    require_makeable,
    require_same,
    require_same_removals,
    require_same_shapes,
    require_whole,
    shapes_of,
)
from visionpe.attaching.plan import Entry, Kind, Plan
from visionpe.attaching.planning import place
from visionpe.attaching.putting import put
from visionpe.attaching.recipes import Recipe, shapes
from visionpe.attaching.refusals import (
    image_channels,
    require_alone,
    require_memory,
    require_unsharded,
)
from visionpe.attaching.state import State, cells
from visionpe.attaching.verbs import detach, disabled
from visionpe.errors import CheckpointError
from visionpe.tracing.refusals import require_plain
from visionpe.tracing.run import Trace, trace
from visionpe.tracing.sites import Site

Model = TypeVar("Model", bound=nn.Module)


def load(model: Model, state: State | str | Path) -> Model:
    """Puts a saved state into a model, in place.

    What the model has not got attached is attached, as the recipe says; then all is filled with
    the numbers. What else is attached stays as it is. A file can make visionpe's own encodings
    only: attach yours, under the names that they had, and then load.

    Args:
        model: of the architecture that the state was saved from; its classifier may be another.
        state: of `visionpe.state`, or the path that `visionpe.save` was given.

    Returns:
        The model.

    Raises:
        TypeError: if `state` is neither.
        ValueError: if the model is wrapped, compiled, scripted, folded or on the meta device.
        CheckpointError: if the state is missing, damaged, or of another model. The model is then
            left as it was.

    >>> import visionpe
    >>> def net(): return nn.Sequential(nn.Conv2d(3, 8, 3))
    >>> state = visionpe.state(visionpe.attach(net(), visionpe.CoordConv(), size=(5, 7)))
    >>> visionpe.status(load(net(), state))
    [<CoordConv at 1 sites of Sequential for 5 x 7>]
    """
    require_plain(model)
    require_unsharded(model)
    require_memory(model)
    require_alone(model)
    require_unfolded(model)
    if not isinstance(state, State | str | Path):
        raise TypeError(
            f"`state` must be a visionpe.State or a path, but is {type(state).__name__}."
        )
    what = "The state" if isinstance(state, State) else f"The state {state}"
    saved = state if isinstance(state, State) else read(state)
    require_whole(saved, what)
    require_same_removals(model, saved, what)
    attached = attached_to(model)
    plans = []
    for each in saved.recipe["attachments"]:
        wanted = shapes_of(saved, each["name"])
        if attached is not None and each["name"] in attached.plans:
            require_same(_keyed(attached, each["name"]), wanted, each["name"], what)
            continue
        require_same_shapes(model, saved, what)
        require_makeable(model, each, wanted, what)
        plans.append((each, each["share"]))
    with disabled(model) if attached else nullcontext():
        found = {
            size: trace(model, *size, channels=image_channels(model, size))
            for size in {(each["size"][0], each["size"][1]) for each, _ in plans}
        }
    made = [
        (_plan(model, found[each["size"][0], each["size"][1]], each, what), share)
        for each, share in plans
    ]
    names = [plan.name for plan, _ in made]
    try:
        for plan, share in made:
            put(model, plan, share)
        _fill(cast(Attached, attached_to(model)), saved, set(names), what)
    except BaseException:
        for name in names:
            half = attached_to(model)
            if half is not None and name in half.plans:
                detach(model, name)
        raise
    return model


def _keyed(attached: Attached, name: str) -> Shapes:
    return {f"{name}.{k}": v for k, v in shapes(attached.get_submodule(name)).items()}


def _plan(model: nn.Module, found: Trace, each: Recipe, what: str) -> Plan:
    """The plan of a recipe, with encodings made for this model."""
    kind: Kind = each["kind"]
    made: dict[str, nn.Module] = {}
    entries = []
    for saved in each["sites"]:
        site = _site(found, kind, saved)
        if site is None:
            raise CheckpointError(
                f"{what} acts on {kind} number {saved['number']} of `{saved['module']}`, but this "
                f"{found.model} has none there."
            )
        if saved["key"] not in made:
            made[saved["key"]] = encoding_of(
                saved["encoding"], model.get_submodule(saved["module"])
            )
        entry = Entry(site, made[saved["key"]])
        if saved["cells"] != cells(entry):
            raise CheckpointError(
                f"{what} is of `{saved['module']}` with {_said(saved['cells'])}, but that of this "
                f"{found.model} has {_said(cells(entry))}."
            )
        place(entry.encoding, model, site)
        entries.append(entry)
    return Plan(found.model, each["name"], kind, (found.h, found.w), entries, [])


def _site(found: Trace, kind: Kind, saved: Recipe) -> Site | None:
    """The first of them: a module that runs several times has one encoding.

    Of the same kind of call, if there is one: a module may attend in two ways.
    """
    same = [
        site
        for site in candidates(found, kind)
        if (site.module, site.number) == (saved["module"], saved["number"])
    ]
    calls = [site for site in same if site.call == saved.get("call")]
    return next(iter([*calls, *same]), None)


def _fill(attached: Attached, saved: State, new: set[str], what: str) -> None:
    """The numbers; in what is new, parameters that were one are one again."""
    tied = saved.recipe["tied"]
    for key, first in tied.items():
        path, one = key.removeprefix(f"{CHILD}."), first.removeprefix(f"{CHILD}.")
        if {path.partition(".")[0], one.partition(".")[0]} <= new:
            owner, _, name = path.rpartition(".")
            attached.get_submodule(owner)._parameters[name] = attached.get_parameter(one)
    targets = attached.state_dict()
    for key in [*saved.tensors, *tied]:
        if key.removeprefix(f"{CHILD}.") not in targets:
            raise CheckpointError(f"{what} has `{key}`, for which this model has no place.")
    with torch.no_grad():
        for key in [*saved.tensors, *tied]:
            numbers = saved.tensors[tied.get(key, key)]
            targets[key.removeprefix(f"{CHILD}.")].copy_(numbers)


def _said(cells: dict[str, Any]) -> str:
    said = " x ".join(map(str, cells["lattice"])) or "irregular"
    return ", ".join([f"{said} cells", *(f"{k} {v}" for k, v in cells.items() if k != "lattice")])
