"""Modules that read some of their own tensors as others, so that no forward need be copied.

A module is given a subclass of its class, of the same name, in which the attributes in question are
properties. Whatever reads them, any method of the module or code around it, gets the stand-in,
made of the tensor at each reading: nothing goes stale when the model is moved, cast or loaded. The
tensors themselves stay where they are, under their keys, and cannot be given another size.
"""

from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map_only

from visionpe.removing.errors import RemoveError

Stand = Literal["zeros", "ones", "infinity", "sine first", "cosine first"]


class Removed(NamedTuple):
    """What was taken out of a module.

    Attributes:
        kind: of the source, as `visionpe.inspect` has it.
        attribute: that is read otherwise; None: the module returns zeros.
        stand: what it is read as.
        learned: names of parameters of the module that learned, and are frozen.
    """

    kind: str
    attribute: str | None
    stand: Stand = "zeros"
    learned: tuple[str, ...] = ()


def stand_in(tensor: Tensor, stand: Stand) -> Tensor:
    """What a tensor is read as.

    >>> stand_in(torch.tensor([0.6, 0.8]), "sine first")
    tensor([0., 1.])
    """
    if stand == "zeros":
        return torch.zeros_like(tensor)
    if stand == "ones":
        return torch.ones_like(tensor)
    if stand == "infinity":
        return torch.full_like(tensor, torch.inf)
    halves = [torch.zeros_like(part) for part in tensor.chunk(2, -1)]
    halves[stand == "sine first"] = torch.ones_like(halves[0])
    return torch.cat(halves, -1)


def removed_of(module: nn.Module) -> tuple[Removed, ...]:
    """What was taken out of a module."""
    found: tuple[Removed, ...] = getattr(type(module), "removed_sources", ())
    return found


def set_removed(module: nn.Module, removed: tuple[Removed, ...]) -> None:
    """Changes what is taken out of a module; with nothing, it is of its own class again.

    Raises:
        RemoveError: if it was given yet another class since (a parametrization, shards).
    """
    own = _own(module) if removed_of(module) else type(module)
    if removed_of(module) and "removed_from" not in vars(type(module)):
        raise RemoveError(
            f"What was removed from {own.__name__} cannot be changed while it is a "
            f"{type(module).__name__}: undo what made it one first (parametrizations, shards)."
        )
    module.__class__ = _silent(own, removed) if removed else own


def _silent(own: type[nn.Module], removed: tuple[Removed, ...]) -> type[nn.Module]:
    """The subclass."""
    members: dict[str, Any] = {
        "removed_sources": removed,
        "removed_from": own,
        "__module__": own.__module__,
        "__qualname__": own.__qualname__,
        "__doc__": own.__doc__,
        "__reduce_ex__": _reduce,
        "__setattr__": _set,
        "register_buffer": _register_buffer,
    }
    for each in removed:
        if each.attribute is None:
            members["forward"] = _zeros
        else:
            members[each.attribute] = _reading(each.attribute, each.stand)
    return type(own.__name__, (own,), members)


def _reading(attribute: str, stand: Stand) -> property:
    def read(module: nn.Module) -> Any:
        tensor = nn.Module.__getattr__(module, attribute)
        return stand_in(tensor, stand) if isinstance(tensor, Tensor) else tensor

    return property(read)


def _zeros(module: nn.Module, *args: Any, **kwargs: Any) -> Any:
    return tree_map_only(Tensor, torch.zeros_like, _own(module).forward(module, *args, **kwargs))


def _set(module: nn.Module, name: str, value: Any) -> None:
    _require_size(module, name, value)
    _own(module).__setattr__(module, name, value)


def _register_buffer(module: nn.Module, name: str, tensor: Tensor | None, **options: Any) -> None:
    _require_size(module, name, tensor)
    _own(module).register_buffer(module, name, tensor, **options)


def _require_size(module: nn.Module, name: str, value: Any) -> None:
    """What is computed of a stand-in would take the place of the tensor that it stands for."""
    if not isinstance(value, Tensor) or name not in {each.attribute for each in removed_of(module)}:
        return
    kept = nn.Module.__getattr__(module, name)
    if isinstance(kept, Tensor) and kept.shape != value.shape:
        raise RemoveError(
            f"`{name}` of {type(module).__name__} was removed, so it cannot be made another size: "
            "call visionpe.restore, change the size, and remove it again."
        )


def _own(module: nn.Module) -> Any:
    return type(module).removed_from  # type: ignore[attr-defined]


def _reduce(module: nn.Module, protocol: Any) -> Any:
    """How it is copied and saved: the subclass cannot be imported, its parts can."""
    return _remade, (_own(module), removed_of(module)), module.__getstate__()


def _remade(own: type[nn.Module], removed: tuple[Removed, ...]) -> nn.Module:
    silent = _silent(own, removed)
    return silent.__new__(silent)
