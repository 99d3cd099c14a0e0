"""Whether anything looks on while an encoding computes: a gradient, a graph, a transform."""

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad


def captured() -> bool:
    """While a graph is captured, by `torch.compile`, `torch.export` or `torch.jit.trace`."""
    return torch.compiler.is_compiling() or torch._C._get_tracing_state() is not None


def transformed() -> bool:
    """While a graph is captured or under `torch.func`: no operation of our own, none in place."""
    return captured() or torch._C._are_functorch_transforms_active()


def unwatched(*tensors: Tensor) -> bool:
    """Whether nothing will ask how a result of these came about: it may be written piece by piece.

    >>> x = torch.zeros(1, requires_grad=True)
    >>> unwatched(x), unwatched(x.detach())
    (False, True)
    """
    if transformed():
        return False
    if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors):
        return False
    return all(
        type(tensor) in (Tensor, nn.Parameter) and forward_ad.unpack_dual(tensor).tangent is None
        for tensor in tensors
    )
