"""Which of timm's models `visionpe.trace` reaches: one row a name of `timm.list_models()`.

    python experiments/trace_coverage.py                      # all names: half an hour of one core
    python experiments/trace_coverage.py --sample 60          # that many at random, and all test_*
    python experiments/trace_coverage.py NAME [NAME ...]
    python experiments/trace_coverage.py --table              # the table alone, from the rows

Models are made without weights, on the meta device where they can be, at their own input size. A
row says what was found, or why nothing was; rows of an interrupted run are kept, and are not made
again unless named.
"""

import argparse
import csv
import platform
import random
import resource
import statistics
import time
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import timm
import torch

import visionpe

RESULTS = Path(__file__).parent / "results" / "trace_coverage.csv"
FIELDS = [
    *("name", "family", "parameters", "h", "w", "seconds", "outcome", "attention", "placed"),
    *("regular", "convs", "outputs", "lattices", "unknown", "detail"),
]
LARGEST = 400_000_000  # parameters, of models that cannot be made on the meta device


def make(name: str) -> torch.nn.Module:
    """The model without weights: on the meta device, or in memory if its constructor computes."""
    try:
        with torch.device("meta"):
            model: torch.nn.Module = timm.create_model(name, pretrained=False)
    except Exception:
        model = timm.create_model(name, pretrained=False)
    return model


def trace(model: torch.nn.Module, name: str, h: int, w: int, channels: int) -> visionpe.Trace:
    """The trace; a model whose tables on the meta device are in its way is made in memory."""
    try:
        return visionpe.trace(model, h, w, channels=channels)
    except Exception:
        large = sum(p.numel() for p in model.parameters()) > LARGEST
        if large or not next(model.parameters()).is_meta:
            raise
        return visionpe.trace(timm.create_model(name, pretrained=False), h, w, channels=channels)


def row(name: str) -> dict[str, Any]:
    """The outcome for one name."""
    result: dict[str, Any] = dict.fromkeys(FIELDS, "")
    result["name"] = name
    try:
        model = make(name)
    except Exception as error:
        return {**result, "outcome": "not made", "detail": _short(error)}
    result["family"] = type(model).__module__.split(".")[-1]
    result["parameters"] = sum(p.numel() for p in model.parameters())
    channels, result["h"], result["w"] = timm.get_pretrained_cfg(name).input_size
    start = time.process_time()
    try:
        found = trace(model, name, result["h"], result["w"], channels)
    except Exception as error:
        return {**result, "outcome": type(error).__name__, "detail": _short(error)}
    result["seconds"] = round(time.process_time() - start, 2)
    between = [site for site in found.attention if site.queries is not None]
    regular = [site for site in between if site.lattice and site.key_lattice and site.heads]
    result.update(
        attention=len(found.attention),
        placed=len(between),
        regular=len(regular),
        convs=len(found.convs),
        outputs=len(found.outputs),
        lattices=sum(site.lattice is not None for site in found.outputs),
        unknown=" ".join(sorted(found.unknown)),
    )
    if found.unknown:
        result["outcome"] = "unknown operation"
    elif len(regular) < len(between):
        result["outcome"] = "irregular attention"
    elif not result["lattices"]:
        result["outcome"] = "no lattice"
    else:
        result["outcome"] = "reached"
    return result


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:200]


def read() -> list[dict[str, str]]:
    """The rows that there are."""
    if not RESULTS.exists():
        return []
    with RESULTS.open(newline="") as file:
        return list(csv.DictReader(file))


def write(rows: list[dict[str, Any]]) -> None:
    """All rows, by name."""
    with RESULTS.open("w", newline="") as file:
        writer = csv.DictWriter(file, FIELDS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(sorted(rows, key=lambda r: str(r["name"])))


def table(rows: list[dict[str, str]]) -> str:
    """What was reached, and the reason for each miss."""
    outcomes = Counter(r["outcome"] for r in rows)
    attention = [r for r in rows if r["placed"] and int(r["placed"])]
    seconds = sorted(float(r["seconds"]) for r in rows if r["seconds"])
    sites, regular = (sum(int(r[key]) for r in attention) for key in ("placed", "regular"))
    lines = [
        f"timm {timm.__version__}, torch {torch.__version__}, Python {platform.python_version()}; "
        f"{len(rows)} of {len(timm.list_models())} names, {len({r['family'] for r in rows})} "
        "of timm's files; each at its own input size.",
        "",
        "| outcome | names |",
        "|---|---|",
        *(f"| {outcome} | {n} |" for outcome, n in outcomes.most_common()),
        "",
        f"{len(attention)} of them have attention between places: {regular} of {sites} calls have "
        "queries and keys on lattices and a number of heads.",
    ]
    if len(seconds) > 1:
        lines.append(
            f"Seconds a trace on one core: median {statistics.median(seconds):.2f}, 95 % under "
            f"{seconds[int(0.95 * (len(seconds) - 1))]:.2f}, most {seconds[-1]:.2f}."
        )
    missed = [r for r in rows if r["outcome"] != "reached"]
    if missed:
        lines += ["", "| missed | outcome | detail |", "|---|---|---|"]
        lines += [
            f"| {r['name']} | {r['outcome']} | {r['detail'] or r['unknown']} |" for r in missed
        ]
    return "\n".join([*lines, "", "    python experiments/trace_coverage.py [--sample 60]", ""])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("names", nargs="*")
    parser.add_argument("--sample", type=int, help="names at random, besides all test_*")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--table", action="store_true", help="no new rows")
    arguments = parser.parse_args()
    rows: dict[str, dict[str, Any]] = {r["name"]: r for r in read()}
    names = arguments.names or timm.list_models()
    if not arguments.names:
        if arguments.sample is not None:
            names = [n for n in names if not n.startswith("test_")]
            names = random.Random(arguments.seed).sample(names, arguments.sample)
            names += timm.list_models("test_*")
        names = [n for n in names if n not in rows]
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    for i, name in enumerate([] if arguments.table else names):
        rows[name] = row(name)
        write(list(rows.values()))
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        done = rows[name]
        print(
            f"{i + 1}/{len(names)}",
            *(done[key] for key in ("name", "outcome", "seconds", "placed", "regular", "detail")),
            f"{peak:.1f} GB",
            flush=True,
        )
    RESULTS.with_suffix(".md").write_text(table(read()))


if __name__ == "__main__":
    main()
