"""A result as a table for people: no value without its controls."""

import math
from typing import TYPE_CHECKING

from visionpe.probing.controls import MODEL, SHUFFLED

if TYPE_CHECKING:
    from visionpe.probing.result import Mean, ProbeResult

_SCORES = {"spearman": "Spearman", "mae": "MAE", "r2": "R^2"}
_SHORT = {
    "control task": "control",
    "random weights": "random",
    "random weights, padding=circular": "rnd circ.",
    "positions removed": "no pos.",
    "random weights, positions removed": "rnd no pos.",
    "random weights, padding=circular, positions removed": "rnd c. no pos.",
}


def table(result: "ProbeResult", score: str) -> str:
    """One score of every layer and target, each with its interval and beside all its controls.

    Raises:
        ValueError: if `score` is unknown, or a value has no null beside it.
    """
    if score not in _SCORES:
        options = ", ".join(map(repr, _SCORES))
        raise ValueError(f"`score` must be one of {options}, but is {score!r}.")
    means = {(m.layer, m.target, m.condition): m for m in result.means}
    for layer, target, condition in means:
        if (layer, target, SHUFFLED) not in means:
            raise ValueError(
                f"`means` must hold the condition {SHUFFLED!r} for each value, but layer "
                f"{layer!r}, target {target!r} has none beside {condition!r}."
            )
    controls = [c for c in result.conditions if c != MODEL]
    heads = [
        "layer",
        "target",
        "model",
        "95 %",
        *(_SHORT.get(c, c.replace("padding=", "")) for c in controls),
    ]
    rows, before = [heads], None
    for layer in result.layers:
        for target in result.targets:
            cells = [_number(means.get((layer, target, c)), score) for c in (MODEL, *controls)]
            interval = _interval(means[layer, target, MODEL], score)
            rows.append([layer if layer != before else "", target, cells[0], interval, *cells[1:]])
            before = layer
    lines = [f"{result!r}"[1:-1], f"{_SCORES[score]}, means over seeds and images", ""]
    return "\n".join([*lines, *_aligned(rows), *_legend(controls), *_notes(result)])


def _number(mean: "Mean | None", score: str) -> str:
    return "-" if mean is None else f"{getattr(mean, score):.3f}"


def _interval(mean: "Mean", score: str) -> str:
    low, high = getattr(mean, f"{score}_interval")
    return "-" if math.isnan(low) else f"{low:.3f} .. {high:.3f}"


def _aligned(rows: list[list[str]]) -> list[str]:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return [
        "  ".join(
            cell.ljust(width) if i < 2 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def _legend(controls: list[str]) -> list[str]:
    twins = [c.removeprefix("padding=") for c in controls if c.startswith("padding=")]
    text = (
        "control: the target under one shuffle, what can be memorised; random: weights drawn anew"
    )
    lines = ["", text]
    if twins:
        lines.append(f"{', '.join(twins)}: the same network with that padding")
    return lines


def _notes(result: "ProbeResult") -> list[str]:
    return ["", *(f"- {note}" for note in result.notes)] if result.notes else []
