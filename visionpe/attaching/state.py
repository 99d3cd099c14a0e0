"""What is attached, apart from the model: numbers, and the recipe that puts them back."""

from dataclasses import dataclass
from typing import Any, cast, final

import torch
from torch import Tensor, nn

from visionpe.attaching.attached import CHILD, Attached
from visionpe.attaching.plan import Entry, Plan
from visionpe.attaching.recipes import Recipe, package, recipe_of
from visionpe.attaching.refusals import require_attached

FORMAT = 1


@final
@dataclass(frozen=True, eq=False, repr=False)
class State:
    """The attached encodings of a model, and how to attach them again.

    Attributes:
        recipe: plain data, as JSON holds it.
        tensors: copies of all parameters and buffers, by their keys in the model's `state_dict`;
            of those that are one, one.
    """

    recipe: Recipe
    tensors: dict[str, Tensor]

    @property
    def names(self) -> list[str]:
        """Of the encodings, as `attach` named them."""
        return [each["name"] for each in self.recipe["attachments"]]

    def __repr__(self) -> str:
        """What is in it."""
        numbers = sum(tensor.numel() for tensor in self.tensors.values())
        model = self.recipe["model"]["class"]
        return f"<State of {', '.join(self.names)} of {model}: {numbers} numbers>"


def state(model: nn.Module) -> State:
    """What is attached to a model, and nothing else of it: `visionpe.load` puts it back.

    Raises:
        ValueError: if nothing is attached.

    >>> import visionpe
    >>> net = visionpe.attach(nn.Sequential(nn.Conv2d(3, 8, 3)), visionpe.CoordConv(), size=(5, 7))
    >>> state(net)
    <State of CoordConv of Sequential: 144 numbers>
    """
    attached = require_attached(model)
    tied = ties(attached)
    tensors = {
        f"{CHILD}.{key}": tensor.detach().clone(memory_format=torch.contiguous_format)
        for key, tensor in attached.state_dict().items()
        if key not in tied
    }
    recipe = {
        "format": FORMAT,
        "visionpe": package().__version__,
        "torch": str(torch.__version__),
        "model": fingerprint(model),
        "attachments": [_attachment(attached, plan) for plan in attached.plans.values()],
        "tied": {f"{CHILD}.{key}": f"{CHILD}.{first}" for key, first in tied.items()},
    }
    return State(recipe, tensors)


def fingerprint(model: nn.Module) -> Recipe:
    """By which a model of the same architecture is known: its class, and the shapes of its state.

    And what `visionpe.remove` took out of it, since that changes what the same numbers do.
    """
    prefix = f"{CHILD}."
    return {
        "class": type(model).__name__,
        "shapes": {
            name: list(tensor.shape)
            for name, tensor in model.state_dict().items()
            if not name.startswith(prefix)
        },
        "removed": removed(model),
    }


def removed(model: nn.Module) -> dict[str, str]:
    """What `visionpe.remove` took out: the kind of each, by its path."""
    return {
        ".".join(filter(None, (name, each.attribute))): each.kind
        for name, module in model.named_modules()
        for each in getattr(type(module), "removed_sources", ())
    }


def ties(attached: Attached) -> dict[str, str]:
    """Parameters that are another one, by key: the key of the first."""
    first: dict[int, str] = {}
    found = {}
    for key, parameter in attached.named_parameters(remove_duplicate=False):
        if first.setdefault(id(parameter), key) != key:
            found[key] = first[id(parameter)]
    return found


def _attachment(attached: Attached, plan: Plan) -> Recipe:
    group = cast(nn.Module, attached._modules[plan.name])._modules
    share = list(group) == ["shared"]
    keys = ["shared"] * len(plan.entries) if share else list(group)
    return {
        "name": plan.name,
        "kind": plan.kind,
        "size": list(plan.size),
        "share": share,
        "sites": [
            _site(entry, key, cast(nn.Module, group[key]))
            for entry, key in zip(plan.entries, keys, strict=True)
        ],
    }


def _site(entry: Entry, key: str, encoding: nn.Module) -> Recipe:
    site = entry.site
    return {
        "module": site.module,
        "number": site.number,
        "call": site.call or "",
        "key": key,
        "cells": cells(entry),
        "encoding": recipe_of(encoding),
    }


def cells(entry: Entry) -> dict[str, Any]:
    """What an encoding depends on: the lattice of the places, the heads; 0: none, or not known."""
    site = entry.site
    return {
        "lattice": [site.cells.h, site.cells.w] if site.cells else [],
        "prefix": site.prefix,
        "suffix": site.suffix,
        "windows": site.windows,
        "heads": site.heads or 0,
        "head_dim": site.head_dim or 0,
    }
