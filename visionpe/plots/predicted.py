"""Predicted probability maps: summed over a part of the data, and single ones."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from jaxtyping import Float
from torch import Tensor

from visionpe.plots import canvas
from visionpe.plots.style import COLOURS, amounts, name_row, panels, style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Maps = np.ndarray[Any, Any]
_MOST = 4.0  # a sum of 1 is right; the colours end here
_LEAST = 1e-4


class Summed(NamedTuple):
    """One row of `summed`: the maps of the two parts, and what to say of each.

    Attributes:
        train_truth, train, test_truth, test: sums over the centres of a part, one a cell.
        train_note, test_note: short, such as "100 % right".
    """

    train_truth: Float[Tensor, "h w"]
    train: Float[Tensor, "h w"]
    test_truth: Float[Tensor, "h w"]
    test: Float[Tensor, "h w"]
    train_note: str = ""
    test_note: str = ""


def summed(rows: Mapping[str, Summed]) -> tuple["Figure", Maps]:
    """Probability summed over all centres of a part, beside the truth; one row a run.

    The colours grow with the square root, so that a hundredth is still seen. All panels share them.

    Args:
        rows: by the name of the run.
    """
    from matplotlib.colors import PowerNorm

    with style():
        figure, axes = panels(len(rows), 4, height=2.3)
        norm = PowerNorm(0.5, 0, _MOST)
        for line, (name, row) in zip(axes, rows.items(), strict=True):
            titles = ("train, truth", "train, predicted", "test, truth", "test, predicted")
            notes = ("", row.train_note, "", row.test_note)
            for ax, part, title, note in zip(line, row[:4], titles, notes, strict=True):
                image = ax.imshow(part.numpy(), cmap=amounts(), norm=norm)
                canvas.cells(ax, *part.shape)
                ax.set_title(f"{title}: {note}" if note else title)
            name_row(line[0], name)
        canvas.label_outer(axes)
        _bar(figure, image, axes, "summed probability a cell", [0, 0.1, 0.5, 1, 2, 4], "max")
    return figure, axes


class Single(NamedTuple):
    """One row of `single`.

    Attributes:
        maps: one map a point.
        points: the targets `(y, x)`, in cells.
    """

    maps: Float[Tensor, "k h w"]
    points: Float[Tensor, "k 2"]


def single(rows: Mapping[str, Single], *, reach: int | None = None) -> tuple["Figure", Maps]:
    """The maps predicted for a few points, each with its target marked; one row a run.

    Args:
        rows: by the name of the run.
        reach: mark the square that reaches this many cells from the target, and colour evenly; by
            default the target's cell is ringed, and the colours are logarithmic.
    """
    from matplotlib.colors import LogNorm, Normalize

    with style():
        count = max(len(row.points) for row in rows.values())
        figure, axes = panels(len(rows), count, height=2.3)
        norm = LogNorm(_LEAST, 1) if reach is None else Normalize(0, 1)
        for line, (name, row) in zip(axes, rows.items(), strict=True):
            for ax in line[len(row.points) :]:
                ax.set_visible(False)
            for ax, part, point in zip(line, row.maps, row.points, strict=False):
                image = ax.imshow(part.clamp(min=_LEAST / 2).numpy(), cmap=amounts(), norm=norm)
                canvas.cells(ax, *part.shape)
                _mark(ax, *point.tolist(), reach=reach)
                ax.set_title(f"target: y {point[0]:.0f}, x {point[1]:.0f}")
            name_row(line[0], name)
        canvas.label_outer(axes)
        if reach is None:
            _bar(figure, image, axes, "probability a cell", [1e-4, 1e-3, 1e-2, 1e-1, 1], "min")
        else:
            _bar(figure, image, axes, "probability a cell", [0, 0.5, 1], "neither")
    return figure, axes


def _mark(ax: "Axes", y: float, x: float, *, reach: int | None) -> None:
    from matplotlib.patches import Circle, Rectangle

    look: dict[str, Any] = {"fill": False, "edgecolor": COLOURS[1], "linewidth": 1.2}
    if reach is None:
        ax.add_patch(Circle((x, y), 4, **look))
    else:
        side = 2 * reach + 1
        ax.add_patch(Rectangle((x - side / 2, y - side / 2), side, side, **look))


def _bar(
    figure: "Figure", image: Any, axes: Maps, label: str, ticks: list[float], extend: str
) -> None:
    """A colour bar for all panels, as tall as one row."""
    bar = figure.colorbar(
        image, ax=axes, label=label, extend=extend, pad=0.015, aspect=22, shrink=0.86 / len(axes)
    )
    bar.set_ticks(ticks, labels=[f"{tick:g}" for tick in ticks])
    bar.minorticks_off()
    bar.outline.set_visible(False)
