"""The runs of a sweep, as its folder has them, and their groups: runs that differ in the seed."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from visionpe.errors import RunFolderError
from visionpe.report.statistics import Interval, interval

SEED = "seed"  # the axis that a group runs over


@dataclass(frozen=True)
class Group:
    """Runs of one kind.

    Attributes:
        labels: by axis, the seed left out.
        seeds: of the runs that are done.
        runs: their outcomes.
        failed: the outcomes of those that are not.
    """

    labels: dict[str, str]
    seeds: list[str]
    runs: list[dict[str, Any]]
    failed: list[dict[str, Any]]

    @property
    def name(self) -> str:
        """Its labels."""
        return ", ".join(self.labels.values()) or "all runs"

    def score(self, metric: str) -> Interval | None:
        """The mean of a metric over the runs that have it."""
        found = [values[metric] for run in self.runs if metric in (values := numbers(run))]
        return interval(found) if found else None


@dataclass(frozen=True)
class Runs:
    """What a sweep's folder holds.

    Attributes:
        path: the folder.
        name: of the sweep.
        metric: that the page compares first.
        groups: in the order of the sweep file.
        text: the sweep file.
    """

    path: Path
    name: str
    metric: str
    groups: list[Group]
    text: str


def is_sweep(path: str | Path) -> bool:
    """Whether a folder is a sweep's."""
    return (Path(path) / "sweep.yaml").is_file() and (Path(path) / "results.jsonl").is_file()


def read_sweep(path: str | Path) -> Runs:
    """Reads the folder of a sweep.

    Raises:
        RunFolderError: if no run of it is done, or a file is damaged.
    """
    path = Path(path)
    text = (path / "sweep.yaml").read_text(encoding="utf-8")
    outcomes = []
    for number, line in enumerate((path / "results.jsonl").read_text("utf-8").splitlines(), 1):
        try:
            outcomes.append(json.loads(line))
        except json.JSONDecodeError as error:
            raise RunFolderError(
                f"Line {number} of {path / 'results.jsonl'} must be JSON, but is not. Run the "
                "sweep again: it writes the file anew."
            ) from error
    done = [outcome for outcome in outcomes if outcome["status"] == "done"]
    if not done:
        raise RunFolderError(f"The sweep {path} must have a run that is done, but has none yet.")
    sweep = yaml.safe_load(text)
    return Runs(
        path.resolve(),
        str(sweep.get("name") or path.name),
        sweep.get("metric") or _first(done),
        _groups(outcomes),
        text,
    )


def numbers(outcome: dict[str, Any]) -> dict[str, float]:
    """All metrics of a run by name: those at its end, and `NAME: METRIC` of its tests.

    >>> numbers({"metrics": {"val/acc1": 0.5}, "tests": {"large": {"test/acc1": 0.25}}})
    {'val/acc1': 0.5, 'large: test/acc1': 0.25}
    """
    found = dict(outcome.get("metrics") or {})
    for name, metrics in (outcome.get("tests") or {}).items():
        found |= {f"{name}: {key}": value for key, value in metrics.items()}
    return found


def _groups(outcomes: Sequence[dict[str, Any]]) -> list[Group]:
    groups: dict[tuple[tuple[str, str], ...], Group] = {}
    for outcome in outcomes:
        labels = {axis: label for axis, label in outcome["labels"].items() if axis != SEED}
        group = groups.setdefault(tuple(labels.items()), Group(labels, [], [], []))
        if outcome["status"] == "done":
            group.runs.append(outcome)
            group.seeds.append(outcome["labels"].get(SEED, ""))
        else:
            group.failed.append(outcome)
    return list(groups.values())


def _first(done: list[dict[str, Any]]) -> str:
    """An accuracy of a test if there is one, else of a validation, else the first metric."""
    names = list(numbers(done[0]))
    accurate = [name for name in names if "acc" in name]
    tested = [name for name in accurate if ": " in name]
    return (tested or accurate or names or [""])[0]
