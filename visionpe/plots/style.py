"""One look for every figure: how it is set, drawn and saved, without the global state of pyplot."""

from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from textwrap import fill
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap
    from matplotlib.figure import Figure

INK, GREY, FAINT = "#1a1a1a", "#6b6b6b", "#ececec"
# Okabe and Ito's colours, which the colour-blind can tell apart, darkest first.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
# Of amounts and of errors, from the page's white: nothing, or no error.
_AMOUNT = ("#ffffff", "#cfe1f2", "#93c4df", "#4a97c9", "#1764ab", "#08306b")
_ERROR = ("#ffffff", "#fee0b6", "#fdae6b", "#ee7038", "#c7351a", "#8b0f0a", "#4d0000")

STYLE: Any = {
    "font.family": "DejaVu Sans",
    "font.size": 8.5,
    "axes.titlesize": 9,
    "axes.titlelocation": "left",
    "axes.titlepad": 5,
    "axes.labelsize": 8.5,
    "axes.labelcolor": GREY,
    "axes.edgecolor": "#9a9a9a",
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": "#9a9a9a",
    "ytick.color": "#9a9a9a",
    "xtick.labelcolor": GREY,
    "ytick.labelcolor": GREY,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "text.color": INK,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "lines.linewidth": 1.6,
    "image.interpolation": "nearest",
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
}


def amounts() -> "Colormap":
    """Colours of amounts: white for nothing, then darker and darker blue."""
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("amounts", _AMOUNT)


def errors() -> "Colormap":
    """Colours of errors: white for none, orange to dark red; `FAINT` where nothing is known."""
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("errors", _ERROR).with_extremes(bad=FAINT)


@contextmanager
def style() -> Iterator[None]:
    """Sets the look inside a `with` block; what was set before comes back after it."""
    from matplotlib import rc_context

    with rc_context(STYLE):
        yield


def panels(
    rows: int, columns: int, *, width: float = 10.0, height: float = 2.45, **options: Any
) -> tuple["Figure", np.ndarray[Any, Any]]:
    """A figure of `rows x columns` axes, always as a two-axis array.

    Args:
        rows, columns: of axes.
        width: of the figure, in inches.
        height: of a row, in inches.
        options: of `matplotlib.figure.Figure.subplots`.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height * rows + 0.35), layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False, **options)


def own(ax: "Axes | None", width: float, height: float) -> tuple["Figure", "Axes"]:
    """The axes that were given and their figure, or new ones.

    Args:
        ax: None for a new figure of one panel.
        width, height: of that figure, in inches.
    """
    if ax is None:
        figure, axes = panels(1, 1, width=width, height=height - 0.35)
        return figure, axes[0, 0]
    parent = ax.get_figure(root=True)
    assert parent is not None
    return parent, ax


def name_row(ax: "Axes", name: str) -> None:
    """Writes a row's name, upright, to the left of its first panel."""
    ax.annotate(
        fill(name, 26, break_on_hyphens=True),
        xy=(0, 0.5),
        xycoords="axes fraction",
        xytext=(-44, 0),
        textcoords="offset points",
        rotation=90,
        va="center",
        ha="center",
        multialignment="center",
        weight="bold",
        linespacing=1.3,
    )


def png(figure: "Figure", *, dpi: int = 160) -> bytes:
    """A figure as a PNG file; the same drawing gives the same bytes.

    Args:
        figure: of any function of this package.
        dpi: dots an inch.
    """
    file = BytesIO()
    with style():
        figure.draw_without_rendering()  # a legend outside the axes takes two passes to settle
        figure.savefig(file, format="png", dpi=dpi, metadata={"Software": None})
    return file.getvalue()
