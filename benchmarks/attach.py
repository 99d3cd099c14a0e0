"""What attached and folded encodings cost a model, on the CPU in float32: CPU time, as ratios.

    python -m benchmarks.attach [--rounds 11] [--threads 1] [--batch 8] [--only NAME]
                                [--default-malloc]

Ratios of medians to the model as it was, all sides interleaved in one process, each round in a new
order, with the quartiles of the ratios within a round. `forward` is in evaluation mode without
gradients; `step` is a training step: forward, backward, SGD. The encodings' parameters are random,
so that none has nothing to do, and folded models have been checked by `visionpe.fold` to compute
the same. A target is the largest ratio wanted; a ratio above it is "level" if the target lies above
the lower quartile, else missed. `plan` is the time, once, in seconds, that `visionpe.attach` takes
to trace a model and plan.

The time is the process's own, so that other processes do not count; what they take from the caches
does. The script starts itself again with glibc's thresholds raised: see `benchmarks/encodings.py`.
"""

import argparse
import copy
import csv
import gc
import os
import random
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

THRESHOLDS = {"MALLOC_MMAP_THRESHOLD_": "4000000000", "MALLOC_TRIM_THRESHOLD_": "8000000000"}
if (
    __name__ == "__main__"
    and "--default-malloc" not in sys.argv
    and not THRESHOLDS.items() <= os.environ.items()
):
    os.execve(sys.executable, sys.orig_argv, {**os.environ, **THRESHOLDS})

import timm
import torch
from torch import nn

import visionpe
from benchmarks.interleaved import compare, interleave

RESULTS = Path(__file__).parent / "results" / "attach.csv"
Line = dict[str, str | float]


class Case(NamedTuple):
    """A model, and what is attached to it.

    Attributes:
        targets: the largest ratios wanted, by side and mode.
    """

    name: str
    model: str
    encoding: Callable[[visionpe.Site], visionpe.AttentionEncoding] | visionpe.CoordConv
    targets: dict[tuple[str, str], float]


def bias(site: visionpe.Site) -> visionpe.RelativeBias:
    assert site.heads is not None
    assert site.lattice is not None
    return visionpe.RelativeBias(site.heads, (site.lattice.h, site.lattice.w))


FOLDED = {("folded", "forward"): 1.02}
CASES = [
    Case(
        "ViT-S/16, RelativeBias in every block",
        "vit_small_patch16_224",
        bias,
        {("attached", "forward"): 1.10, ("attached", "step"): 1.15, **FOLDED},
    ),
    Case(
        "ViT-S/16, Rotary in every block",
        "vit_small_patch16_224",
        lambda site: visionpe.Rotary(),
        {},
    ),
    Case(
        "ResNet-50, CoordConv at every convolution",
        "resnet50",
        visionpe.CoordConv(),
        {("attached", "forward"): 1.05, ("attached", "step"): 1.10, **FOLDED},
    ),
    Case(
        "Swin-T, RelativeBias in every block",
        "swin_tiny_patch4_window7_224",
        bias,
        {},
    ),
]
PLANNED = [
    "vit_small_patch16_224",
    "resnet50",
    "swin_tiny_patch4_window7_224",
    "convnext_tiny",
    "efficientnet_b0",
    "pvt_v2_b2",
    "mobilevit_s",
    "maxvit_tiny_tf_224",
    "davit_tiny",
    "regnety_032",
    "densenet121",
    "tf_efficientnet_b7",
]


def sides_of(case: Case) -> dict[str, nn.Module]:
    """The model as it was, with the encoding, and folded."""
    torch.manual_seed(0)
    bare = timm.create_model(case.model)
    attached = visionpe.attach(copy.deepcopy(bare), case.encoding, at="all")
    for parameter in attached.get_submodule("visionpe").parameters():
        nn.init.normal_(parameter, std=0.02)
    folded = copy.deepcopy(attached)
    visionpe.fold(folded)
    return {"bare": bare, "attached": attached, "folded": folded}


def call_of(model: nn.Module, mode: str, images: torch.Tensor) -> Callable[[], None]:
    """What is timed."""
    model.train(mode == "step")
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-4, momentum=0.9)

    def forward() -> None:
        with torch.no_grad():
            model(images)

    def step() -> None:
        model(images).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()

    return step if mode == "step" else forward


