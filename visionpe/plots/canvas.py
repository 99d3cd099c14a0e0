"""What pictures of a canvas share: axes in cells, `y` downwards, and the outline of a region."""

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from visionpe.plots.style import INK

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def cells(ax: "Axes", h: int, w: int) -> None:
    """Sets axes to a canvas of `h x w` cells with the cell (0, 0) at the upper left."""
    ax.set(xlim=(-0.5, w - 0.5), ylim=(h - 0.5, -0.5), aspect="equal")
    ax.set_xticks(_ticks(w))
    ax.set_yticks(_ticks(h))
    for side in ("top", "right"):
        ax.spines[side].set_visible(True)


def label_outer(axes: np.ndarray[Any, Any]) -> None:
    """Labels the axes at the left and at the bottom of an array of canvases, and only those."""
    rows, columns = axes.shape
    for row in range(rows):
        for column in range(columns):
            left, bottom = column == 0, row == rows - 1
            axes[row, column].tick_params(labelleft=left, labelbottom=bottom)
            axes[row, column].set_ylabel("y, cells" if left else "")
            axes[row, column].set_xlabel("x, cells" if bottom else "")


def on_canvas(
    points: Float[Tensor, "n 2"], values: Float[Tensor, " n"], h: int, w: int
) -> Float[np.ndarray[Any, Any], "h w"]:
    """A map with each value in the cell at its point, and NaN elsewhere.

    >>> on_canvas(torch.tensor([[1.0, 0.0]]), torch.tensor([7.0]), 2, 3)
    array([[nan, nan, nan],
           [ 7., nan, nan]], dtype=float32)
    """
    canvas = torch.full((h, w), torch.nan)
    y, x = points.long().T
    canvas[y, x] = values.float()
    result: np.ndarray[Any, Any] = canvas.numpy()
    return result


def outline(
    ax: "Axes", region: Bool[np.ndarray[Any, Any], "h w"], *, colour: str = INK, width: float = 0.9
) -> None:
    """Draws the border of a region: each edge between a cell inside and one outside.

    Args:
        ax: of `cells`.
        region: True inside.
        colour, width: of the line, the width in points.
    """
    from matplotlib.collections import LineCollection

    framed = np.pad(region, 1)
    y, x = np.nonzero(framed[:, 1:] != framed[:, :-1])  # edges between columns
    upright = [[(b - 0.5, a - 1.5), (b - 0.5, a - 0.5)] for a, b in zip(y, x, strict=True)]
    y, x = np.nonzero(framed[1:] != framed[:-1])
    level = [[(b - 1.5, a - 0.5), (b - 0.5, a - 0.5)] for a, b in zip(y, x, strict=True)]
    for shade, points in (("white", 3 * width), (colour, width)):  # to be seen on dark colours too
        ax.add_collection(
            LineCollection(upright + level, colors=shade, linewidths=points, capstyle="projecting")
        )


def _ticks(n: int) -> list[int]:
    """Round numbers and the last cell."""
    step = next(s for s in (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, n) if n / s <= 5)
    ticks = list(range(0, n, step))
    return [*(t for t in ticks if n - 1 - t > step / 2), n - 1]
