"""What a result says in short: each score beside the controls that could explain it away."""

import math
from typing import NamedTuple

from visionpe.probing.page_words import TARGETS, Kind, describe
from visionpe.probing.result import Mean, ProbeResult


class Finding(NamedTuple):
    """One target, at the layer where most of it is read.

    Attributes:
        target: its name, and what it is.
        layer: which, and how many cells it has, if that is known.
        read: the model's score with its interval.
        controls: of every kind of control the lowest and the highest score; "-" without any.
        verdict: what follows, in a few words.
    """

    target: str
    layer: str
    read: str
    controls: dict[Kind, str]
    verdict: str


def findings(result: ProbeResult) -> list[Finding]:
    """One for each target. Two scores are told apart if their 95 % intervals do not overlap."""
    return [_finding(result, target) for target in result.targets]


def headline(result: ProbeResult) -> str:
    """One or two sentences on all targets."""
    every = result.targets
    best = {target: _best(result, target) for target in every}
    found = [target for target in every if _is_read(result, best[target])]
    n = len(every)
    if not any(map(_known, best.values())):
        return f"Of {_maps(n)} nothing can be said: {_unknown(next(iter(best.values())))}."
    if not found:
        return (
            f"Of {_maps(n)} none can be read better than the nulls: no position was found in "
            "these layers with this rule."
        )
    where = max((best[t] for t in found), key=lambda mean: mean.spearman)
    said = (
        f"Of {_maps(n)} {_count(len(found), n)} can be read better than chance, best "
        f"{_called(where.target)} from {where.layer}: rank correlation {_number(where)}."
    )
    padded = [t for t in found if _of(result, best[t], "twin")]
    if not padded:
        return said
    lower = [t for t in padded if _all_above(best[t], _of(result, best[t], "twin"))]
    return (
        f"{said} Every other filling of the border gives less, with the same weights, in "
        f"{_count(len(lower), len(padded))} of {len(padded)}."
    )


def best_layer(result: ProbeResult) -> str:
    """The layer from which most is read: the highest mean rank correlation over targets."""

    def score(layer: str) -> float:
        return sum(_height(result.mean(layer, target)) for target in result.targets)

    return max(result.layers, key=score)


def _finding(result: ProbeResult, target: str) -> Finding:
    model = _best(result, target)
    kinds: tuple[Kind, ...] = ("twin", "encoding", "weights", "images", "null")
    controls = {kind: _range(_of(result, model, kind)) for kind in kinds}
    name = f"{target}, {TARGETS[target]}" if target in TARGETS else target
    cells = result.meta.get("lattices", {}).get(model.layer)  # the maps are shrunk for pictures
    layer = f"{model.layer}, {cells[0]} x {cells[1]} cells" if cells else model.layer
    return Finding(name, layer, _number(model), controls, _verdict(result, model))


def _verdict(result: ProbeResult, model: Mean) -> str:
    if not _known(model):
        return _unknown(model)
    if not _is_read(result, model):
        return "nothing that chance could not give"
    parts = []
    if twins := _of(result, model, "twin"):
        lower = [twin for twin in twins if _above(model, twin)]
        parts.append(
            "less with every other padding"
            if len(lower) == len(twins)
            else "as much with other paddings"
            if not lower
            else f"less with {len(lower)} of {len(twins)} other paddings"
        )
    if without := _of(result, model, "encoding"):
        parts.append(
            "less without its position encodings"
            if _all_above(model, without)
            else "as much without its position encodings"
        )
    if weights := _of(result, model, "weights"):
        parts.append(
            "more than untrained" if _all_above(model, weights) else "no more than untrained"
        )
    mixed = [mean for mean in _of(result, model, "images") if mean.condition == "permuted"]
    if mixed:
        parts.append(
            "less on mixed-up images" if _all_above(model, mixed) else "as much on mixed-up images"
        )
    return "; ".join(parts) or "more than the nulls"


def _best(result: ProbeResult, target: str) -> Mean:
    means = [result.mean(layer, target) for layer in result.layers]
    return max(means, key=_height)


def _height(mean: Mean) -> float:
    """The score; of a read-out that diverged, less than any."""
    return mean.spearman if math.isfinite(mean.spearman) else -2.0


def _known(mean: Mean) -> bool:
    return all(map(math.isfinite, mean.spearman_interval))


def _unknown(mean: Mean) -> str:
    """Why nothing can be said."""
    if math.isfinite(mean.spearman):
        return "there are too few images to test on for an interval"
    return "the read-out diverged"


def _is_read(result: ProbeResult, model: Mean) -> bool:
    nulls = [mean.spearman_interval[1] for mean in _of(result, model, "null")]
    return model.spearman_interval[0] > max([0.0, *nulls])


def _of(result: ProbeResult, model: Mean, kind: Kind) -> list[Mean]:
    """The controls of a kind, at the same layer and target; those that could not be scored not."""
    names = [name for name in result.conditions if describe(name).kind == kind]
    means = [result.mean(model.layer, model.target, name) for name in names]
    return [mean for mean in means if math.isfinite(mean.spearman)]


def _above(one: Mean, other: Mean) -> bool:
    return one.spearman_interval[0] > other.spearman_interval[1]


def _all_above(one: Mean, others: list[Mean]) -> bool:
    return all(_above(one, other) for other in others)


def _range(means: list[Mean]) -> str:
    if not means:
        return "-"
    low, high = (two(f(mean.spearman for mean in means)) for f in (min, max))
    return low if low == high else f"{low} to {high}"


def _number(mean: Mean) -> str:
    low, high = mean.spearman_interval
    known = f"{two(low)} to {two(high)}" if _known(mean) else "no interval"
    return f"{two(mean.spearman)} ({known})"


def two(value: float) -> str:
    """Two digits, without a negative zero; "-" for what is unknown.

    >>> two(-0.001), two(math.nan)
    ('0.00', '-')
    """
    if math.isnan(value):
        return "-"
    return f"{round(value, 2) + 0.0:.2f}"


def _called(target: str) -> str:
    return f"{target} ({TARGETS[target]})" if target in TARGETS else target


def _maps(n: int) -> str:
    return "one map" if n == 1 else f"{n} maps"


def _count(some: int, n: int) -> str:
    return "all" if some == n else "none" if some == 0 else str(some)
