"""CoordConv against the plain convolution and against concatenation: time and peak memory.

    python -m benchmarks.coordconv [--rounds 15] [--threads 2] [--only NAME]

Ratios of medians, all three forms interleaved in one process, each round in a new order; the plain
`nn.Conv2d` is 1. Each line has a process of its own: which memory the C library still holds from
other sizes decides whether a result's pages are new, and new pages are most of a stem's time. The
concatenating form makes its coordinates anew at each call, as every port of the layer does. `train`
is forward and backward to input and weights (to the weights only for a stem, whose input is the
image). Memory is the most that a call holds at once beyond what was held before, from torch's own
allocation records, in units of the plain convolution's.
"""

import argparse
import csv
import os
import random
import statistics
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

os.environ.setdefault("KINETO_LOG_LEVEL", "5")  # the profiler talks otherwise
os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")

import torch
from torch import Tensor, nn

from benchmarks.interleaved import compare, interleave, peak
from visionpe import CoordConv2d, coordinates

RESULTS = Path(__file__).parent / "results" / "coordconv.csv"
FORMS = ("plain", "coordconv", "concat")
LAYOUTS = {"NCHW": torch.contiguous_format, "NHWC": torch.channels_last}


class Case(NamedTuple):
    """A convolution of the table; the input is `b c h w`."""

    name: str
    shape: tuple[int, int, int, int]
    out: int
    kernel: int
    stride: int


CASES = [
    Case("3x3 64 -> 64", (32, 64, 56, 56), 64, 3, 1),
    Case("3x3 256 -> 256", (8, 256, 64, 128), 256, 3, 1),
    Case("3x3 stem", (128, 3, 32, 32), 64, 3, 1),
    Case("7x7 stem, stride 2", (1, 3, 1024, 2048), 64, 7, 2),
    Case("3x3 stem, one image", (1, 3, 1024, 2048), 64, 3, 1),
]


class Concatenating(nn.Module):
    """CoordConv as it is usually written."""

    def __init__(self, c: int, out: int, kernel: int, stride: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(c + 2, out, kernel, stride, kernel // 2)

    def forward(self, x: Tensor) -> Tensor:
        """The convolution of the image with its coordinates behind it."""
        code = coordinates(*x.shape[-2:], device=x.device)
        y: Tensor = self.conv(torch.cat([x, code.expand(x.shape[0], -1, -1, -1)], 1))
        return y


def modules(case: Case, layout: torch.memory_format) -> dict[str, nn.Module]:
    """The three forms of a case, with random weights."""
    c = case.shape[1]
    arguments = (case.out, case.kernel, case.stride, case.kernel // 2)
    forms: dict[str, nn.Module] = {
        "plain": nn.Conv2d(c, *arguments),
        "coordconv": CoordConv2d(c, *arguments, zero_init=False),
        "concat": Concatenating(c, case.out, case.kernel, case.stride),
    }
    return {name: form.to(memory_format=layout) for name, form in forms.items()}


def measure(case: Case, name: str, train: bool, rounds: int, threads: int) -> dict[str, float]:
    """Ratios to the plain convolution, and its median in milliseconds."""
    torch.set_num_threads(threads)
    random.seed(0)
    layout = LAYOUTS[name]
    forms = modules(case, layout)
    x = torch.randn(case.shape).contiguous(memory_format=layout)
    x.requires_grad_(train and case.shape[1] > 3)
    with torch.no_grad():
        outer = torch.randn_like(forms["plain"](x))

    def step(form: nn.Module) -> Callable[[], None]:
        def call() -> None:
            if train:
                form(x).backward(outer)
            else:
                with torch.no_grad():
                    form(x)

        return call

    def clear() -> None:
        x.grad = None
        for form in forms.values():
            form.zero_grad()

    calls = {name: step(form) for name, form in forms.items()}
    times = interleave(calls, rounds, before=clear)
    medians = {name: statistics.median(values) for name, values in times.items()}
    memory = {}
    for name, call in calls.items():
        clear()
        memory[name] = peak(call)
    ratio, low, high = compare(times["coordconv"], times["plain"])
    return {
        "plain_ms": medians["plain"] * 1e3,
        "coordconv": ratio,
        "quarter_1": low,
        "quarter_3": high,
        "concat": medians["concat"] / medians["plain"],
        "of_concat": medians["coordconv"] / medians["concat"],
        "memory": memory["coordconv"] / memory["plain"],
        "memory_concat": memory["concat"] / memory["plain"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--only", default="", help="part of a case's name")
    options = parser.parse_args()
    header = f"{'case':22} {'layout':5} {'mode':5} {'plain ms':>9} {'coordconv':>20} {'concat':>7}"
    print(f"{header} {'of concat':>9} {'memory':>7} {'concat':>7}", flush=True)
    lines: list[dict[str, object]] = []
    for case in CASES:
        if options.only not in case.name:
            continue
        for layout in LAYOUTS:
            for train in (False, True):
                with ProcessPoolExecutor(1, get_context("spawn")) as pool:
                    measured = (case, layout, train, options.rounds, options.threads)
                    ratios = pool.submit(measure, *measured).result()
                words = {
                    "case": case.name,
                    "shape": "x".join(map(str, case.shape)),
                    "layout": layout,
                    "mode": "train" if train else "eval",
                }
                lines.append({**words, **{k: round(v, 3) for k, v in ratios.items()}})
                print(
                    f"{case.name:22} {words['layout']:5} {words['mode']:5} "
                    f"{ratios['plain_ms']:9.1f} {ratios['coordconv']:6.3f} "
                    f"({ratios['quarter_1']:5.3f}-{ratios['quarter_3']:5.3f}) "
                    f"{ratios['concat']:7.3f} {ratios['of_concat']:9.3f} "
                    f"{ratios['memory']:7.3f} {ratios['memory_concat']:7.3f}",
                    flush=True,
                )
    if not options.only:
        with RESULTS.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(lines[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows(lines)
        RESULTS.with_suffix(".md").write_text(markdown(lines))


def markdown(lines: list[dict[str, object]]) -> str:
    """The table of the README."""
    rows = [
        "| convolution | layout | mode | CoordConv | concatenating | of that | peak memory |",
        "|---|---|---|---|---|---|---|",
    ]
    for line in lines:
        cells = [
            f"{line['case']}, {line['shape']}",
            *(str(line[key]) for key in ("layout", "mode")),
            *(f"{line[key]:.2f}" for key in ("coordconv", "concat", "of_concat", "memory")),
        ]
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows) + "\n"


if __name__ == "__main__":
    main()
