"""A result in one picture: scores layer by layer, and what was read beside what was asked."""

from typing import TYPE_CHECKING

from visionpe.plots.style import style
from visionpe.probing.pictures_curves import curves_size, draw_curves
from visionpe.probing.pictures_maps import draw_mosaic, mosaic_size
from visionpe.probing.result import ProbeResult

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def plot(result: ProbeResult) -> "Figure":
    """Scores above, predicted maps below, in one figure.

    Args:
        result: of `visionpe.probe`.
    """
    from matplotlib.figure import Figure

    with style():
        above, below = curves_size(result), mosaic_size(result)
        figure = Figure(
            figsize=(max(above[0], below[0]), above[1] + below[1]), layout="constrained"
        )
        grid = figure.add_gridspec(2, 1, height_ratios=[above[1], below[1]])
        draw_curves(figure.add_subfigure(grid[0]), result, "spearman")
        draw_mosaic(figure.add_subfigure(grid[1]), result)
    return figure
