"""The arguments of a call for each layout, in numbers that every dtype holds exactly."""

from collections.abc import Mapping
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


def require_widths(
    layout: str, ours: bool, channels: int | None, heads: int | None, head_dim: int | None
) -> None:
    """Refuses widths that a layout needs and are not given, or are too small.

    Raises:
        ValueError: naming the first one.
    """
    for name, value, layouts in (
        ("channels", channels, ("bchw", "bhwc", "bnc")),
        ("heads", heads, ("q", "qk")),
        ("head_dim", head_dim, ("q", "qk")),
    ):
        if value is None and layout in layouts and not ours:
            raise ValueError(f"`{name}` must be given for the layout {layout!r}, but is not.")
        if value is not None and value < 1:
            raise ValueError(f"`{name}` must be at least 1, but is {value}.")


def takes(layout: str, widths: Mapping[str, int]) -> str:
    """What a call takes, in words."""
    if layout == "inputs":
        return "the arguments that `inputs` makes"
    names = ("channels",) if layout in ("bchw", "bhwc", "bnc") else ("heads", "head_dim")
    return f"{layout!r} with " + ", ".join(f"{name}={widths[name]}" for name in names)
