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


def pad_map(x: Tensor, rows: Reach, columns: Reach, mode: Mode, where: str) -> Tensor:
    """The map `... h w` with more rows and columns.

    Below the level of `F.pad`, so that no function mode around this one pads once more.

    Raises:
        ValueError: if the map is too small for the mode.

    >>> pad_map(torch.tensor([[[1.0, 2.0]]]), (0, 0), (1, 1), "circular", "net").tolist()
    [[[2.0, 1.0, 2.0, 1.0]]]
    """
    if not torch.compiler.is_compiling():
        _require_room(x, rows, columns, mode, where)
    return torch.ops.aten.pad.default(x, [*columns, *rows], _TORCH[mode])  # type: ignore[no-any-return]


def _require_room(x: Tensor, rows: Reach, columns: Reach, mode: Mode, where: str) -> None:
    h, w = x.shape[-2:]
    need = 1 if mode == "reflect" else 0
    if mode not in ("reflect", "circular") or all(
        max(reach) == 0 or max(reach) + need <= n for reach, n in ((rows, h), (columns, w))
    ):
        return
    raise ValueError(
        f"Maps must have more than {max(*rows, *columns) - 1 + need} rows and columns to be padded "
        f"by {mode!r} padding of {max(*rows, *columns)}, but `{where}` is given {h} x {w}. Give "
        f'larger images, or set_padding(model, "replicate", at="{where}").'
    )
