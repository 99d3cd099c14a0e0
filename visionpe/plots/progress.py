"""How a measure rises with the CPU time of training."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

from visionpe.plots.style import COLOURS, GREY, own, style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_RATIO = 8.0  # of the longest to the shortest time, from which the time is logarithmic


class Curve(NamedTuple):
    """One run.

    Attributes:
        seconds: CPU seconds of training at each validation.
        train, test: the measure of the two parts there.
    """

    seconds: list[float]
    train: list[float]
    test: list[float]


def training_curves(
    curves: Mapping[str, Curve],
    *,
    label: str = "accuracy, %",
    limits: tuple[float, float] | None = (0.0, 100.0),
    ax: "Axes | None" = None,
) -> tuple["Figure", "Axes"]:
    """One colour a run: the train part dashed, the test part solid.

    Args:
        curves: by the name of the run; those without a validation are left out.
        label: of the measure, with its unit.
        limits: of the measure; None to fit the curves.
        ax: where to draw; a new figure if left out.
    """
    from matplotlib.lines import Line2D
    from matplotlib.ticker import LogLocator, NullFormatter

    curves = {name: curve for name, curve in curves.items() if curve.seconds}
    with style():
        figure, ax = own(ax, 10, 4.2)
        handles = []
        for index, (name, curve) in enumerate(curves.items()):
            colour = COLOURS[index % len(COLOURS)]
            ax.plot(curve.seconds, curve.train, "--o", color=colour, ms=3, lw=1.2, mfc="white")
            ax.plot(curve.seconds, curve.test, "-o", color=colour, ms=4)
            handles.append(Line2D([], [], color=colour, label=name))
        handles += [
            Line2D([], [], color=GREY, ls="--", lw=1.2, marker="o", mfc="white", label="train"),
            Line2D([], [], color=GREY, marker="o", ms=4, label="test"),
        ]
        every = [second for curve in curves.values() for second in curve.seconds if second > 0]
        if every and max(every) > _RATIO * min(every):
            ax.set_xscale("log")
            ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            ax.xaxis.set_major_formatter("{x:g}")
            ax.xaxis.set_minor_formatter(NullFormatter())
        else:
            ax.set_xlim(left=0)
        if limits is not None:
            room = 0.03 * (limits[1] - limits[0])
            ax.set_ylim(limits[0] - room, limits[1] + room)
        ax.grid(axis="y", color="#e4e4e4", lw=0.6)
        ax.set_axisbelow(True)
        ax.set(xlabel="CPU time of training, seconds", ylabel=label)
        ax.legend(handles=handles, loc="center left", bbox_to_anchor=(1.01, 0.5), labelspacing=0.8)
    return figure, ax
