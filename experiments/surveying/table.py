"""The lines of the census, summed up: `docs/census.md`."""

import platform
import statistics
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import timm
import torch
import torchvision

from experiments.surveying.kinds import TITLES
from experiments.surveying.listed import COLUMNS, mark, marks, reason_of, write_list
from experiments.surveying.models import VISION, Subject

ROOT = Path(__file__).parent.parent.parent
PAGE = ROOT / "docs" / "census.md"
WELL_KNOWN = ROOT / "experiments" / "results" / "census.md"  # the README's table
FAMILIES = (
    *("vision_transformer", "eva", "torchvision:swin_transformer", "pvt_v2", "twins", "levit"),
    *("maxxvit", "mobilevit", "vision_transformer_hybrid", "resnet", "convnext", "efficientnet"),
    *("densenet", "torchvision:vgg", "torchvision:mobilenetv3"),
)
Line = dict[str, Any]


def latest(lines: list[Line]) -> dict[str, dict[str, Line]]:
    """The last line of each model and kind: by name, then by kind."""
    found: dict[str, dict[str, Line]] = defaultdict(dict)
    for line in lines:
        found[line["name"]][line["kind"]] = line
    return found


def write_page(lines: list[Line], everything: list[Subject]) -> None:
    """`docs/census.md`, the README's table, and the file of `visionpe list models`."""
    found = latest(lines)
    parts = [
        _head(found, everything),
        _kinds(found),
        _seconds(found),
        _misses(found),
        _partly(found),
        _apart(found),
        _families(found),
    ]
    PAGE.write_text("\n\n".join(part for part in parts if part) + "\n")
    write_list(found, everything)


def _head(found: dict[str, dict[str, Line]], everything: list[Subject]) -> str:
    names = [s.name for s in everything]
    ran = [n for n in names if n in found]
    tried, all_of_them = (Counter(n.startswith(VISION) for n in part) for part in (ran, names))
    files = {s.module for s in everything}
    reached = {s.module for s in everything if s.name in found}
    small = sum(of["absolute"]["size"] != of["time"]["size"] for of in _whole(found))
    left = len(names) - len(ran)
    said = "Every name was run."
    if left:
        said = (
            f"**Not run: {left} of {len(names)}.** The smallest model of every file comes first, "
            "then all others by size: what is missing is the largest."
        )
    versions = (
        f"timm {timm.__version__}, torchvision {torchvision.__version__.partition('+')[0]}, "
        f"torch {torch.__version__.partition('+')[0]}, Python {platform.python_version()}"
    )
    return f"""# Census: which models take which encodings

Made by `python experiments/census.py`, and this page by `python experiments/census.py --table`.
{versions}, one core.

**{len(ran)} of {len(names)} names**: {tried[False]} of {all_of_them[False]} of `timm.list_models()`
and {tried[True]} of {all_of_them[True]} of torchvision's classification models, from
{len(reached)} of {len(files)} of their files. {said}

{_HOW.format(small=small)}"""


_HOW = """Models are made without their weights and run in evaluation mode. Large weights of one
shape share four sets of numbers, so that 7 billion parameters fit into memory; norms, gates and
scales of layers that start at zero or within 1e-3 of it are set to one, and batch norms take the
statistics of one batch: nothing is hidden, fades or bursts. Two images, of the first of 64 x 96,
56 x 84, 64 x 64, ... that the model takes (beyond a billion parameters 32 x 48 or 28 x 42, and
64 x 96 for attention whose windows would hold one token), else of its own size ({small} models ran
smaller than their own); what is not accepted is tried once more at the model's own size, and stays
a miss if nothing of the kind is there. Every module is there and runs its own code. (Lines that
show a change of more than 1e-6 were kept from when weights of one shape shared one set of numbers,
scales close to zero were left as they are, and changes were taken from the model as it was: those
of encodings are above 1e-5.) Accepted is what is

- **identical at first**: attached, outputs are equal to the bit (convolutions, maps), or within
  1e-5 of the largest number (attention);
- **no silent no-op**: filled with random numbers, *every* encoding changes what it is given at its
  site, and what the first site's module or the whole model returns changes, from the encoding at
  its start, by more than 1e-6 of its largest number; so do the outputs when pads are swapped;
- **undone**: detached, outputs are equal to the bit, and every module's attributes, hooks, children
  and parameters are what they were.

*Nothing there* is a model without such sites: it counts neither way. *Untyped* is a failure with an
error that is none of visionpe's own.

HANet's gates go behind the modules that timm's `feature_info` names; where it names none that
returns a map (in Twins and MViTv2, for instance), behind the last module of that resolution. The
rotation is `LieRE` in planes, which starts as the identity; `Rotary` turns from the start. The
census also found faults of ours, in LambdaNetworks, CoaT, NASNet, CSATv2 and CLIP's ResNets: they
were mended before these lines were made, so that the shares say what the code does now, not how it
did unseen."""


def _whole(found: dict[str, dict[str, Line]]) -> list[dict[str, Line]]:
    """The models with lines of every kind."""
    return [of for of in found.values() if {"absolute", "time"} <= of.keys()]


