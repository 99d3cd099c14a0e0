"""The scores of a result: a curve over layers and its controls, one panel a target."""

from typing import TYPE_CHECKING, Any

import numpy as np

from visionpe.plots.style import GREY, INK, style
from visionpe.probing.page_words import TARGETS, describe
from visionpe.probing.pictures_maps import short
from visionpe.probing.result import Mean, ProbeResult

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, FigureBase

SCORES = {
    "spearman": "Spearman's rank correlation",
    "r2": "R², share of the variance",
    "mae": "mean absolute error",
}
_COLUMNS = 3  # panels in a row
_EDGES = ((0, np.fmin.reduce), (1, np.fmax.reduce))  # of nulls, those without an interval aside


def curves(result: ProbeResult, score: str = "spearman") -> "Figure":
    """One panel a target: the score at each layer with its interval, beside every control.

    With one layer, a row a condition instead of a curve.

    Args:
        result: of `visionpe.probe`.
        score: "spearman", "r2" or "mae".

    Raises:
        ValueError: if `score` is none of these.
    """
    from matplotlib.figure import Figure

    if score not in SCORES:
        raise ValueError(f"`score` must be one of {', '.join(SCORES)}, but is {score!r}.")
    with style():
        figure = Figure(figsize=curves_size(result), layout="constrained")
        draw_curves(figure, result, score)
    return figure


