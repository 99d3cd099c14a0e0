"""In which precision coordinates, angles and frequencies are computed, whatever the model's is."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor


def wide_dtype(*tensors: Tensor) -> torch.dtype:
    """float32, or the widest of the tensors' if that is wider: for what goes with them.

    >>> wide_dtype(torch.zeros(1, dtype=torch.bfloat16))
    torch.float32
    """
    dtype = torch.float32
    for tensor in tensors:
        dtype = torch.promote_types(dtype, tensor.dtype)
    return dtype


def default_dtype() -> torch.dtype:
    """torch's default dtype, or float32 where that is narrower: what frequencies are made in.

    >>> default_dtype()
    torch.float32
    """
    return torch.promote_types(torch.get_default_dtype(), torch.float32)


def code_dtype(points: Tensor) -> torch.dtype:
    """The points' own dtype, which their code is given in; of whole numbers, the default one.

    >>> code_dtype(torch.arange(3)), code_dtype(torch.zeros(3, dtype=torch.float64))
    (torch.float32, torch.float64)
    """
    return points.dtype if points.is_floating_point() else default_dtype()


def widest_dtype(device: torch.device | str | None) -> torch.dtype:
    """float64 wherever there is one: for angles, of which an error is one of the code."""
    device = torch.get_default_device() if device is None else torch.device(device)
    return torch.float32 if device.type == "mps" else torch.float64


def rounded_once(x: Tensor) -> torch.dtype:
    """`wide_dtype(x)`, or the widest if `x` is a half: for a code that is then rounded to it.

    Near a wave's zeros, an error of float32 may be several units of a half's last place.
    """
    half = x.is_floating_point() and torch.finfo(x.dtype).bits < 32
    return widest_dtype(x.device) if half else wide_dtype(x)


def exactly(device: torch.device) -> AbstractContextManager[object]:
    """A block without autocast, on devices that have one (meta has not)."""
    kind = device.type
    # Not asked in a graph: torch 2.10 cannot capture the question.
    available = torch.compiler.is_compiling() or torch.amp.is_autocast_available(kind)
    if not available or not torch.is_autocast_enabled(kind):
        return nullcontext()
    return torch.autocast(kind, enabled=False)


def kept_precise(
    function: Callable[[Tensor], Tensor], *frequencies: Tensor
) -> Callable[[Tensor], Tensor]:
    """`function`, as `Module._apply` takes it, leaving `frequencies` in float32 or better.

    Frequencies in half precision move every wave: the far ones by whole periods.
    """

    def apply(tensor: Tensor) -> Tensor:
        new = function(tensor)
        ours = any(tensor is part or tensor is part.grad for part in frequencies)
        if ours and new.is_floating_point() and torch.finfo(new.dtype).bits < 32:
            return tensor.to(new.device)
        return new

    return apply
