"""The pictures of a sweep: scores with intervals, what they cost, and what stress does to them."""

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from visionpe.plots.style import COLOURS, GREY, panels, style
from visionpe.report.picture import Picture, digits
from visionpe.report.statistics import Interval, interval
from visionpe.report.sweep import Group, Runs, numbers

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_MARKERS = "os^Dv<>P*X"
_LEVELS = {
    "resolution": "test size, times the training's",
    "aspect": "width / height",
    "shift": "shift, share of a side",
    "crop": "window: centre (0) to corner (1)",
    "flip": "none, horizontal, vertical, both",
    "shuffle": "blocks a side, shuffled",
}


def pictures(runs: Runs) -> list[Picture]:
    """All pictures of a sweep."""
    found = [_scores(runs), _cost(runs)]
    if any(run.get("stress") for group in runs.groups for run in group.runs):
        found.append(_stress(runs))
    return found


def _scores(runs: Runs) -> Picture:
    """One line a group: each run a point, the mean and its interval."""
    groups = [group for group in runs.groups if group.score(runs.metric)]
    with style():
        figure, axes = panels(1, 1, width=8.5, height=0.55 + 0.3 * len(groups))
        ax = axes[0, 0]
        for row, group in enumerate(groups):
            _line(ax, row, group, runs.metric)
        ax.set_yticks(range(len(groups)), [group.name for group in groups])
        ax.set_ylim(len(groups) - 0.4, -0.6)
        ax.set_xlabel(runs.metric)
        ax.grid(axis="x", color="#e4e4e4", lw=0.6)
        ax.set_axisbelow(True)
        ax.tick_params(axis="y", length=0)
    return Picture(
        "scores",
        f"{runs.metric} by run",
        "Grey: each run. Blue: the mean over seeds with its 95 % interval (Student's t). Means "
        "whose intervals overlap may be equal; where they do not, chance alone is unlikely.",
        figure,
        ("group", "seed", runs.metric),
        _score_rows(groups, runs.metric),
    )


def _line(ax: "Axes", row: int, group: Group, metric: str) -> None:
    values = [v[metric] for run in group.runs if metric in (v := numbers(run))]
    found = interval(values)
    ax.plot(values, [row + 0.18] * len(values), "o", color=GREY, ms=3, alpha=0.7, mew=0)
    if not math.isnan(found.low):
        ax.hlines(row - 0.06, found.low, found.high, color=COLOURS[0], lw=2.2)
    ax.plot(found.mean, row - 0.06, "D", color=COLOURS[0], ms=5)


def _score_rows(groups: list[Group], metric: str) -> Iterator[tuple[Any, ...]]:
    for group in groups:
        for seed, run in zip(group.seeds, group.runs, strict=True):
            if metric in numbers(run):
                yield group.name, seed, digits(numbers(run)[metric])


def _cost(runs: Runs) -> Picture:
    """The score against the CPU time of a run."""
    scored = [(g, s, c) for g in runs.groups if (s := g.score(runs.metric)) and (c := seconds(g))]
    with style():
        figure, axes = panels(1, 1, width=8.5, height=3.6)
        ax = axes[0, 0]
        for index, (group, score, cost) in enumerate(scored):
            ax.plot(
                cost.mean,
                score.mean,
                _MARKERS[index // len(COLOURS) % len(_MARKERS)],
                color=COLOURS[index % len(COLOURS)],
                ms=6,
                label=group.name,
            )
        ax.set_xlim(left=0)
        ax.set(xlabel="CPU seconds of a run", ylabel=runs.metric)
        ax.grid(color="#e4e4e4", lw=0.6)
        ax.set_axisbelow(True)
        if scored:
            ax.legend(loc="center left", bbox_to_anchor=(1.01, 0.5))
    return Picture(
        "cost",
        "What it costs",
        "Mean over seeds. CPU seconds are of the whole run, start and validation included, and "
        "depend on what else the machine did.",
        figure,
        ("group", "n", "cpu_seconds", runs.metric),
        ((g.name, s.n, digits(c.mean), digits(s.mean)) for g, s, c in scored),
    )


def seconds(group: Group) -> Interval | None:
    """CPU seconds of a group's runs."""
    found = [float(run["cpu_seconds"]) for run in group.runs if run.get("cpu_seconds")]
    return interval(found) if found else None


def _stress(runs: Runs) -> Picture:
    """A panel a family, a line a group, a band of its interval."""
    points = {group.name: _points(group) for group in runs.groups}
    families = list(dict.fromkeys(key[0] for found in points.values() for key in found))
    columns = min(3, len(families))
    rows = -(-len(families) // columns)
    with style():
        figure, axes = panels(rows, columns, width=3.1 * columns + 1.2, height=2.5, sharey=True)
        for ax, family in zip(axes.flat, families, strict=False):
            for index, (name, found) in enumerate(points.items()):
                line = sorted(
                    (level, score) for (kind, level), score in found.items() if kind == family
                )
                _curve(ax, line, index, name)
            ax.set_title(family)
            ax.set_xlabel(_LEVELS.get(family, "level"))
            ax.grid(axis="y", color="#e4e4e4", lw=0.6)
        for ax in list(axes.flat)[len(families) :]:
            ax.set_visible(False)
        for ax in axes[:, 0]:
            ax.set_ylabel("accuracy")
        handles = axes[0, 0].get_legend_handles_labels()
        figure.legend(*handles, loc="outside right upper")
    return Picture(
        "stress",
        "What changed test images do",
        "Mean over seeds, with the 95 % interval as a band where there is more than one. With "
        "frames, where the model takes them: the encodings are told where an image sits in its "
        "original. Level 1 of resolution is the size of training.",
        figure,
        ("group", "family", "level", "n", "accuracy", "low", "high"),
        (
            (name, family, level, s.n, digits(s.mean), digits(s.low), digits(s.high))
            for name, found in points.items()
            for (family, level), s in found.items()
        ),
    )


def _curve(ax: "Axes", line: list[tuple[float, Interval]], index: int, name: str) -> None:
    colour = COLOURS[index % len(COLOURS)]
    marker = _MARKERS[index // len(COLOURS) % len(_MARKERS)]
    x = [level for level, _ in line]
    ax.plot(x, [s.mean for _, s in line], marker=marker, ms=3, color=colour, label=name)
    if all(not math.isnan(s.low) for _, s in line):
        low, high = [s.low for _, s in line], [s.high for _, s in line]
        ax.fill_between(x, low, high, color=colour, alpha=0.15, linewidth=0)


def _points(group: Group) -> dict[tuple[str, float], Interval]:
    """Accuracy by family and level; with frames where there are any."""
    found: dict[tuple[str, float], list[float]] = {}
    for run in group.runs:
        mine: dict[tuple[str, float], float] = {}
        for point in sorted(run.get("stress") or [], key=lambda point: bool(point["frames"])):
            if point["accuracy"] is not None:
                mine[point["family"], point["level"]] = point["accuracy"]
        for key, value in mine.items():
            found.setdefault(key, []).append(value)
    return {key: interval(values) for key, values in found.items()}
