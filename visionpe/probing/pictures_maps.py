"""The maps of a result: what was read beside what was asked, and what a border does."""

from textwrap import fill
from typing import TYPE_CHECKING, Any

import numpy as np

from visionpe.plots.style import FAINT, GREY, INK, amounts, errors, style
from visionpe.probing.page_words import describe
from visionpe.probing.result import TARGET, ProbeResult

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, FigureBase

_LONGEST = 20  # letters of a layer's name
_MAPS = 6  # layers in a mosaic: the first, the last, and evenly between
_CELL, _SMALL = 1.28, 0.74  # width of a map, in inches


def mosaic(result: ProbeResult) -> "Figure":
    """A row a target: the target, then the mean map that is read from each layer.

    Args:
        result: of `visionpe.probe`.
    """
    from matplotlib.figure import Figure

    with style():
        figure = Figure(figsize=mosaic_size(result), layout="constrained")
        draw_mosaic(figure, result)
    return figure


def controls_mosaic(result: ProbeResult, layer: str) -> "Figure":
    """A row a target: the target, then the mean map that each condition gives at one layer.

    Args:
        result: of `visionpe.probe`.
        layer: one of its layers.
    """
    from matplotlib.figure import Figure

    conditions = [
        name for name in result.conditions if any(name in m for m in result.maps[layer].values())
    ]
    with style():
        size = _SMALL * (len(conditions) + 1) + 0.6, _height(result, _SMALL) + 0.25
        figure = Figure(figsize=size, layout="constrained")
        titles = [fill(describe(name).label, 10) for name in conditions]
        columns = [[result.maps[layer][t].get(name) for t in result.targets] for name in conditions]
        targets = [result.maps[layer][t][TARGET] for t in result.targets]
        _tiles(figure, result.targets, ["target", *titles], [targets, *columns])
    return figure


def companions(result: ProbeResult) -> "Figure":
    """Per layer: what a unit in the middle sees, and where a shifted image breaks the features.

    Args:
        result: of `visionpe.probe`, with companions.

    Raises:
        ValueError: if it has none.
    """
    from matplotlib.colors import PowerNorm
    from matplotlib.figure import Figure

    if not result.companions:
        raise ValueError("`result` must have companions, but has none.")
    layers = some([layer for layer in result.layers if layer in result.companions])
    with style():
        wide = max(2, len(layers))
        figure = Figure(figsize=(1.7 * wide + 1.1, 4.1), layout="constrained")
        axes = figure.subplots(2, len(layers), squeeze=False)
        most = max(float(np.nanmax(result.companions[name].border.numpy())) for name in layers)
        for column, layer in enumerate(layers):
            found = result.companions[layer]
            share = (found.field / found.field.max().clamp(min=1e-30)).numpy()
            top, below = axes[0, column], axes[1, column]
            top.imshow(share, cmap=amounts(), norm=PowerNorm(0.5, 0, 1))
            top.set_title(f"{short(layer)}\n{found.field_size:.0f} px across", fontsize=8)
            shown = below.imshow(found.border.numpy(), cmap=errors(), vmin=0, vmax=max(most, 1e-6))
            below.set_title(
                f"border {_percent(found.border_error)}\ninside {_percent(found.interior_error)}",
                fontsize=8,
            )
            for ax in (top, below):
                _frame(ax)
        for ax, name in ((axes[0, 0], "what a unit sees"), (axes[1, 0], "broken by a shift")):
            _name(ax, name)
        bar = figure.colorbar(shown, ax=axes[1], pad=0.02, aspect=16, shrink=0.9)
        bar.set_label("change of the features")
        bar.ax.yaxis.set_major_formatter(lambda value, _: f"{100 * value:.0f} %")
        bar.outline.set_visible(False)
    return figure


def mosaic_size(result: ProbeResult) -> tuple[float, float]:
    """Width and height of the drawing, in inches."""
    columns = len(some(result.layers)) + 1
    return max(3.4, _CELL * columns + 0.6), _height(result, _CELL)


def draw_mosaic(figure: "FigureBase", result: ProbeResult) -> None:
    """Draws into a figure or a part of one."""
    layers = some(result.layers)
    columns = [[result.maps[layer][t].get("model") for t in result.targets] for layer in layers]
    finest = max(layers, key=lambda layer: result.maps[layer][result.targets[0]][TARGET].numel())
    targets = [result.maps[finest][t][TARGET] for t in result.targets]
    _tiles(figure, result.targets, ["target", *map(short, layers)], [targets, *columns])


def _height(result: ProbeResult, cell: float) -> float:
    """Of a mosaic whose maps are `cell` wide, in inches."""
    h, w = result.maps[result.layers[0]][result.targets[0]][TARGET].shape
    return (cell * h / w + 0.06) * len(result.targets) + 0.55


def _tiles(
    figure: "FigureBase", rows: list[str], titles: list[str], columns: list[list[Any]]
) -> None:
    """Maps in [0, 1], a column a list; those that are None stay empty."""
    axes = figure.subplots(len(rows), len(columns), squeeze=False)
    for column, (title, maps) in enumerate(zip(titles, columns, strict=True)):
        for row, values in enumerate(maps):
            ax = axes[row, column]
            if values is None:
                ax.set_axis_off()
                continue
            shown = ax.imshow(values.float().numpy(), cmap=amounts(), vmin=0, vmax=1)
            _frame(ax)
        axes[0, column].set_title(title, fontsize=7.5, loc="center", color=INK if column else GREY)
    for row, name in enumerate(rows):
        _name(axes[row, 0], name)
    bar = figure.colorbar(shown, ax=axes, pad=0.015, aspect=24, shrink=min(1.0, 2.2 / len(rows)))
    bar.set_ticks([0, 0.5, 1])
    bar.outline.set_visible(False)


def _frame(ax: "Axes") -> None:
    ax.set_xticks([])
    ax.set_yticks([])
    for spine in ax.spines.values():
        spine.set_visible(True)
        spine.set_color(FAINT)


def _name(ax: "Axes", name: str) -> None:
    ax.set_ylabel(name, color=INK, weight="bold", labelpad=5)


def some(layers: list[str]) -> list[str]:
    """At most `_MAPS` of them."""
    if len(layers) <= _MAPS:
        return layers
    return [layers[round(i)] for i in np.linspace(0, len(layers) - 1, _MAPS)]


def short(name: str) -> str:
    """A name's end, where it is too long."""
    return name if len(name) <= _LONGEST else f"…{name[1 - _LONGEST :]}"


def _percent(share: float) -> str:
    return "-" if np.isnan(share) else f"{100 * share:.0f} %"
