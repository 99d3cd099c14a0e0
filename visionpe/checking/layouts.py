"""The arguments of a call for each layout, in numbers that every dtype holds exactly."""

from typing import Any

import torch
from torch import Tensor

from visionpe.checking.subject import Inputs

LAYOUTS = {
    "bchw": "a map, channels second",
    "bhwc": "a map, channels last",
    "bnc": "tokens",
    "q": "queries (or keys) `b heads n d`",
    "qk": "queries and keys, two arguments",
}


def inputs_of(layout: str, *, channels: int, heads: int, head_dim: int) -> Inputs:
    """What makes the arguments of a call, for a layout."""

    def make(
        h: int, w: int, batch: int, dtype: torch.dtype, device: torch.device
    ) -> tuple[Any, ...]:
        shape = {
            "bchw": (batch, channels, h, w),
            "bhwc": (batch, h, w, channels),
            "bnc": (batch, h * w, channels),
            "attention": (batch, 3 * heads * head_dim, h, w),
        }.get(layout, (batch, heads, h * w, head_dim))
        return tuple(_eighths(shape, dtype, device) for _ in range(2 if layout == "qk" else 1))

    return make


def _eighths(shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    """Multiples of 1/8 in [-1, 1], never 0: the same numbers in every floating point dtype."""
    if device.type == "meta":
        return torch.empty(shape, dtype=dtype, device=device)
    whole = torch.randint(1, 9, shape) * (2 * torch.randint(0, 2, shape) - 1)
    return (whole / 8).to(device, dtype)