def curves_size(result: ProbeResult) -> tuple[float, float]:
    """Width and height of the drawing, in inches."""
    panels = len(result.targets)
    rows = -(-panels // _COLUMNS)
    height = 0.24 * len(result.conditions) + 0.9 if len(result.layers) == 1 else 2.75
    return 10.6, height * rows + 0.2


def draw_curves(figure: "FigureBase", result: ProbeResult, score: str) -> None:
    """Draws into a figure or a part of one."""
    targets = result.targets
    columns = min(_COLUMNS, len(targets))
    rows = -(-len(targets) // columns)
    axes = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
    single = len(result.layers) == 1
    for index, (ax, target) in enumerate(zip(axes.flat, targets, strict=False)):
        if single:
            _draw_conditions(ax, result, target, score)
        else:
            _draw_layers(ax, result, target, score)
        ax.set_title(_asked(target), weight="bold", color=INK)
        if single:
            ax.tick_params(labelleft=index % columns == 0, labelbottom=True)
        else:
            ax.tick_params(labelbottom=index + columns >= len(targets))
    for ax in axes.flat[len(targets) :]:
        ax.set_visible(False)
    if single:
        figure.supxlabel(SCORES[score], color=GREY, fontsize=8.5)
    else:
        figure.supylabel(SCORES[score], color=GREY, fontsize=8.5)
        _legend(figure, axes, result, len(targets))


def _draw_layers(ax: "Axes", result: ProbeResult, target: str, score: str) -> None:
    """Curves over layers: nulls as a band, controls thin, the model on top."""
    x = np.arange(len(result.layers))
    nulls = [name for name in result.conditions if describe(name).kind == "null"]
    if nulls:
        ends = [_ends(result, target, name, score) for name in nulls]
        low, high = (f([e[i] for e in ends], axis=0) for i, f in _EDGES)
        ax.fill_between(x, low, high, color="#d9d9d9", lw=0)
    for name in result.conditions:
        drawn = describe(name)
        if drawn.kind == "null":
            continue
        means = _means(result, target, name)
        y = np.array([_value(mean, score) for mean in means])
        strong = drawn.kind == "model"
        if strong:
            low, high = _ends(result, target, name, score)
            ax.fill_between(x, low, high, color=drawn.colour, alpha=0.18, lw=0)
        ax.plot(
            *(x, y, drawn.line),
            color=drawn.colour,
            marker=drawn.marker,
            ms=5 if strong else 3.5,
            lw=2 if strong else 1.0,
            mfc=drawn.colour if strong or drawn.kind != "images" else "white",
            zorder=4 if strong else 3,
        )
    ax.axhline(0, color="#9a9a9a", lw=0.6, zorder=1)
    slanted = len(x) > 3 or max(map(len, result.layers)) > 8
    ax.set_xticks(
        x,
        [short(layer) for layer in result.layers],
        rotation=35 if slanted else 0,
        ha="right" if slanted else "center",
        rotation_mode="anchor",
    )
    ax.margins(x=0.06)
    _limits(ax, result, score)


def _draw_conditions(ax: "Axes", result: ProbeResult, target: str, score: str) -> None:
    """One layer: a row a condition, a dot with its interval."""
    for row, name in enumerate(result.conditions):
        drawn = describe(name)
        value = _value(_means(result, target, name)[0], score)
        low, high = (float(end[0]) for end in _ends(result, target, name, score))
        ax.plot([low, high], [row, row], color=drawn.colour, lw=2.2, alpha=0.45)
        ax.plot(value, row, "o", color=drawn.colour, ms=6 if drawn.kind == "model" else 4.5)
    ax.set_yticks(range(len(result.conditions)), [describe(n).label for n in result.conditions])
    ax.set_ylim(len(result.conditions) - 0.5, -0.5)
    ax.axvline(0, color="#9a9a9a", lw=0.6, zorder=1)
    ax.grid(axis="x", color="#ececec", lw=0.6)
    ax.set_axisbelow(True)
    if score != "mae":
        ax.set_xlim(min([-0.2, *_all(result, score)]) - 0.03, 1.03)


def _legend(figure: "FigureBase", axes: Any, result: ProbeResult, shown: int) -> None:
    """In the first free panel, or to the right of all."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    handles: list[Any] = []
    for name in result.conditions:
        drawn = describe(name)
        if drawn.kind != "null":
            hollow = drawn.kind == "images"
            handles.append(
                Line2D(
                    *([], []),
                    color=drawn.colour,
                    ls=drawn.line,
                    lw=2.0 if drawn.kind == "model" else 1.1,
                    marker=drawn.marker,
                    ms=4,
                    mfc="white" if hollow else drawn.colour,
                    label=drawn.label,
                )
            )
    if any(describe(name).kind == "null" for name in result.conditions):
        handles.append(Patch(color="#d9d9d9", label="nulls: nothing to be read"))
    free = axes.flat[shown:]
    if len(free):
        free[0].set_visible(True)
        free[0].set_axis_off()
        free[0].legend(handles=handles, loc="center left", labelspacing=0.55, borderpad=0)
    else:
        figure.legend(handles=handles, loc="outside right center", labelspacing=0.55)


def _limits(ax: "Axes", result: ProbeResult, score: str) -> None:
    if score == "mae":
        ax.set_ylim(bottom=0)
    else:
        ax.set_ylim(max(-1.0, min([-0.2, *_all(result, score)])) - 0.03, 1.03)
        ax.set_yticks([0, 0.25, 0.5, 0.75, 1])
    ax.grid(axis="y", color="#ececec", lw=0.6)
    ax.set_axisbelow(True)


def _all(result: ProbeResult, score: str) -> list[float]:
    values = [_value(mean, score) for mean in result.means]
    values += [end for mean in result.means for end in getattr(mean, f"{score}_interval")]
    return [value for value in values if np.isfinite(value)]


def _means(result: ProbeResult, target: str, condition: str) -> list[Mean]:
    return [result.mean(layer, target, condition) for layer in result.layers]


def _value(mean: Mean, score: str) -> float:
    value: float = getattr(mean, score)
    return value


def _ends(result: ProbeResult, target: str, condition: str, score: str) -> Any:
    """Ends of the intervals, two arrays over layers."""
    means = _means(result, target, condition)
    return np.array([getattr(mean, f"{score}_interval") for mean in means]).T


def _asked(target: str) -> str:
    return f"{target}: {TARGETS[target]}" if target in TARGETS else target