def lines_of(case: Case, rounds: int, batch: int) -> list[Line]:
    """A case's lines: one for each mode and side."""
    sides, images = sides_of(case), torch.randn(batch, 3, 224, 224)
    lines: list[Line] = []
    for mode in ("forward", "step"):
        # A folded model is for deployment.
        used = {n: m for n, m in sides.items() if (mode, n) != ("step", "folded")}
        calls = {n: call_of(m, mode, images) for n, m in used.items()}
        times = interleave(calls, rounds, clock=time.process_time)
        for name in list(used)[1:]:
            ratio, low, high = compare(times[name], times["bare"])
            lines.append(
                {
                    "case": case.name,
                    "mode": mode,
                    "side": name,
                    "ms": round(1e3 * statistics.median(times[name]), 1),
                    "bare_ms": round(1e3 * statistics.median(times["bare"]), 1),
                    "ratio": round(ratio, 3),
                    "quarter_1": round(low, 3),
                    "quarter_3": round(high, 3),
                    "target": case.targets.get((name, mode), ""),
                }
            )
    return lines


def planned(name: str) -> Line:
    """The seconds of a trace and a plan."""
    model = timm.create_model(name)
    has_attention = name.startswith(("vit", "swin", "pvt", "mobilevit", "maxvit", "davit"))
    encoding = (lambda site: visionpe.Rotary()) if has_attention else visionpe.CoordConv()
    start = time.process_time()
    visionpe.attach(model, encoding, at="all", dry_run=True)
    spent = time.process_time() - start
    return {"case": name, "mode": "plan", "side": "attached", "ms": round(1e3 * spent, 1)}


def verdict(line: Line) -> str:
    """Whether a line keeps its target: "level" if only the spread does."""
    target = line.get("target", "")
    if target == "":
        return ""
    if float(line["ratio"]) <= float(target):
        return "kept"
    return "level" if float(line["quarter_1"]) <= float(target) else "MISSED"


def printed(line: Line) -> str:
    """A line of the table on the terminal."""
    start = f"{line['case']:42} {line['mode']:8} {line['side']:9} {line['ms']:9.1f} ms"
    if "ratio" not in line:
        return start
    quarters = f"({line['quarter_1']:.3f}-{line['quarter_3']:.3f})"
    wanted = f"{line['target']} {verdict(line)}"
    return f"{start} {line['bare_ms']:9.1f} {line['ratio']:7.3f} {quarters} {wanted}".rstrip()


def markdown(lines: list[Line], options: argparse.Namespace) -> str:
    """The tables for readers."""
    version = f"torch {torch.__version__.split('+')[0]}, timm {timm.__version__}"
    rows = [
        f"Images 3 x 224 x 224, batch {options.batch}, {options.threads} thread(s), "
        f"{options.rounds} rounds, {version}: `python -m benchmarks.attach`.",
        "",
        "| model and encoding | mode | side | CPU ms | bare | ratio | quartiles | wanted |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for line in lines:
        if "ratio" in line:
            wanted = f"{line['target']}, {verdict(line).lower()}" if line["target"] != "" else ""
            cells = [
                *(str(line[key]) for key in ("case", "mode", "side")),
                *(f"{line[key]:.1f}" for key in ("ms", "bare_ms")),
                f"{line['ratio']:.3f}",
                f"{line['quarter_1']:.3f}-{line['quarter_3']:.3f}",
                wanted,
            ]
            rows.append(f"| {' | '.join(cells)} |")
    rows += ["", "| model | CPU seconds to trace and plan |", "|---|---|"]
    rows += [
        f"| {line['case']} | {float(line['ms']) / 1e3:.1f} |"
        for line in lines
        if line["mode"] == "plan"
    ]
    return "\n".join(rows) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--only", default="", help="part of a case's name, or `plan`")
    parser.add_argument("--default-malloc", action="store_true", help="leave glibc's thresholds")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    random.seed(0)
    lines: list[Line] = []
    for case in CASES:
        if options.only in case.name:
            new = lines_of(case, options.rounds, options.batch)
            print("\n".join(map(printed, new)), flush=True)
            lines += new
            gc.collect()
    if options.only in ("", "plan"):
        for name in PLANNED:
            lines.append(planned(name))
            print(printed(lines[-1]), flush=True)
    if not options.only:
        fields = list(lines[0])
        with RESULTS.open("w", newline="") as file:
            writer = csv.DictWriter(file, fields, lineterminator="\n")
            writer.writeheader()
            writer.writerows(lines)
        RESULTS.with_suffix(".md").write_text(markdown(lines, options))


if __name__ == "__main__":
    main()
