"""Results as lines of a CSV file that grows run by run, and the numbers of a table made of them."""

import csv
import statistics
from collections.abc import Sequence
from pathlib import Path

from visionpe.report.statistics import interval as of_runs

Line = dict[str, str]


def read(path: Path) -> list[Line]:
    """The lines of a file; none if it is not there."""
    if not path.is_file():
        return []
    with path.open() as file:
        return list(csv.DictReader(file))


def keep(path: Path, lines: Sequence[Line], keys: Sequence[str]) -> None:
    """Adds lines in place of those with the same keys, and writes the file anew in one step."""
    kept = {tuple(line[key] for key in keys): line for line in [*read(path), *lines]}
    path.parent.mkdir(exist_ok=True)
    beside = path.with_suffix(".part")
    with beside.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(lines[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(kept.values())
    beside.replace(path)


def has(path: Path, **keys: object) -> bool:
    """Whether a line with these values is there."""
    wanted = {key: str(value) for key, value in keys.items()}
    return any(wanted.items() <= line.items() for line in read(path))


def pick(lines: Sequence[Line], **keys: object) -> list[Line]:
    """Those with these values."""
    wanted = {key: str(value) for key, value in keys.items()}
    return [line for line in lines if wanted.items() <= line.items()]


def interval(values: Sequence[float]) -> float:
    """Half of the 95 % interval of the mean, by Student's t; 0 for a single value."""
    found = of_runs(values)
    return 0.0 if found.n == 1 else found.high - found.mean


def mean(values: Sequence[float], digits: int = 3) -> str:
    """The mean and half of its 95 % interval.

    >>> mean([1.0, 2.0, 3.0], 1)
    '2.0 ± 2.5'
    """
    text = f"{statistics.fmean(values):.{digits}f}"
    return text if len(values) < 2 else f"{text} ± {interval(values):.{digits}f}"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)
