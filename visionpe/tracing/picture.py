"""A site's places over the image."""

from typing import TYPE_CHECKING

import torch

from visionpe.places import Places
from visionpe.tracing.sites import Site

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle

    from visionpe.tracing.run import Trace

_COLOURS = 20  # of matplotlib's tab20


def picture(trace: "Trace", site: Site | None) -> tuple["Figure", "Axes"]:
    """Queries as dots, one colour a window, and keys as crosses; or the cells of a lattice.

    Raises:
        ValueError: if the site is no lattice and no attention, and so has nothing to draw.
    """
    from matplotlib.figure import Figure

    site = site or next(iter(trace.attention or trace.sites))
    figure = Figure(figsize=(4.6 * max(0.4, min(2.5, trace.w / trace.h)), 4.9))
    ax = figure.subplots()
    if site.keys is not None:
        unit = site.lattice.spacing if site.lattice else (1.0, 1.0)
        for places, marker, size in ((site.queries, "o", 9), (site.keys, "x", 16)):
            if places is not None:
                _scatter(ax, places, unit, marker, size)
    elif site.lattice is not None:
        y, x = site.lattice.points().T.tolist()
        ax.scatter(x, y, s=9, marker="o")
    else:
        raise ValueError(f"`site` must have a lattice or keys, but {site.module!r} has neither.")
    ax.set(xlabel="x, pixels", ylabel="y, pixels", aspect="equal")
    ax.set_title(f"{site.module or '(model)'}: {site.kind}, {site.lattice or 'irregular'}")
    ax.add_patch(_image(trace.h, trace.w))
    ax.autoscale_view()
    ax.invert_yaxis()
    return figure, ax


def _scatter(ax: "Axes", places: Places, unit: tuple[float, float], marker: str, size: int) -> None:
    points = (places.positions.double() + 0.5) * torch.tensor(unit, dtype=torch.float64)
    colours = torch.arange(len(points)).remainder(_COLOURS).repeat_interleave(points.shape[1])
    y, x = points.reshape(-1, 2).T.tolist()
    ax.scatter(
        x, y, s=size, c=colours.tolist(), marker=marker, cmap="tab20", vmin=0, vmax=_COLOURS - 1
    )


def _image(h: int, w: int) -> "Rectangle":
    from matplotlib.patches import Rectangle

    return Rectangle((0, 0), w, h, fill=False, edgecolor="0.4")
