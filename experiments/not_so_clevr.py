"""Not-so-Clevr (arXiv 1807.03247) over fresh seeds: one row a configuration, both splits.

    python experiments/not_so_clevr.py ROW [ROW ...] [--first 1000] [--seeds 10] [--jobs 2]
    python experiments/not_so_clevr.py --table

Every run is an ordinary `visionpe fit` of a file in `configs/coord_toy/`, in a process of one
thread, kept in `runs/not_so_clevr/`; its outcome is a line of `results/not_so_clevr.csv`, whatever
it is. The seeds are 1000, 1001, ...: none of them was looked at before the configurations were
fixed, and no setting was chosen by a test split, but by parts held out of the train split.
"""

import argparse
import csv
import json
import os
import statistics
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parent.parent
RUNS = ROOT / "runs" / "not_so_clevr"
RESULTS = Path(__file__).parent / "results" / "not_so_clevr.csv"
TABLE = RESULTS.with_suffix(".md")


class Row(NamedTuple):
    """A configuration of the table.

    Attributes:
        title: what it is, in the table.
        config: file in `configs/coord_toy/`.
        arguments: of the command line, behind the file.
        metric: the logged metric that tells how good it is.
        solved: "train and test at this value or better" ends the clock; None: never does.
        paper: what the paper says, for the table.
    """

    title: str
    config: str
    arguments: tuple[str, ...]
    metric: str
    solved: float | None
    paper: str


def often(steps: int) -> tuple[str, ...]:
    """Validates so often, which changes no step: each is seeded by its own number."""
    return ("--trainer.val_check_interval", str(steps))


ROWS = {
    "coordconv": Row(
        "CoordConv, our recipe",
        "classification.yaml",
        often(150),
        "accuracy",
        1.0,
        "",
    ),
    "coordconv-no-decay": Row(
        "CoordConv, our recipe without weight decay",
        "classification.yaml",
        (*often(150), "--optimizer.weight_decay", "0"),
        "accuracy",
        1.0,
        "",
    ),
    "coordconv-paper": Row(
        "CoordConv, the paper's recipe",
        "classification_paper.yaml",
        (),
        "accuracy",
        1.0,
        "100 / 100 on both splits",
    ),
    "deconv": Row(
        "deconv, 46,465 parameters",
        "classification_deconv.yaml",
        (),
        "accuracy",
        1.0,
        "uniform at most 86 % test, quadrant 0 %",
    ),
    "regression": Row(
        "regression, max pool",
        "regression.yaml",
        (),
        "pixel_error",
        None,
        "perfect on both splits",
    ),
    "regression-mean": Row(
        "regression, mean pool (negative control)",
        "regression.yaml",
        ("--model.network.pool", "mean"),
        "pixel_error",
        None,
        "",
    ),
    "rendering": Row(
        "rendering, 9,490 parameters",
        "rendering.yaml",
        (),
        "iou",
        None,
        "perfect on both splits",
    ),
}
# The matrices are small: a second thread would spin, and runs share the machine.
ONE_THREAD = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
# glibc gives large blocks back at once; keeping them saves a quarter of a full softmax's time.
KEEP_PAGES = {"MALLOC_MMAP_THRESHOLD_": "4000000000", "MALLOC_TRIM_THRESHOLD_": "8000000000"}
FIELDS = ["row", "split", "seed", "train", "test", "solved_step", "solved_cpu_s", "steps", "cpu_s"]


def run(row: str, split: str, seed: int) -> dict[str, str]:
    """One run, its outcome as a line of the results."""
    _, config, arguments, metric, solved, _ = ROWS[row]
    name = f"{row}-{split}-{seed}"
    command = [
        *(sys.executable, "-m", "visionpe", "fit"),
        *("--config", str(ROOT / "configs" / "coord_toy" / config)),
        *("--run.dir", str(RUNS), "--run.name", name),
        *("--data.split", split, "--seed_everything", str(seed), "--data.seed", str(seed)),
        *arguments,
    ]
    latest = RUNS / name / "latest"
    if not (latest / "done.json").is_file():
        environment = {**os.environ, **ONE_THREAD, **KEEP_PAGES}
        subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL)
    with (latest / "metrics.csv").open() as file:
        lines = [line for line in csv.DictReader(file) if line.get(f"train/{metric}")]
    first = next(
        (
            line
            for line in lines
            if solved is not None
            and float(line[f"train/{metric}"]) >= solved
            and float(line[f"test/{metric}"]) >= solved
        ),
        None,
    )
    done = json.loads((latest / "done.json").read_text())
    last = lines[-1]
    outcome = {
        "row": row,
        "split": split,
        "seed": str(seed),
        "train": f"{float(last[f'train/{metric}']):.4f}",
        "test": f"{float(last[f'test/{metric}']):.4f}",
        "solved_step": "" if first is None else str(int(float(first["step"])) + 1),
        "solved_cpu_s": "" if first is None else f"{float(first['train_cpu_seconds']):.2f}",
        "steps": str(done["steps"]),
        "cpu_s": f"{float(last['train_cpu_seconds']):.2f}",
    }
    print(*outcome.values(), sep="\t", flush=True)
    return outcome


