"""Slow and obvious forms of the formulas, to check the package against."""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode


def coordinates(h: int, w: int, *, radius: bool = False, align_corners: bool = False) -> Tensor:
    """Coordinate channels, one cell at a time, from the formula of arXiv 1807.03247."""

    def place(i: int, n: int) -> float:
        if n == 1:
            return 0.0
        return 2 * i / (n - 1) - 1 if align_corners else 2 * (i + 0.5) / n - 1

    channels = torch.zeros(2 + radius, h, w, dtype=torch.float64)
    for i in range(h):
        for j in range(w):
            y, x = place(i, h), place(j, w)
            channels[:, i, j] = torch.tensor(
                [y, x, math.hypot(y, x)][: 2 + radius], dtype=torch.float64
            )
    return channels


def concatenating_conv(
    x: Tensor, code: Tensor, weight: Tensor, coord_weight: Tensor, conv: nn.Conv1d | nn.Conv2d
) -> Tensor:
    """CoordConv as it is usually written: `conv`, on every group's channels behind which stand all
    the coordinate channels, with the weights given."""
    groups = conv.groups
    code = code.expand(x.shape[0], *code.shape[-x.dim() + 1 :])
    together = torch.cat([torch.cat([part, code], 1) for part in x.chunk(groups, 1)], 1)
    kernel = torch.cat([weight, coord_weight], 1)
    pads = conv._reversed_padding_repeated_twice
    mode = "constant" if conv.padding_mode == "zeros" else conv.padding_mode
    together = F.pad(together, pads, mode=mode)
    function = F.conv1d if x.dim() == 3 else F.conv2d
    return function(together, kernel, conv.bias, conv.stride, 0, conv.dilation, groups)


class LargestTensor(TorchDispatchMode):
    """While it is entered, how many numbers the largest tensor has that an operation makes."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.numbers = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        if isinstance(out, Tensor):
            self.numbers = max(self.numbers, out.numel())
        return out
