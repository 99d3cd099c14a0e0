"""The page of a sweep: groups with intervals and costs, pictures, failures, how to run it again."""

import shlex
import time
from collections.abc import Sequence
from typing import Any

import visionpe
from visionpe.report.files import put, render, table
from visionpe.report.folder import PAGE
from visionpe.report.statistics import Interval
from visionpe.report.sweep import Group, Runs, numbers
from visionpe.report.sweep_figures import pictures, seconds

_SHOWN = 6  # metrics in the table, beside the first


def make_sweep(runs: Runs, command: Sequence[str] = ()) -> dict[str, bytes]:
    """The files of the report of a sweep by name; nothing is written.

    Args:
        runs: of `read_sweep`.
        command: what is shown as the command that made the page.
    """
    files: dict[str, bytes] = {}
    metrics = _metrics(runs)
    rows = [_row(group, metrics, runs.groups[0]) for group in runs.groups]
    columns = ("group", "n", *metrics, "parameters", "cpu_seconds", "failed")
    files["groups.csv"] = table(columns, ([_plain(row[c]) for c in columns] for row in rows))
    shown = [put(files, picture) for picture in pictures(runs)]
    failed = [
        {"name": f"{group.name}, seed {run['labels'].get('seed', '')}", "error": run.get("error")}
        for group in runs.groups
        for run in group.failed
    ]
    text = render(
        "sweep.html",
        title=runs.name,
        metric=runs.metric,
        metrics=metrics,
        groups=rows,
        failed=failed,
        pictures=shown,
        sweep=runs.text,
        path=str(runs.path),
        files=" ".join(sorted(files)),
        version=visionpe.__version__,
        made=time.strftime("%Y-%m-%d %H:%M"),
        command=shlex.join(command),
    )
    return {**files, PAGE: text.encode()}


def _metrics(runs: Runs) -> list[str]:
    """The metric of the page, then others that all groups have."""
    done = [run for group in runs.groups for run in group.runs]
    common = [m for m in numbers(done[0]) if all(m in numbers(run) for run in done)]
    scores = [m for m in common if m != runs.metric and "acc" in m]
    return [runs.metric, *scores][: 1 + _SHOWN]


def _row(group: Group, metrics: list[str], first: Group) -> dict[str, Any]:
    cost, base = seconds(group), seconds(first)
    parameters = [int(run["parameters"]) for run in group.runs if run.get("parameters")]
    return {
        "group": group.name,
        "n": len(group.runs),
        **{metric: group.score(metric) for metric in metrics},
        "parameters": f"{min(parameters):,}" if parameters else "",
        "cpu_seconds": cost,
        "ratio": f"{cost.mean / base.mean:.2f}" if cost and base and base.mean else "",
        "failed": len(group.failed),
    }


def _plain(value: Any) -> str:
    return said(value) if isinstance(value, Interval) else "" if value is None else str(value)


def said(found: Interval) -> str:
    """An interval in words.

    >>> said(Interval(0.5, 0.4375, 0.5625, 3)), said(Interval(2.0, float("nan"), float("nan"), 1))
    ('0.5 (0.4375 to 0.5625)', '2 (one run)')
    """
    if found.n == 1:
        return f"{found.mean:.4g} (one run)"
    return f"{found.mean:.4g} ({found.low:.4g} to {found.high:.4g})"
