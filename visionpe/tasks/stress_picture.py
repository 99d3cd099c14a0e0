"""Stress curves as a figure: one column a family, accuracy above, drift below."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from visionpe.plots.style import COLOURS, GREY, panels, style
from visionpe.tasks.stress import Point
from visionpe.tasks.stress_views import FAMILIES, FLIPS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_AXES = {
    "resolution": "resolution, times the training's",
    "aspect": "width / height, of the image's",
    "shift": "shift, share of a side",
    "crop": "window: centre (0) to corner (1)",
    "flip": "mirrored",
    "shuffle": "blocks a side, shuffled",
}
_LOGARITHMIC = ("resolution", "aspect", "shuffle")


def stress_curves(
    points: Sequence[Point], *, title: str = ""
) -> tuple["Figure", np.ndarray[Any, Any]]:
    """Accuracy, with its 95 % interval, and drift against each family's level.

    Args:
        points: of `visionpe.tasks.stress.stress`.
        title: over the figure.
    """
    families = [name for name in FAMILIES if any(p.family == name for p in points)]
    both = any(p.frames for p in points)
    with style():
        figure, axes = panels(2, len(families), width=2.35 * len(families) + 0.6, sharey="row")
        for column, family in enumerate(families):
            for frames in (True, False):
                line = [p for p in points if p.family == family and p.frames == frames and p.n]
                if line:
                    name = ("with frames" if frames else "without frames") if both else ""
                    _draw(axes[:, column], line, COLOURS[0 if frames else 1], name, frames)
            levels = sorted({p.level for p in points if p.family == family})
            refused = sorted({p.level for p in points if p.family == family and p.reason})
            _scale(axes[:, column], family, levels)
            if refused:
                axes[0, column].plot(refused, [0.03] * len(refused), "x", color=GREY, markersize=4)
                axes[0, column].set_title("x: refused by the model", color=GREY, fontsize=8)
        axes[0, 0].set_ylabel("accuracy")
        axes[0, 0].set_ylim(0, 1.02)
        axes[1, 0].set_ylabel("feature drift (1 - cosine)")
        top = 1.05 * max([0.05, *(p.drift for p in points if p.n)])
        axes[1, 0].set_ylim(-0.03 * top, top)
        if both:
            figure.legend(
                *axes[0, -1].get_legend_handles_labels(),
                loc="outside lower center",
                ncols=2,
                labelcolor=GREY,
            )
        if title:
            figure.suptitle(title, x=0.01, ha="left", fontsize=9.5)
    return figure, axes


def _draw(axes: Any, line: list[Point], colour: str, name: str, frames: bool) -> None:
    x = [p.level for p in line]
    marks: dict[str, Any] = {"marker": "o" if frames else "s", "markersize": 3}
    marks |= {"linestyle": "none" if line[0].family == "flip" else "-" if frames else "--"}
    top, bottom = axes
    top.plot(x, [p.accuracy for p in line], color=colour, label=name, **marks)
    if line[0].family == "flip":
        top.vlines(x, [p.low for p in line], [p.high for p in line], color=colour, linewidth=1)
    else:
        top.fill_between(
            x, [p.low for p in line], [p.high for p in line], color=colour, alpha=0.15, linewidth=0
        )
    bottom.plot(x, [p.drift for p in line], color=colour, **marks)


def _scale(axes: Any, family: str, levels: list[float]) -> None:
    shown = levels[::2] if len(levels) > 6 else levels
    names = [FLIPS[int(level)] for level in shown] if family == "flip" else None
    first, last = levels[0], levels[-1]
    for ax in axes:
        ax.grid(axis="y", color="#ececec", linewidth=0.6)
        ax.set_axisbelow(True)
        if family in _LOGARITHMIC:
            ax.set_xscale("log")
            ax.set_xlim(first / 1.1, last * 1.1)
        else:
            edge = 0.5 if family == "flip" else 0.05 * (last - first)
            ax.set_xlim(first - edge, last + edge)
        ax.set_xticks(shown, names or [f"{level:.3g}" for level in shown], minor=False)
        ax.minorticks_off()
        if family == "flip":
            ax.tick_params(axis="x", labelrotation=30)
    axes[0].tick_params(labelbottom=False)
    axes[1].set_xlabel(_AXES[family])