def keep(outcome: dict[str, str]) -> None:
    """Replaces the line of the same row, split and seed, and writes the file."""
    lines: dict[tuple[str, ...], dict[str, str]] = {}
    for line in [*read(), outcome]:
        lines[line["row"], line["split"], line["seed"]] = line
    order = list(ROWS)
    ordered = sorted(lines.values(), key=lambda r: (order.index(r["row"]), r["split"], r["seed"]))
    RESULTS.parent.mkdir(exist_ok=True)
    with RESULTS.open("w", newline="") as file:
        writer = csv.DictWriter(file, FIELDS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(ordered)


def read() -> list[dict[str, str]]:
    """The lines of the results."""
    if not RESULTS.is_file():
        return []
    with RESULTS.open() as file:
        return list(csv.DictReader(file))


def table() -> str:
    """The results in Markdown, a line a row and split."""
    lines = [
        "| configuration | split | n | train | test | solved | CPU s to 100/100 | CPU s in all |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row, entry in ROWS.items():
        for split in ("quadrant", "uniform"):
            group = [line for line in read() if line["row"] == row and line["split"] == split]
            if not group:
                continue
            solved = [float(line["solved_cpu_s"]) for line in group if line["solved_cpu_s"]]
            cells = [
                entry.title,
                split,
                str(len(group)),
                spread([float(line["train"]) for line in group], entry),
                spread([float(line["test"]) for line in group], entry),
                "-" if entry.solved is None else f"{at_end(group)} of {len(group)}",
                median(solved),
                median([float(line["cpu_s"]) for line in group]),
            ]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def at_end(group: list[dict[str, str]]) -> int:
    """How many runs end at 100 % on both parts."""
    return sum(float(line["train"]) == float(line["test"]) == 1 for line in group)


def median(seconds: list[float]) -> str:
    """Median and range."""
    if not seconds:
        return "-"
    if len(seconds) == 1:
        return f"{seconds[0]:.1f}"
    return f"{statistics.median(seconds):.1f} ({min(seconds):.1f} - {max(seconds):.1f})"


def spread(values: list[float], entry: Row) -> str:
    """Mean and range of a metric: percent, cells or overlap."""
    if entry.metric == "accuracy":
        values = [100 * value for value in values]
    digits = 1 if entry.metric == "accuracy" else 2
    unit = {"accuracy": " %", "pixel_error": " cells", "iou": " IoU"}[entry.metric]
    mean = f"{statistics.fmean(values):.{digits}f}{unit}"
    if len(values) == 1 or min(values) == max(values):
        return mean
    return f"{mean} ({min(values):.{digits}f} - {max(values):.{digits}f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("rows", nargs="*", metavar="ROW", help=", ".join(ROWS))
    parser.add_argument("--first", type=int, default=1000, help="the first seed")
    parser.add_argument("--seeds", type=int, default=10, help="how many, from the first on")
    parser.add_argument("--jobs", type=int, default=2, help="runs at a time")
    parser.add_argument("--table", action="store_true", help="only write the table again")
    options = parser.parse_args()
    if unknown := set(options.rows) - set(ROWS):
        parser.error(f"ROW must be one of {', '.join(ROWS)}, but is {', '.join(sorted(unknown))}.")
    jobs = [
        (row, split, options.first + seed)
        for row in options.rows
        for seed in range(options.seeds)
        for split in ("quadrant", "uniform")
    ]
    with ThreadPoolExecutor(options.jobs) as pool:
        for ended in as_completed([pool.submit(run, *job) for job in jobs]):
            keep(ended.result())
    TABLE.write_text(table())
    print(table())


if __name__ == "__main__":
    main()
