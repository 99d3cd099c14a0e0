"""How a tensor holds a map: which of its dimensions are rows, columns, tokens or windows."""

from typing import NamedTuple

from torch import Tensor

from visionpe.tracing.codes import varies

# name: dimensions along which y and x may vary, and the one that counts windows
_Dims = dict[int, dict[str, tuple[set[int], set[int], int | None]]]
_ROWS_COLUMNS: _Dims = {
    4: {
        "NCHW": ({2}, {3}, None),
        "NHWC": ({1}, {2}, None),
        "NLC": ({1, 2}, {1, 2}, 1),  # N windows L C
    },
    3: {
        "NLC": ({1}, {1}, None),
        "NCL": ({2}, {2}, None),
    },
}
_WINDOWED: _Dims = {
    4: {"NHWC": ({0, 1}, {0, 2}, 0), "NCHW": ({0, 2}, {0, 3}, 0)},
    3: {"NLC": ({0, 1}, {0, 1}, 0), "NCL": ({0, 2}, {0, 2}, 0)},
}


class Layout(NamedTuple):
    """A name such as NCHW, and the dimension that counts windows, if one does."""

    name: str
    windows: int | None
    tokens: int | None = None  # the dimension of L


def layout(y: Tensor, x: Tensor, shape: tuple[int, ...]) -> Layout | None:
    """The layout of a tensor of that shape, given the places of its elements.

    >>> import torch
    >>> row = torch.arange(6.0)
    >>> layout(row[:4, None].expand(1, 3, 4, 6), row.expand(1, 3, 4, 6), (1, 3, 4, 6))
    Layout(name='NCHW', windows=None, tokens=None)
    """
    along_y = {d for d in range(y.dim()) if varies(y, d)}
    along_x = {d for d in range(x.dim()) if varies(x, d)}
    for table in (_ROWS_COLUMNS, _WINDOWED):
        for name, (rows, columns, windows) in table.get(len(shape), {}).items():
            if not (along_y <= rows and along_x <= columns):
                continue
            # A dimension of places along which none varies has one element, or is another thing.
            if any(shape[d] > 1 for d in (rows | columns) - along_y - along_x):
                continue
            tokens = None if "L" not in name else max(rows)
            return Layout(name, windows, tokens)
    return None
