"""What the cells of a sweep cost in a training step: time and memory, against the first of them.

    python -m benchmarks.sweep configs/sweeps/y_arrow.yaml [--rounds 15] [--threads 1] [--batch 64]

Forward and backward of each value of the file's first axis, on a batch of random images of the
data's size; ratios of medians to the first value, all interleaved in one process, each round in a
new order. Memory is the most that a step holds at once beyond what was held before, from torch's
own allocation records. `experiments/pe_comparison.py` puts both beside the accuracies.
"""

import argparse
import csv
import random
import statistics
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from benchmarks.interleaved import compare, interleave, peak
from visionpe.sweeps import grid
from visionpe.tasks.classification import Classification
from visionpe.tasks.parsing import parsed

RESULTS = Path(__file__).parent / "results"


def made(config: dict[str, Any], kind: str, **more: Any) -> Any:
    """The model or the data of a configuration."""
    said = config[kind]
    module, _, name = said["class_path"].rpartition(".")
    cls = getattr(import_module(module), name)
    return cls(**parsed(cls, {**said.get("init_args", {}), **more})())


def step(task: Classification, batch: int) -> Callable[[], None]:
    """Forward and backward on random images."""
    subject = task.subject
    x = torch.randn(batch, subject.channels, *subject.image_size)
    target = torch.randint(subject.num_classes, (batch,))

    def call() -> None:
        task.zero_grad()
        F.cross_entropy(task.network(x), target).backward()

    return call


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("file", help="of a sweep")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--batch", type=int, default=64)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    random.seed(0)
    sweep = grid.read(options.file)
    axis, labels = next(iter(sweep.axes.items()))
    cells: dict[str, grid.Cell] = {}
    for cell in sweep.cells(Path(options.file).parent):
        cells.setdefault(cell.labels[axis], cell)
    calls: dict[str, Callable[[], None]] = {}
    for label in labels:
        config = cells[label].config
        data = made(config, "data")
        of_data = {key: getattr(data, key) for key in ("num_classes", "channels", "image_size")}
        calls[label] = step(made(config, "model", of_data=of_data), options.batch)
    times = interleave(calls, options.rounds)
    medians = {name: statistics.median(seconds) for name, seconds in times.items()}
    memory = {name: peak(call) for name, call in calls.items()}
    first = next(iter(labels))
    lines: list[tuple[str, ...]] = [
        (axis, "milliseconds", "time", "quarter_1", "quarter_3", "memory")
    ]
    for name in labels:
        numbers = compare(times[name], times[first])
        ratio = memory[name] / memory[first]
        found = (f"{number:.3f}" for number in (*numbers, ratio))
        lines.append((name, f"{medians[name] * 1e3:.1f}", *found))
        print(*lines[-1], sep="\t", flush=True)
    with (RESULTS / f"sweep_{sweep.name}.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(lines)


if __name__ == "__main__":
    main()
