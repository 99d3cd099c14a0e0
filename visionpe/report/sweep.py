"""The runs of a sweep, as its folder has them, and their groups: runs that differ in the seed."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import yaml

from visionpe.errors import ConfigError, RunFolderError
from visionpe.report.statistics import Interval, interval

SEED = "seed"  # the axis that a group runs over
_AGAIN = "Run the sweep again: it writes the file anew."


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
        RunFolderError: if no run of it is done or has metrics, or a file is damaged.
        ConfigError: if no run has the sweep's `metric`.
    """
    path = Path(path)
    text = _text(path / "sweep.yaml")
    sweep = _mapping(path / "sweep.yaml", text)
    lines = enumerate(_text(path / "results.jsonl").splitlines(), 1)
    outcomes = [_outcome(path / "results.jsonl", number, line) for number, line in lines]
    done = [outcome for outcome in outcomes if outcome["status"] == "done"]
    if not done:
        raise RunFolderError(f"The sweep {path} must have a run that is done, but has none yet.")
    return Runs(
        path.resolve(),
        str(sweep.get("name") or path.name),
        _metric(path, sweep.get("metric"), done),
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


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RunFolderError(f"{file} cannot be read: {error}. {_AGAIN}") from error


def _mapping(file: Path, text: str) -> dict[str, Any]:
    try:
        content = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise RunFolderError(f"{file} must be YAML, but is not. {_AGAIN}") from error
    if not isinstance(content, dict):
        raise RunFolderError(f"{file} must be a mapping, but is not. {_AGAIN}")
    return content


def _outcome(file: Path, number: int, line: str) -> dict[str, Any]:
    try:
        outcome = json.loads(line)
    except json.JSONDecodeError as error:
        raise RunFolderError(
            f"Line {number} of {file} must be JSON, but is not. {_AGAIN}"
        ) from error
    for key, kind in (("status", str), ("labels", dict)):
        if not isinstance(outcome, dict) or not isinstance(outcome.get(key), kind):
            raise RunFolderError(
                f"Line {number} of {file} must have the key `{key}`, but has not. {_AGAIN}"
            )
    found: dict[str, Any] = outcome
    return found


def _metric(path: Path, asked: Any, done: list[dict[str, Any]]) -> str:
    """The metric that is asked for, which a run must have, or one that is chosen."""
    names = list(dict.fromkeys(name for run in done for name in numbers(run)))
    if not names:
        raise RunFolderError(f"The runs of the sweep {path} must have metrics, but have none.")
    if not asked:
        return _first(names)
    if asked not in names:
        near = get_close_matches(str(asked), names, n=1)
        hint = f"Did you mean `{near[0]}`?" if near else f"They have {', '.join(names)}."
        raise ConfigError(
            f"`metric` of {path / 'sweep.yaml'} must be one of the runs', but is {asked!r}. {hint}"
        )
    return str(asked)


def _first(names: list[str]) -> str:
    """An accuracy of a test if there is one, else of a validation, else the first metric."""
    accurate = [name for name in names if "acc" in name]
    tested = [name for name in accurate if ": " in name]
    return (tested or accurate or names)[0]
