"""Position encodings compared: a table of a finished sweep, with seeds, intervals and cost.

    visionpe sweep configs/sweeps/y_arrow.yaml
    python -m benchmarks.sweep configs/sweeps/y_arrow.yaml
    python experiments/pe_comparison.py runs/y_arrow

writes `experiments/results/NAME.csv` (a line a run) and `NAME.md` (a line an encoding). The second
command measures what a training step costs; without it those columns are left out.
"""

import argparse
import csv
import platform
from collections.abc import Iterator
from pathlib import Path

import torch

import visionpe
from visionpe.report import read_sweep
from visionpe.report.statistics import interval
from visionpe.report.sweep import Group, Runs, numbers

_RESULTS = Path(__file__).parent / "results"
_COSTS = Path(__file__).parent.parent / "benchmarks" / "results"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("sweep", help="the folder of a sweep: runs/NAME")
    words = parser.parse_args()
    runs = read_sweep(words.sweep)
    metrics = tested(runs)
    stem = _RESULTS / runs.name
    with stem.with_suffix(".csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(lines(runs, metrics))
    text = "\n".join([*table(runs, metrics), "", foot(runs), ""])
    stem.with_suffix(".md").write_text(text, encoding="utf-8")
    print(text)


def tested(runs: Runs) -> list[str]:
    """The accuracies of the sweep's tests."""
    done = next(run for group in runs.groups for run in group.runs)
    return [name for name in numbers(done) if name.endswith(": test/acc1")]


def lines(runs: Runs, metrics: list[str]) -> Iterator[tuple[str, ...]]:
    """A line a run."""
    yield "encoding", "seed", "parameters", "cpu_seconds", *metrics
    for group in runs.groups:
        for seed, run in zip(group.seeds, group.runs, strict=True):
            found = (f"{numbers(run)[metric]:.4f}" for metric in metrics)
            yield group.name, seed, f"{run['parameters']}", f"{run['cpu_seconds']:.0f}", *found


def table(runs: Runs, metrics: list[str]) -> Iterator[str]:
    """A line an encoding: mean and 95 % interval of each test, parameters, cost."""
    names = [metric.partition(":")[0] for metric in metrics]
    heads = ["encoding", "n", *(f"{name}, %" for name in names), "parameters", "CPU s a run"]
    cost = costs(runs)
    heads += ["time", "memory"] if cost else []
    yield f"| {' | '.join(heads)} |"
    yield f"|{'---|' * len(heads)}"
    for group in runs.groups:
        if group.runs:
            cells = [cell(group, metric) for metric in metrics]
            seconds = interval([float(run["cpu_seconds"]) for run in group.runs]).mean
            parameters = f"{int(group.runs[0]['parameters']):,}"
            row = [group.name, str(len(group.runs)), *cells, parameters, f"{seconds:.0f}"]
            row += cost.get(group.name, ("-", "-")) if cost else ()
            yield f"| {' | '.join(row)} |"


def costs(runs: Runs) -> dict[str, tuple[str, str]]:
    """Time and memory of a training step, against the first encoding's."""
    file = _COSTS / f"sweep_{runs.name}.csv"
    if not file.is_file():
        return {}
    with file.open(encoding="utf-8") as opened:
        read = list(csv.DictReader(opened))
    return {
        line["encoding"]: (f"{float(line['time']):.2f}", f"{float(line['memory']):.2f}")
        for line in read
    }


def cell(group: Group, metric: str) -> str:
    """Mean and interval in per cent, or the one value."""
    score = group.score(metric)
    if score is None:
        return "-"
    mean, low, high = (100 * value for value in score[:3])
    return (
        f"{mean:.1f}" if score.n == 1 else f"{mean:.1f} ({max(low, 0):.1f} to {min(high, 100):.1f})"
    )


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
