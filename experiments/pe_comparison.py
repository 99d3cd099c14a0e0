"""Position encodings compared: a table of a sweep's runs, with seeds, intervals and cost.

    visionpe sweep configs/sweeps/y_arrow.yaml
    python -m benchmarks.sweep configs/sweeps/y_arrow.yaml
    python experiments/pe_comparison.py runs/y_arrow

writes `experiments/results/NAME.csv` (a line a run) and `NAME.md` (a line an encoding). Lines of
runs that the sweep's folder lacks are kept, so that a sweep may be run in parts. The second command
measures what a training step costs; without it those columns are left out.
"""

import argparse
import csv
import platform
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
import yaml

import visionpe
from visionpe.report import read_sweep
from visionpe.report.statistics import interval
from visionpe.report.sweep import Runs, numbers

Line = dict[str, str]  # of a run: a row of the CSV file

_RESULTS = Path(__file__).parent / "results"
_COSTS = Path(__file__).parent.parent / "benchmarks" / "results"
_TESTED = ": test/acc1"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("sweep", help="the folder of a sweep: runs/NAME")
    words = parser.parse_args()
    runs = read_sweep(words.sweep)
    stem = _RESULTS / runs.name
    found = merged(kept(stem.with_suffix(".csv")), list(lines(runs)), order(runs))
    text = "\n".join([*table(found, costs(runs.name)), "", foot(runs), ""])
    fresh = stem.with_suffix(".csv.new")  # an end in the middle leaves the old lines
    with fresh.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(found[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(found)
    fresh.replace(stem.with_suffix(".csv"))
    stem.with_suffix(".md").write_text(text, encoding="utf-8")
    print(text)


def kept(file: Path) -> list[Line]:
    """The lines of runs that were written before."""
    if not file.is_file():
        return []
    with file.open(encoding="utf-8", newline="") as opened:
        return list(csv.DictReader(opened))


def lines(runs: Runs) -> Iterator[Line]:
    """A line a run that is done: its labels, cost, and the accuracies of its tests."""
    for group in runs.groups:
        for seed, run in zip(group.seeds, group.runs, strict=True):
            scores = {k: f"{v:.4f}" for k, v in numbers(run).items() if k.endswith(_TESTED)}
            yield {
                "encoding": group.name,
                "seed": seed,
                "parameters": f"{run['parameters']}",
                "cpu_seconds": f"{run['cpu_seconds']:.0f}",
                **scores,
            }


def merged(old: Sequence[Line], new: Sequence[Line], names: Sequence[str]) -> list[Line]:
    """All runs, a new one in place of its old one; encodings as in `names`, then seeds.

    Raises:
        ValueError: if old and new runs were tested differently.
    """
    if old and new and list(old[0]) != list(new[0]):
        raise ValueError(
            f"The runs must have the tests of the lines kept, {list(old[0])}, but have "
            f"{list(new[0])}. Move the old file away, or run the sweep with its tests."
        )
    runs = {(line["encoding"], line["seed"]): line for line in [*old, *new]}
    places = {name: place for place, name in enumerate(names)}
    return sorted(
        runs.values(),
        key=lambda line: (
            places.get(line["encoding"], len(places)),
            line["encoding"],
            int(line["seed"]),
        ),
    )


def order(runs: Runs) -> list[str]:
    """The encodings as the sweep file has them."""
    return list(yaml.safe_load(runs.text)["axes"]["encoding"])


def table(runs: Sequence[Line], cost: dict[str, tuple[str, str]]) -> Iterator[str]:
    """A line an encoding: mean and 95 % interval of each test, parameters, cost."""
    metrics = [name for name in runs[0] if name.endswith(_TESTED)]
    names = [metric.partition(":")[0] for metric in metrics]
    heads = ["encoding", "n", *(f"{name}, %" for name in names), "parameters", "CPU s a run"]
    heads += ["time", "memory"] if cost else []
    yield f"| {' | '.join(heads)} |"
    yield f"|{'---|' * len(heads)}"
    for encoding in dict.fromkeys(line["encoding"] for line in runs):
        group = [line for line in runs if line["encoding"] == encoding]
        cells = [cell([float(line[metric]) for line in group]) for metric in metrics]
        seconds = interval([float(line["cpu_seconds"]) for line in group]).mean
        parameters = f"{int(group[0]['parameters']):,}"
        row = [encoding, str(len(group)), *cells, parameters, f"{seconds:.0f}"]
        row += cost.get(encoding, ("-", "-")) if cost else ()
        yield f"| {' | '.join(row)} |"


def costs(name: str) -> dict[str, tuple[str, str]]:
    """Time and memory of a training step, against the first encoding's."""
    file = _COSTS / f"sweep_{name}.csv"
    if not file.is_file():
        return {}
    with file.open(encoding="utf-8") as opened:
        read = list(csv.DictReader(opened))
    return {
        line["encoding"]: (f"{float(line['time']):.2f}", f"{float(line['memory']):.2f}")
        for line in read
    }


def cell(values: Sequence[float]) -> str:
    """Mean and interval in per cent, or the one value."""
    mean, low, high, n = interval([100 * value for value in values])
    return f"{mean:.1f}" if n == 1 else f"{mean:.1f} ({max(low, 0):.1f} to {min(high, 100):.1f})"


def foot(runs: Runs) -> str:
    """What the numbers are of."""
    failed = sum(len(group.failed) for group in runs.groups)
    version = torch.__version__.partition("+")[0]
    return (
        f"Test accuracy, mean and 95 % interval over n seeds (Student's t); runs that failed: "
        f"{failed}. `visionpe sweep`, visionpe {visionpe.__version__}, torch {version}, "
        f"{platform.machine()} CPU, one thread a run. Time and memory, where measured: of a "
        "training step, against the first line's."
    )


if __name__ == "__main__":
    main()
