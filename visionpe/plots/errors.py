"""Where the answers are wrong, and by how much: a map of errors and one of displacements."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float
from torch import Tensor

from visionpe.plots import canvas
from visionpe.plots import style as look
from visionpe.plots.style import COLOURS, INK, name_row, panels, style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CELLS = (0, 1, 2, 4, 8, 16, 32)  # between cells: the first class is 0 alone
PLACES = (0, 0.25, 0.5, 1, 2, 4, 8, 16, 32)  # of places between cells
SHARES = (0, 0.01, 0.05, 0.1, 0.2, 0.5, 0.9, 1)  # of missed overlap
_EVERY = 4  # arrows: one in four a row and a column


class Errors(NamedTuple):
    """One row.

    Attributes:
        points: centres `(y, x)`, in cells.
        errors: one a centre, 0 for a right answer.
        test: which centres are held out.
        train_note, test_note: short, such as "mean 0.1 cells".
    """

    points: Float[Tensor, "n 2"]
    errors: Float[Tensor, " n"]
    test: Bool[Tensor, " n"]
    train_note: str = ""
    test_note: str = ""


def error_maps(
    rows: Mapping[str, Errors],
    *,
    label: str = "distance from arg-max to truth, cells",
    bounds: Sequence[float] = CELLS,
    h: int = 64,
    w: int = 64,
) -> tuple["Figure", np.ndarray[Any, Any]]:
    """The error at every centre, white where there is none: all centres, train part, test part.

    The test part is outlined in the first panel if it is one region, not single cells.

    Args:
        rows: by the name of the run.
        label: of the colours, with the unit.
        bounds: of the classes of error that share a colour; shares of 1 end with 1, and distances
            go on beyond the last.
        h, w: size of the canvas in cells.
    """
    from matplotlib.colors import BoundaryNorm

    with style():
        figure, axes = panels(len(rows), 3, height=2.95)
        colours = look.errors()
        norm = BoundaryNorm(bounds, colours.N, extend="max" if bounds[-1] > 1 else "neither")
        for line, (name, row) in zip(axes, rows.items(), strict=True):
            held = canvas.on_canvas(row.points, row.test.float(), h, w) == 1
            parts = (row.test | ~row.test, ~row.test, row.test)
            notes = ("", row.train_note, row.test_note)
            names = ("all centres", "train", "test")
            for ax, part, note, title in zip(line, parts, notes, names, strict=True):
                values = canvas.on_canvas(row.points[part], row.errors[part], h, w)
                image = ax.imshow(values, cmap=colours, norm=norm)
                canvas.cells(ax, h, w)
                ax.set_title(f"{title}: {note}" if note else title)
            if _is_compact(held):
                canvas.outline(line[0], held)
                line[0].set_title("all centres, test part outlined")
            name_row(line[0], name)
        canvas.label_outer(axes)
        bar = figure.colorbar(
            image, ax=axes, label=label, pad=0.015, aspect=24, shrink=0.86 / len(axes)
        )
        bar.set_ticks(list(bounds), labels=[f"{bound:g}" for bound in bounds])
    return figure, axes


class Moved(NamedTuple):
    """One row of `displacements`.

    Attributes:
        points: the truth `(y, x)`, in cells.
        places: the answers, in cells.
        test: which points are held out.
    """

    points: Float[Tensor, "n 2"]
    places: Float[Tensor, "n 2"]
    test: Bool[Tensor, " n"]


def displacements(
    rows: Mapping[str, Moved], h: int = 64, w: int = 64
) -> tuple["Figure", np.ndarray[Any, Any]]:
    """Arrows from the truth to the answer, for one centre in sixteen; one panel a run.

    Args:
        rows: by the name of the run.
        h, w: size of the canvas in cells.
    """
    with style():
        columns = min(3, len(rows))
        figure, axes = panels(
            -(-len(rows) // columns), columns, width=3.3 * columns + 0.4, height=3.4
        )
        for ax, (name, row) in zip(axes.flat, rows.items(), strict=False):
            shown = (row.points % _EVERY == _EVERY // 2).all(-1)
            for part, colour in ((~row.test, COLOURS[0]), (row.test, COLOURS[1])):
                y, x = row.points[part & shown].T.numpy()
                dy, dx = (row.places - row.points)[part & shown].T.numpy()
                ax.quiver(
                    x, y, dx, dy, color=colour, angles="xy", scale_units="xy", scale=1, width=0.004
                )
                ax.plot(x, y, ".", color=colour, markersize=2.5)
            canvas.cells(ax, h, w)
            ax.set_title(name, weight="bold", color=INK)
        for ax in axes.flat[len(rows) :]:
            ax.set_visible(False)
        canvas.label_outer(axes)
    return figure, axes


def _is_compact(region: np.ndarray[Any, Any]) -> bool:
    """Whether a region has few edges for its area, so that its outline can be seen as a line."""
    framed = np.pad(region, 1)
    edges = (framed[:, 1:] != framed[:, :-1]).sum() + (framed[1:] != framed[:-1]).sum()
    return bool(edges < region.sum())
