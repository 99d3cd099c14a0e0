"""Rows, means with intervals and maps, of what was measured."""

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from visionpe.probing.controls import MODEL
from visionpe.probing.measured import Measured, Scores
from visionpe.probing.result import TARGET, Mean, Row
from visionpe.probing.scores import bootstrap

_SIDE = 28

MapsOf = dict[str, dict[str, dict[str, Tensor]]]


def gather(
    found: Mapping[str, Measured], seconds: Mapping[str, float], trained: Sequence[int]
) -> tuple[list[Row], list[Mean], MapsOf]:
    """Rows, means and maps.

    Args:
        found: by condition.
        seconds: the conditions' processor time.
        trained: how many images the read-outs of each seed were fitted to.
    """
    rows, means = [], []
    for (layer, target, condition), seeds in _by_condition(found).items():
        spent = seconds.get(condition, seconds[MODEL])  # nulls come with the model
        rows += [
            Row(
                layer, target, condition, seed, *_means(scores),
                bootstrap([scores.spearman], [scores.groups]), len(scores.spearman), trained[seed],
                spent,
            )
            for seed, scores in seeds.items()
        ]  # fmt: skip
        each = list(seeds.values())
        groups = [scores.groups for scores in each]
        spearman, mae, r2 = torch.tensor([_means(s) for s in each], dtype=torch.float64).mean(0)
        means.append(
            Mean(
                layer,
                target,
                condition,
                float(spearman),
                float(mae),
                float(r2),
                bootstrap([scores.spearman for scores in each], groups),
                bootstrap([scores.mae for scores in each], groups),
                bootstrap([scores.r2 for scores in each], groups),
                len(each),
                sum(len(scores.spearman) for scores in each),
            )
        )
    order = {layer: i for i, layer in enumerate(dict.fromkeys(r.layer for r in rows))}
    rows.sort(key=lambda row: order[row.layer])
    means.sort(key=lambda mean: order[mean.layer])
    return rows, means, _maps(found)


def _means(scores: Scores) -> tuple[float, float, float]:
    return float(scores.spearman.mean()), float(scores.mae.mean()), float(scores.r2.mean())


def _by_condition(
    found: Mapping[str, Measured],
) -> dict[tuple[str, str, str], dict[int, Scores]]:
    """The scores of each layer, target and condition, by seed; targets together."""
    result: dict[tuple[str, str, str], dict[int, Scores]] = {}
    for name, measured in found.items():
        for (layer, column, seed), scores in measured.scores.items():
            result.setdefault((layer, column.target, column.null or name), {})[seed] = scores
    targets = list(dict.fromkeys(target for _, target, _ in result))
    return dict(sorted(result.items(), key=lambda item: targets.index(item[0][1])))


def _maps(found: Mapping[str, Measured]) -> MapsOf:
    maps: MapsOf = {}
    for name, measured in found.items():
        for (layer, target), truth in measured.truths.items():
            maps.setdefault(layer, {}).setdefault(target, {})[TARGET] = _small(truth)
        for (layer, target, null), total in measured.sums.items():
            mean = total / measured.counts[layer, target, null]
            maps[layer][target][null or name] = _small(mean)
    return maps


def _small(full: Float[Tensor, "h w"]) -> Float[Tensor, "i j"]:
    """At most 28 rows and columns, in the proportions of the map, for pictures."""
    h, w = full.shape
    share = min(1.0, _SIDE / max(h, w))  # of both, or a map would change its proportions
    size = (max(1, round(h * share)), max(1, round(w * share)))
    return F.adaptive_avg_pool2d(full[None].float(), size)[0]
