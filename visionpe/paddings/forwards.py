"""The forward that a changed module carries: an attribute that copies, pickles and compiles."""

from typing import Any

from torch import nn

from visionpe.paddings.intercept import Swapped
from visionpe.paddings.modes import Mode
from visionpe.paddings.operations import OPERATIONS


class PaddedForward:
    """Runs a module's own forward with other pads.

    Args:
        module: whose forward.
        mode: what to pad with.
        inner: a forward that the module had been given before; None: its class's.

    Attributes:
        keeps_places: tells `visionpe.trace` that `inner` has the same places.
    """

    keeps_places = True

    def __init__(self, module: nn.Module, mode: Mode, inner: Any = None) -> None:
        self.module = module
        self.mode = mode
        self.inner = inner

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """What the module returns."""
        with Swapped(self.mode, OPERATIONS):
            if self.inner is not None:
                return self.inner(*args, **kwargs)
            return type(self.module).forward(self.module, *args, **kwargs)


def mode_of(module: nn.Module) -> Mode:
    """What a module was set to."""
    forward = vars(module).get("forward")
    return forward.mode if isinstance(forward, PaddedForward) else "original"


def put(module: nn.Module, mode: Mode) -> None:
    """Gives a module a forward that pads otherwise, or its own one back ("original")."""
    own = vars(module)
    forward = own.pop("forward", None)
    inner = forward.inner if isinstance(forward, PaddedForward) else forward
    if mode != "original":
        own["forward"] = PaddedForward(module, mode, inner)
    elif inner is not None:
        own["forward"] = inner
