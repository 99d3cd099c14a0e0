"""How well a map was predicted: rank correlation, absolute error, share of variance; intervals.

Defined for every map: where the target or the prediction is constant, the rank correlation is 0
(there is no order to agree on), and R^2 of a constant target is 1 if it is met exactly, else 0.
Where a prediction is not finite, because training diverged, all scores are NaN.
A prediction that varies by less than a ten-thousandth of the target's range is constant: what is
below that is the rounding of the arithmetic, which may well be ordered.
"""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

FLAT = 1e-4  # of the target's range
FEWEST = 5  # groups of images, below which an interval says nothing of others


def ranks(x: Float[Tensor, "*b n"]) -> Float[Tensor, "*b n"]:
    """Ranks from 1 along the last axis, ties sharing their average, in float64.

    >>> ranks(torch.tensor([5.0, 7.0, 5.0])).tolist()
    [1.5, 3.0, 1.5]
    """
    x = x.contiguous()
    ordered = x.sort(-1).values
    below = torch.searchsorted(ordered, x)
    upto = torch.searchsorted(ordered, x, right=True)
    return (below + upto + 1).double() / 2


def spearman(predicted: Float[Tensor, "*b n"], truth: Float[Tensor, "*b n"]) -> Float[Tensor, "*b"]:
    """The correlation of ranks along the last axis, -1 to 1; 0 if one of the two is constant.

    Not Pearson's, which one port of the paper's code reports under this name.

    >>> spearman(torch.tensor([1.0, 2.0, 9.0]), torch.tensor([0.0, 0.5, 1.0])).item()
    1.0
    """
    _check(predicted, truth)
    a, b = (r - r.mean(-1, keepdim=True) for r in (ranks(predicted), ranks(truth)))
    scale = ((a * a).sum(-1) * (b * b).sum(-1)).sqrt()
    product = (a * b).sum(-1) / scale.where(scale > 0, torch.ones_like(scale))
    return _where_finite(product.clamp(-1, 1) * _varies(predicted, truth), predicted)


def mae(predicted: Float[Tensor, "*b n"], truth: Float[Tensor, "*b n"]) -> Float[Tensor, "*b"]:
    """The mean absolute error along the last axis.

    >>> mae(torch.tensor([0.0, 1.0]), torch.tensor([0.5, 1.0])).item()
    0.25
    """
    _check(predicted, truth)
    return _where_finite((predicted.double() - truth.double()).abs().mean(-1), predicted)


def r2(predicted: Float[Tensor, "*b n"], truth: Float[Tensor, "*b n"]) -> Float[Tensor, "*b"]:
    """The share of the target's variance that is predicted, at most 1; negative below its mean.

    >>> r2(torch.tensor([0.5, 0.5]), torch.tensor([0.0, 1.0])).item()
    0.0
    """
    _check(predicted, truth)
    truth = truth.double()
    missed = (predicted.double() - truth).square().sum(-1)
    total = (truth - truth.mean(-1, keepdim=True)).square().sum(-1)
    share = torch.where(total > 0, 1 - missed / total.where(total > 0, 1.0), (missed == 0).double())
    return _where_finite(share, predicted)


def bootstrap(
    scores: Sequence[Float[Tensor, " n"]],
    groups: Sequence[Int[Tensor, " n"]] | None = None,
    *,
    level: float = 0.95,
    draws: int = 1000,
    seed: int = 0,
) -> tuple[float, float]:
    """An interval for a mean of scores: percentiles over images and seeds drawn anew.

    Each draw gives every group of images a weight, how often it was drawn, and that weight holds in
    all seeds: an image that several splits test is one image. Seeds are drawn anew beside.

    Args:
        scores: of images, one tensor a seed.
        groups: the number of each score's group; groups are drawn, and the same number in several
            seeds is the same group. None: each score is a group of its own.
        level: how much of the draws lies inside.
        draws: how many.
        seed: of the draws.

    Returns:
        The lower and the upper end; NaN if there are fewer than 5 groups, or a score is NaN.

    Raises:
        ValueError: if there is no score.

    >>> bootstrap([torch.full((5,), 0.25)])
    (0.25, 0.25)
    """
    if not scores or any(not len(part) for part in scores):
        raise ValueError("`scores` must hold scores for each seed, but has none for one.")
    lengths = [len(part) for part in scores]
    numbers = torch.arange(sum(lengths)) if groups is None else torch.cat([*groups]).cpu()
    kinds, kind = numbers.unique(return_inverse=True)
    values = [part.double().cpu() for part in scores]
    if len(kinds) < FEWEST or not all(bool(part.isfinite().all()) for part in values):
        return math.nan, math.nan
    generator = torch.Generator().manual_seed(seed)
    picks = torch.randint(len(kinds), (draws, len(kinds)), generator=generator)
    counts = torch.zeros(draws, len(kinds), dtype=torch.float64)
    counts.scatter_add_(1, picks, torch.ones_like(counts))
    sums, weights = [], []
    for part, here in zip(values, kind.split(lengths), strict=True):
        sums.append(counts[:, here] @ part)
        weights.append(counts[:, here].sum(1))
    # A seed of which no image was drawn has no mean in that draw, and the others stand for it.
    means = torch.stack(sums, 1) / torch.stack(weights, 1)  # draws s
    chosen = torch.randint(len(scores), (draws, len(scores)), generator=generator)
    edges = torch.tensor([(1 - level) / 2, (1 + level) / 2], dtype=torch.float64)
    low, high = means.gather(1, chosen).nanmean(1).nanquantile(edges).tolist()
    return low, high


def _where_finite(score: Tensor, predicted: Tensor) -> Tensor:
    """NaN for predictions that are not finite."""
    return score.where(predicted.isfinite().all(-1), torch.nan)


def _varies(predicted: Tensor, truth: Tensor) -> Tensor:
    spread = (predicted.amax(-1) - predicted.amin(-1)).double()
    wanted = (truth.amax(-1) - truth.amin(-1)).double()
    return (wanted > 0) & (spread >= FLAT * wanted)


def _check(predicted: Tensor, truth: Tensor) -> None:
    if predicted.shape[-1] != truth.shape[-1] or not truth.shape[-1]:
        raise ValueError(
            f"`predicted` must have as many cells as `truth`, {truth.shape[-1]}, at least one, "
            f"but has {predicted.shape[-1]}."
        )
