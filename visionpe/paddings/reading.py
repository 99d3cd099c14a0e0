"""Whether a class's forward pads by itself: read from its code, since no model is run here."""

import inspect
from types import CodeType, FunctionType
from typing import Any

_PADS = frozenset({"pad", "conv2d", "max_pool2d", "avg_pool2d", "conv_transpose2d"})


def pads_itself(kind: type) -> bool:
    """Whether `forward`, or what it calls of the class and of its library, calls `F.pad` & co.

    A no is certain but for functions held in attributes; a yes may be a branch never taken.

    >>> from torch import nn
    >>> pads_itself(nn.ReflectionPad2d), pads_itself(nn.ReLU)
    (True, False)
    """
    return _forward_reaches(kind, _PADS)


def calls_pad(kind: type) -> bool:
    """The same for `F.pad` alone."""
    return _forward_reaches(kind, frozenset({"pad"}))


def _forward_reaches(kind: type, wanted: frozenset[str]) -> bool:
    forward = _function(inspect.getattr_static(kind, "forward", None))
    return forward is not None and _reaches(forward, kind, wanted, set())


def _reaches(
    function: FunctionType, kind: type, wanted: frozenset[str], seen: set[FunctionType]
) -> bool:
    seen.add(function)
    names = _names(function.__code__)
    if names & wanted:
        return True
    for name in names:
        for other in (inspect.getattr_static(kind, name, None), function.__globals__.get(name)):
            called = _function(other)
            if called is None or called in seen or called.__module__.startswith("torch."):
                continue
            if _reaches(called, kind, wanted, seen):
                return True
    return False


def _function(value: Any) -> FunctionType | None:
    if isinstance(value, staticmethod | classmethod):
        value = value.__func__
    if not isinstance(value, FunctionType):
        return None
    inner = inspect.unwrap(value)
    return inner if isinstance(inner, FunctionType) else None


def _names(code: CodeType) -> set[str]:
    """All names in a function and in the functions within it."""
    names = set(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            names |= _names(constant)
    return names
