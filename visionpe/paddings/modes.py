"""What lies beyond the edge of a map."""

from typing import Literal

import torch
from torch import Tensor

Mode = Literal["zeros", "reflect", "replicate", "circular", "none", "original"]
MODES: tuple[Mode, ...] = ("zeros", "reflect", "replicate", "circular", "none", "original")
Reach = tuple[int, int]  # cells beyond the first and the last row or column
_TORCH = {
    "zeros": "constant",
    "reflect": "reflect",
    "replicate": "replicate",
    "circular": "circular",
    "none": "replicate",
}


def pad_map(x: Tensor, rows: Reach, columns: Reach, mode: Mode) -> Tensor:
    """The map `... h w` with more rows and columns.

    A map with fewer cells than are added is mirrored or repeated more than once, as `numpy.pad`
    does; but not while it is traced, where sizes are unknown.

    Below the level of `F.pad`, so that no function mode around this one pads once more.

    >>> pad_map(torch.tensor([[[1.0, 2.0]]]), (0, 0), (1, 1), "circular").tolist()
    [[[2.0, 1.0, 2.0, 1.0]]]
    >>> pad_map(torch.tensor([[[1.0, 2.0]]]), (0, 0), (3, 0), "reflect").tolist()
    [[[2.0, 1.0, 2.0, 1.0, 2.0]]]
    """
    if mode in ("reflect", "circular") and not torch.compiler.is_compiling():
        mirror = mode == "reflect"
        if max(rows) + mirror > x.shape[-2] and any(rows):
            x, rows = x.index_select(-2, _cells(x, -2, rows, mirror)), (0, 0)
        if max(columns) + mirror > x.shape[-1] and any(columns):
            x, columns = x.index_select(-1, _cells(x, -1, columns, mirror)), (0, 0)
    return torch.ops.aten.pad.default(x, [*columns, *rows], _TORCH[mode])  # type: ignore[no-any-return]


def _cells(x: Tensor, dim: int, reach: Reach, mirror: bool) -> Tensor:
    """Which row or column of the map each one of the padded map is."""
    n = x.shape[dim]
    i = torch.arange(-reach[0], n + reach[1], device=x.device)
    if not mirror:
        return i % n
    period = max(2 * n - 2, 1)  # there and back; a single cell is its own mirror
    return torch.minimum(i % period, -i % period)
