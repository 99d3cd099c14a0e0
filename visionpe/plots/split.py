"""Which centres a split trains on and which it holds out."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Bool, Float
from torch import Tensor

from visionpe.plots import canvas
from visionpe.plots.style import COLOURS, FAINT, GREY, own, panels, style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TRAIN, TEST = "#b9d3e6", COLOURS[1]


def split(
    points: Float[Tensor, "n 2"],
    test: Bool[Tensor, " n"],
    *,
    name: str,
    h: int = 64,
    w: int = 64,
    ax: "Axes | None" = None,
) -> tuple["Figure", "Axes"]:
    """A canvas with one mark a centre: train or test.

    Args:
        points: the centres `(y, x)`, in cells.
        test: which are held out.
        name: of the split, for the title.
        h, w: size of the canvas in cells.
        ax: where to draw; a new figure if left out.
    """
    from matplotlib.colors import ListedColormap

    with style():
        figure, ax = own(ax, 4.2, 4.2)
        shown = canvas.on_canvas(points, test.float(), h, w)
        ax.imshow(shown, cmap=ListedColormap([TRAIN, TEST]), vmin=0, vmax=1)
        canvas.cells(ax, h, w)
        ax.set_facecolor(FAINT)
        ax.set(xlabel="x, cells", ylabel="y, cells")
        held = int(test.sum())
        ax.set_title(f"{name}: {len(test) - held:,} train, {held:,} test")
    return figure, ax


def splits(
    points: Float[Tensor, "n 2"], tests: Mapping[str, Bool[Tensor, " n"]], h: int = 64, w: int = 64
) -> tuple["Figure", np.ndarray[Any, Any]]:
    """Several splits of the same points side by side, with a legend.

    Args:
        points: the centres `(y, x)`, in cells.
        tests: which are held out, by the name of the split.
        h, w: size of the canvas in cells.
    """
    from matplotlib.patches import Patch

    with style():
        figure, axes = panels(1, len(tests), width=3.9 * len(tests), height=3.9)
        for ax, (name, test) in zip(axes[0], tests.items(), strict=True):
            split(points, test, name=name, h=h, w=w, ax=ax)
        canvas.label_outer(axes)
        keys = {"train": TRAIN, "test": TEST, "no square fits": FAINT}
        figure.legend(
            handles=[Patch(color=colour, label=name) for name, colour in keys.items()],
            loc="outside lower center",
            ncols=3,
            labelcolor=GREY,
            handlelength=1,
            handleheight=1,
        )
    return figure, axes
