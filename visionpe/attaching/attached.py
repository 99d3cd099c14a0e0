"""The one module that a model gains: it holds what is attached, and hands each call its frame."""

import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

from torch import nn

from visionpe.attaching.base_states import NotMissing
from visionpe.attaching.calling import Caller
from visionpe.attaching.decay import NoDecay
from visionpe.attaching.plan import Plan

CHILD = "visionpe"  # under which it is registered: the prefix of all keys that are added


class Held(NamedTuple):
    """An encoding by where it is registered: what stands there now acts, also a wrapper of it."""

    group: nn.Module
    key: str

    def now(self) -> Any:
        """The encoding."""
        return self.group._modules[self.key]


class Attached(nn.Module):
    """The encodings attached to a model, by name and by site.

    Attributes:
        active: whether they act; see `visionpe.disabled`.
        caller: knows the call that is running.
        plans: what is attached, by name.
        removals: by name, how to take it off again.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.active = True
        self.caller = Caller()
        self.plans: dict[str, Plan] = {}
        self.removals: dict[str, list[Callable[[], None]]] = {}
        self.decay = NoDecay(model, CHILD)
        self.takes_frame = "frame" in inspect.signature(model.forward).parameters
        self.handles = [
            model.register_forward_pre_hook(self.before, with_kwargs=True, prepend=True)
        ]
        self.end_last(model)
        self.base_states = NotMissing(self)

    def end_last(self, model: nn.Module) -> None:
        """Has a call end behind the encodings of the model's own output."""
        for handle in self.handles[1:]:
            handle.remove()
        self.handles[1:] = [model.register_forward_hook(self.after, always_call=True)]

    def forward(self, x: Any) -> Any:
        """Its argument: a model that is an `nn.Sequential` runs all of its children."""
        return x

    def before(self, module: nn.Module, args: Any, kwargs: dict[str, Any]) -> Any:
        """Takes `frame` from the model's arguments."""
        frame = kwargs.get("frame")
        if not self.takes_frame and "frame" in kwargs:
            kwargs = {name: value for name, value in kwargs.items() if name != "frame"}
        self.caller.begin((*args, *kwargs.values()), frame)
        return args, kwargs

    def after(self, module: nn.Module, args: Any, output: Any) -> None:
        """The call is over, or has failed."""
        self.caller.end(output)

    def drop(self, name: str) -> None:
        """Takes one encoding off."""
        for removal in reversed(self.removals.pop(name)):
            removal()
        del self.plans[name]
        del self._modules[name]

    def close(self) -> None:
        """Takes off the model what was set on it."""
        self.decay.leave()
        for handle in self.handles:
            handle.remove()


def attached_to(model: nn.Module) -> Attached | None:
    """What is attached to a model."""
    found = model._modules.get(CHILD)
    return found if isinstance(found, Attached) else None