def _kinds(found: dict[str, dict[str, Line]]) -> str:
    rows = [
        "| kind | names with such sites | accepted | share | largest change at first | "
        "nothing there | silent | untyped |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for kind, title in TITLES.items():
        if kind == "time":
            continue
        lines = [of[kind] for of in found.values() if kind in of]
        outcomes = Counter(line["outcome"] for line in lines)
        tried = len(lines) - outcomes["nothing there"]
        change = max((line.get("identity", 0.0) for line in lines if _good(line)), default=0.0)
        equal = all(line.get("equal", False) for line in lines if _good(line))
        said = "-" if kind.startswith("padding") else "0, to the bit" if equal else f"{change:.0e}"
        rows.append(
            f"| {title} | {tried} | {outcomes['accepted']} | {_share(outcomes['accepted'], tried)} "
            f"| {said} | {outcomes['nothing there']} | {outcomes['silent']} "
            f"| {outcomes['untyped']} |"
        )
    return "## In figures\n\n" + "\n".join(rows)


def _good(line: Line) -> bool:
    return bool(line["outcome"] == "accepted")


def _share(part: int, whole: int) -> str:
    return f"{100 * part / whole:.2f} %" if whole else "-"


def _seconds(found: dict[str, dict[str, Line]]) -> str:
    times = sorted(
        of["time"]["seconds"] for of in found.values() if "seconds" in of.get("time", {})
    )
    if len(times) < 2:
        return ""
    under = sum(t < 10 for t in times)
    return (
        "## Trace and plan\n\nSeconds of one core for `visionpe.attach(..., dry_run=True)` at the "
        "model's own size, a table in all attention or else CoordConv at all convolutions: median "
        f"{statistics.median(times):.2f}, 95 % under {times[int(0.95 * (len(times) - 1))]:.2f}, "
        f"most {times[-1]:.1f}; under 10 s for {_share(under, len(times))} of {len(times)} names."
    )


def _misses(found: dict[str, dict[str, Line]]) -> str:
    groups: dict[tuple[str, str], list[str]] = defaultdict(list)
    for name, of in found.items():
        for kind, line in of.items():
            if mark(line) == "!":
                reason = reason_of(line).replace("|", "/").replace("`", "")
                groups[TITLES.get(kind, kind), reason[:220]].append(name)
    if not groups:
        return "## Misses\n\nNone."
    rows = [f"| {kind} | {reason} | {_names(names)} |" for (kind, reason), names in groups.items()]
    return "## Misses\n\n| kind | reason | names |\n|---|---|---|\n" + "\n".join(sorted(rows))


def _names(names: list[str]) -> str:
    some = ", ".join(f"`{n}`" for n in names[:12])
    return some if len(names) <= 12 else f"{len(names)}: {some}, ..."


def _partly(found: dict[str, dict[str, Line]]) -> str:
    """Sites that were left out of accepted plans."""
    groups: dict[tuple[str, str], list[str]] = defaultdict(list)
    for name, of in found.items():
        for kind, line in of.items():
            for why in line.get("skipped") or {}:
                groups[TITLES.get(kind, kind), why].append(name)
    if not groups:
        return ""
    rows = [f"| {kind} | {why} | {_names(names)} |" for (kind, why), names in groups.items()]
    return (
        '## Sites left out\n\nWhere `at="all"` names sites that the encoding has no meaning for or '
        "cannot act at, the others are taken and the plan says so.\n\n"
        "| kind | why | names |\n|---|---|---|\n" + "\n".join(sorted(rows))
    )


def _apart(found: dict[str, dict[str, Line]]) -> str:
    """Models without pair attention that call a softmax or attention all the same."""
    groups: dict[str, list[str]] = defaultdict(list)
    for name, of in found.items():
        line = of.get("table bias")
        if line and line["outcome"] == "nothing there" and line["reason"] != "no attention":
            calls = " ".join(w for w in line["reason"].split() if not w.isdigit())
            groups[calls].append(name)
    if not groups:
        return ""
    rows = [f"| {calls} | {_names(names)} |" for calls, names in sorted(groups.items())]
    return (
        "## Softmax without pair attention\n\nThese call a softmax or torch's attention, but not "
        "between image queries and image keys: class attention, pooling, gates, linear attention, "
        "attention between channels.\n\n| calls | names |\n|---|---|\n" + "\n".join(rows)
    )


_HEAD = "| file | names | " + " | ".join(COLUMNS) + " |"


def _row(file: str, models: list[dict[str, str]]) -> str:
    """Of one file: how many of the names that have such sites take it."""
    cells = []
    for column in COLUMNS:
        counts = Counter(m[column] for m in models)
        tried = len(models) - counts["-"]
        cells.append(f"{counts['+']} of {tried}" if tried else "")
    return f"| {file} | {len(models)} | " + " | ".join(cells) + " |"


def _families(found: dict[str, dict[str, Line]]) -> str:
    by_file: dict[str, list[dict[str, str]]] = defaultdict(list)
    for of in found.values():
        if of:
            by_file[next(iter(of.values()))["module"]].append(marks(of))
    rows = [_HEAD, "|---" * (len(COLUMNS) + 2) + "|"]
    rows += [_row(file, models) for file, models in sorted(by_file.items())]
    tried = [m for models in by_file.values() for m in models]
    known = [_row(file, by_file[file]) for file in FAMILIES if file in by_file]
    WELL_KNOWN.write_text("\n".join([*rows[:2], *known, _row("all", tried)]) + "\n")
    return (
        "## By file of timm and torchvision\n\nNames that take it, of those that have such sites."
        "\n\n" + "\n".join(rows)
    )
