"""The dispatch mode under which tensors hold places."""

from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only

from visionpe.tracing.codes import nowhere, thin
from visionpe.tracing.rules import rule_of
from visionpe.tracing.state import Arguments, Run, is_float


class Following(TorchDispatchMode):
    """Replaces each operation by what it does to places.

    Places are float64. Any other floating point tensor is one of the model's own constants, which
    has no place; whole numbers and truth values are computed as ever.
    """

    def __init__(self, run: Run) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.run = run

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """The operation on places."""
        kwargs = kwargs or {}
        if self.run.paused:
            return func(*args, **kwargs)
        name = func._schema.name.split("::")[1]
        rule = rule_of(name, func, args, kwargs)
        args, kwargs = tree_map_only(Tensor, _foreign_is_nowhere, (args, kwargs))
        if rule is None:
            return _native(func, args, kwargs)
        if rule == "unknown":
            self.run.unknown[name] += 1
            if not func._schema.is_mutable:  # some kernels read past the one number of `nowhere`
                args, kwargs = tree_map_only(Tensor, Tensor.contiguous, (args, kwargs))
            return tree_map_only(Tensor, _lose, func(*args, **kwargs))
        result = rule(_bind(func, args, kwargs), self.run)
        if func._schema.is_mutable and not name.startswith("native") and "self" in _names(func):
            return _write(args[0], result)
        return result


def _foreign_is_nowhere(x: Tensor) -> Tensor:
    return nowhere(x.shape) if is_float(x) and x.dtype != torch.float64 else x


def _lose(x: Tensor) -> Tensor:
    return nowhere(x.shape) if is_float(x) else x


def _native(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """The operation itself, which only moves elements about."""
    try:
        return func(*args, **kwargs)
    except RuntimeError:
        # Repeated elements share memory here, which neither a view nor a write can always do.
        name = func._schema.name
        if name in ("aten::view", "aten::_unsafe_view"):
            return _reshape(args[0], list(args[1]))
        if func._schema.is_mutable and args[0].dtype == torch.float64:
            _own_memory(args[0], args[0])
            return func(*args, **kwargs)
        raise


def _reshape(x: Tensor, shape: list[int]) -> Tensor:
    """A copy of another shape, in which features that were repeated are repeated."""
    shape = list(torch.empty(x.shape, device="meta").view(shape).shape)
    features = 0
    while features < min(x.dim(), len(shape)):
        d = -1 - features
        if x.shape[d] != shape[d] or (x.shape[d] > 1 and x.stride(d)):
            break
        features += 1
    if not features:
        return x.reshape(shape)
    for d in range(1, features + 1):
        x = x.narrow(-d, 0, 1)
    return x.reshape(*shape[:-features], *[1] * features).expand(shape)


def _write(target: Tensor, result: Tensor) -> Tensor:
    """The result of an operation in place."""
    if result is target or not is_float(target):
        return target
    a, b = thin(result.expand(target.shape), target)
    if torch.equal(a.nan_to_num(-1.0), b.nan_to_num(-1.0)):
        return target
    try:
        return target.copy_(result)
    except RuntimeError:  # its elements share memory
        _own_memory(target, result.expand(target.shape))
        return target


def _own_memory(target: Tensor, contents: Tensor) -> None:
    copy = contents.clone(memory_format=torch.contiguous_format)
    target.set_(copy.untyped_storage(), 0, copy.shape, copy.stride())


def _bind(func: Any, args: Any, kwargs: dict[str, Any]) -> Arguments:
    bound: Arguments = {
        argument.name: argument.default_value if argument.has_default_value() else None
        for argument in func._schema.arguments
    }
    bound.update(zip(bound, args, strict=False))
    bound.update(kwargs)
    bound["func"], bound["args"], bound["kwargs"] = func, args, kwargs
    return bound


def _names(func: Any) -> list[str]:
    return [argument.name for argument in func._schema.arguments]
