"""Whether a state fits a model: told before anything of the model is changed."""

from typing import Any

from torch import nn

from visionpe.attaching.attached import CHILD
from visionpe.attaching.in_convs import CoordConv
from visionpe.attaching.recipes import Recipe, make, may_be_made, shapes
from visionpe.attaching.refusals import is_name
from visionpe.attaching.state import State, fingerprint
from visionpe.encodings.attention import AttentionEncoding
from visionpe.encodings.base import MapEncoding
from visionpe.errors import CheckpointError

Shapes = dict[str, tuple[int, ...]]
_ACTS = {"attention": AttentionEncoding, "map": MapEncoding, "conv": nn.Module}


def require_whole(saved: State, what: str) -> None:
    """Refuses a state whose parts do not belong together.

    Raises:
        CheckpointError: as all below.
    """
    attachments = saved.recipe["attachments"]
    for each in attachments:
        name, sites = each["name"], each["sites"]
        sound = each["kind"] in _ACTS and len(each["size"]) == 2 and is_name(name)
        if not sound or not sites:
            raise CheckpointError(f"{what} has a recipe that attaches nothing, {name!r}.")
    known = tuple(f"{CHILD}.{each['name']}." for each in attachments)
    tied = saved.recipe["tied"]
    for key in [*saved.tensors, *tied]:
        if not key.startswith(known):
            raise CheckpointError(f"{what} holds `{key}`, of which its recipe does not say a word.")
    for key, first in tied.items():
        if first not in saved.tensors or key in saved.tensors:
            raise CheckpointError(f"{what} says that `{key}` is `{first}`, which it does not hold.")


def require_same_removals(model: nn.Module, saved: State, what: str) -> None:
    """Refuses a model of which other things were removed."""
    before, now = saved.recipe["model"]["removed"], fingerprint(model)["removed"]
    for path in [*before, *now]:
        if before.get(path) == now.get(path):
            continue
        if path in before:
            raise CheckpointError(
                f"{what} is of a model without its `{path}`, but this {type(model).__name__} has "
                f"it: call visionpe.remove(model, {before[path]!r}) first."
            )
        raise CheckpointError(
            f"{what} is of a model with its `{path}`, which was removed from this "
            f"{type(model).__name__}: call visionpe.restore(model, {now[path]!r}) first."
        )


def require_same_shapes(model: nn.Module, saved: State, what: str) -> None:
    """Refuses another architecture or size; the last layer, the classifier, may be another."""
    before = {k: tuple(v) for k, v in saved.recipe["model"]["shapes"].items()}
    now = {k: tuple(v) for k, v in fingerprint(model)["shapes"].items()}
    last = {next(reversed(keys), "").rpartition(".")[0] for keys in (before, now)} - {""}
    for key in {**before, **now}:
        if before.get(key) == now.get(key) or key.rpartition(".")[0] in last:
            continue
        name = saved.recipe["model"]["class"]
        raise CheckpointError(
            f"{what} is of a {name} whose `{key}` is {_by(before.get(key))}, but that of this "
            f"{type(model).__name__} is {_by(now.get(key))}: load it into a model of that "
            "architecture and image size."
        )


def require_makeable(model: nn.Module, each: Recipe, wanted: Shapes, what: str) -> None:
    """Refuses encodings that a file may not make, and numbers that are not theirs."""
    made: Shapes = {}
    modules = dict(model.named_modules())
    for site in each["sites"]:
        recipe = site["encoding"]
        if not may_be_made(recipe["class"]) or "args" not in recipe:
            raise CheckpointError(
                f"{what} holds a {recipe['class']} at `{site['module']}`, which no file can make: "
                f"attach it first, with `name={each['name']!r}`, and then load."
            )
        if site["module"] not in modules:
            raise CheckpointError(
                f"{what} is of a model with a module `{site['module']}`, which this "
                f"{type(model).__name__} has not got."
            )
        try:
            one = encoding_of(recipe, modules[site["module"]], "meta")
        except (ValueError, TypeError, KeyError, RuntimeError) as error:
            raise CheckpointError(
                f"{what} has a recipe that makes nothing at `{site['module']}`: {error}"
            ) from error
        if not isinstance(one, _ACTS[each["kind"]]):
            raise CheckpointError(
                f"{what} has a recipe of {recipe['class']} for {each['kind']} at "
                f"`{site['module']}`, where it does not act."
            )
        made |= {f"{each['name']}.{site['key']}.{k}": v for k, v in shapes(one).items()}
    require_same(made, wanted, each["name"], what)


def require_same(here: Shapes, wanted: Shapes, name: str, what: str) -> None:
    """Refuses numbers of other parameters than there are."""
    for key in {**wanted, **here}:
        if here.get(key) != wanted.get(key):
            raise CheckpointError(
                f"{what} holds {name!r} with `{key}` {_by(wanted.get(key))}, but here it is "
                f"{_by(here.get(key))}: detach {name!r}, or load it into another model."
            )


def shapes_of(saved: State, name: str) -> Shapes:
    """The shapes of what a state holds under a name, tied parameters as well."""
    prefix = f"{CHILD}.{name}."
    every = {**saved.tensors}
    for key, first in saved.recipe["tied"].items():
        if first in saved.tensors:
            every[key] = saved.tensors[first]
    return {
        key.removeprefix(f"{CHILD}."): tuple(tensor.shape)
        for key, tensor in every.items()
        if key.startswith(prefix)
    }


def encoding_of(recipe: Recipe, module: nn.Module, device: str = "cpu") -> nn.Module:
    """What a recipe makes for one module of a model.

    Raises:
        TypeError: if it does not act there.
        ValueError: if the recipe is none.
    """
    made: Any = make(recipe, device)
    if isinstance(made, CoordConv):
        if not isinstance(module, nn.Conv2d):
            raise TypeError(f"CoordConv acts on nn.Conv2d, but this is a {type(module).__name__}.")
        return made.term(module)
    if not isinstance(made, nn.Module):
        raise TypeError(f"{recipe['class']} is no encoding.")
    return made


def _by(shape: tuple[int, ...] | None) -> str:
    if shape is None:
        return "missing"
    return " x ".join(map(str, shape)) if shape else "one number"
