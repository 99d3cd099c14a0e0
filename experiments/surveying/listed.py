"""The census as `visionpe list models` reads it: one character a model and column."""

import csv
from pathlib import Path
from typing import Any

import timm
import torchvision

from experiments.surveying.kinds import HEIGHT
from experiments.surveying.models import Subject

LISTED = Path(__file__).parent.parent.parent / "visionpe" / "cli" / "census.csv"
Line = dict[str, Any]
# The columns, and the kinds that must all be accepted.
COLUMNS = {
    "bias": ("table bias", "contextual bias"),
    "rotary": ("rotary",),
    "conv": ("coordconv first", "coordconv all"),
    "map": ("absolute",),
    "hanet": (HEIGHT,),
    "padding": ("padding replicate", "padding reflect", "padding circular", "padding none"),
}


def write_list(found: dict[str, dict[str, Line]], everything: list[Subject]) -> None:
    """The file, with a line for each name, tried or not."""
    vision = torchvision.__version__.partition("+")[0]
    with LISTED.open("w", newline="") as file:
        file.write(f"# timm {timm.__version__}, torchvision {vision}\n")
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["name", *COLUMNS, "why"])
        writer.writerows(_row(s.name, found.get(s.name, {})) for s in everything)


def mark(line: Line | None) -> str:
    """One character: `+` accepted, `-` nothing there, `!` anything else, nothing: not tried."""
    if line is None:
        return ""
    return {"accepted": "+", "nothing there": "-"}.get(line["outcome"], "!")


def marks(of: dict[str, Line]) -> dict[str, str]:
    """The columns of one model."""
    whole = {}
    for column, kinds in COLUMNS.items():
        each = [mark(of.get(kind)) for kind in kinds]
        whole[column] = next((m for m in ("!", "", "+", "-") if m in each), "")
    return whole


def _row(name: str, of: dict[str, Line]) -> list[str]:
    why = next((reason_of(line) for line in of.values() if mark(line) == "!"), "")
    return [name, *marks(of).values(), why[:160]]


def reason_of(line: Line) -> str:
    said = " ".join(str(line.get("reason", "")).split())
    return f"{line['outcome']}: {line.get('error', '')} {said}".replace("  ", " ")
