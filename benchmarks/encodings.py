"""The encodings against those of other libraries, on the CPU in float32: time, as ratios.

    python -m benchmarks.encodings [--rounds 21] [--threads 2] [--only NAME] [--compiled]
                                   [--default-malloc]

Ratios of medians, all sides interleaved in one process, each round in a new order, with the
quartiles of the ratios within a round; before that, every side's result and gradients are found to
be the same. `forward` is without gradients; `train` is forward and backward to all that is learned
and, where the encoding acts on queries and keys, to those. visionpe makes its codes, angles and
indices anew at each call unless it is "folded", other libraries unless they are "cached"; timm,
torchvision and `n x m x d` keep their indices of pairs. A target is the largest ratio wanted; a
ratio above it is "level" if the target lies above the lower quartile, else missed. `--compiled`
gives all sides to `torch.compile`, and then no target is below 1. Results of one thread, of several
and of compiled sides lie in files of their own.

The script starts itself again with glibc's thresholds raised: by default malloc gives blocks of
more than 32 MB back at once, and the page faults of getting them anew, a cost of the allocator and
the same for all sides, would drown what is compared. `--default-malloc` leaves them as they are.
"""

import argparse
import csv
import gc
import os
import random
import statistics
import sys
from itertools import chain
from pathlib import Path

THRESHOLDS = {"MALLOC_MMAP_THRESHOLD_": "4000000000", "MALLOC_TRIM_THRESHOLD_": "8000000000"}
if (
    __name__ == "__main__"
    and "--default-malloc" not in sys.argv
    and not THRESHOLDS.items() <= os.environ.items()
):
    os.execve(sys.executable, sys.orig_argv, {**os.environ, **THRESHOLDS})

import torch

from benchmarks import encodings_attention, encodings_maps, encodings_rotary, encodings_tables
from benchmarks.encodings_cases import Case, calls, require_same
from benchmarks.interleaved import compare, interleave

RESULTS = Path(__file__).parent / "results"
SHORTEST = 4e-3  # seconds: what is called again until it takes as long
VERDICTS = ("kept", "level", "MISSED")
Line = dict[str, str | float]


def lines_of(case: Case, rounds: int, *, compiled: bool) -> list[Line]:
    """A case's lines: one for each mode and other side."""
    torch.manual_seed(0)
    sides = case.build()
    if compiled:
        torch._dynamo.reset()  # or it stops compiling after some cases
        sides = {
            name: side._replace(run=torch.compile(side.run))
            for name, side in sides.items()
            if side.compiles
        }
    require_same(case, sides)
    lines: list[Line] = []
    for mode in case.modes:
        times = interleave(calls(sides, mode), rounds, shortest=SHORTEST)
        for against in list(sides)[1:]:
            target = case.target(against, mode)
            if compiled and target is not None:
                target = max(target, 1.0)
            ratio, low, high = compare(times["visionpe"], times[against])
            lines.append(
                {
                    "encoding": case.encoding,
                    "size": case.size,
                    "mode": mode,
                    "against": against,
                    "visionpe_ms": round(1e3 * statistics.median(times["visionpe"]), 3),
                    "their_ms": round(1e3 * statistics.median(times[against]), 3),
                    "ratio": round(ratio, 3),
                    "quarter_1": round(low, 3),
                    "quarter_3": round(high, 3),
                    "target": "" if target is None else target,
                    "note": case.note(sides, mode),
                }
            )
    return lines


def verdict(line: Line) -> str:
    """Whether a line keeps its target: "level" if only the spread does."""
    if line["target"] == "":
        return ""
    if float(line["ratio"]) <= float(line["target"]):
        return "kept"
    return "level" if float(line["quarter_1"]) <= float(line["target"]) else "MISSED"


def printed(line: Line) -> str:
    """A line of the table on the terminal."""
    target = f"{line['target']:.2f}" if line["target"] != "" else "-"
    return (
        f"{line['encoding']:26} {line['size']:27} {line['mode']:7} {line['against']:28} "
        f"{line['visionpe_ms']:9.2f} {line['their_ms']:9.2f} {line['ratio']:6.2f} "
        f"({line['quarter_1']:.2f}-{line['quarter_3']:.2f}) {target:>6} {verdict(line):6} "
        f"{line['note']}"
    ).rstrip()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=21)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--only", default="", help="part of an encoding's name")
    parser.add_argument("--compiled", action="store_true", help="all sides by torch.compile")
    parser.add_argument("--default-malloc", action="store_true", help="leave glibc's thresholds")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    random.seed(0)
    print(
        f"{'encoding':26} {'size':27} {'mode':7} {'against':28} {'our ms':>9} {'their ms':>9} "
        f"{'ratio':>6} (quartiles)  wanted"
    )
    lines: list[Line] = []
    modules = (encodings_maps, encodings_tables, encodings_rotary, encodings_attention)
    for case in chain.from_iterable(module.cases() for module in modules):
        if options.only in case.encoding:
            new = lines_of(case, options.rounds, compiled=options.compiled)
            print("\n".join(map(printed, new)), flush=True)
            lines += new
            gc.collect()
    verdicts = [verdict(line) for line in lines]
    print(", ".join(f"{verdicts.count(word)} {word.lower()}" for word in VERDICTS))
    if not options.only:
        threads = "" if options.threads == 1 else f"_{options.threads}_threads"
        compiled = "_compiled" if options.compiled else ""
        results = RESULTS / f"encodings{compiled}{threads}.csv"
        with results.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(lines[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows(lines)
        results.with_suffix(".md").write_text(markdown(lines))


def markdown(lines: list[Line]) -> str:
    """The table for readers."""
    rows = [
        "| encoding | size | mode | against | ms | theirs | ratio | quartiles | wanted | note |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for line in lines:
        wanted = f"{line['target']:.2f}, {verdict(line).lower()}" if line["target"] != "" else ""
        cells = [
            *(str(line[key]) for key in ("encoding", "size", "mode", "against")),
            *(f"{line[key]:.2f}" for key in ("visionpe_ms", "their_ms", "ratio")),
            f"{line['quarter_1']:.2f}-{line['quarter_3']:.2f}",
            wanted,
            str(line["note"]),
        ]
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows) + "\n"


if __name__ == "__main__":
    main()
