"""How well a map was predicted: rank correlation, absolute error, share of variance; intervals.

Defined for every map: where the target or the prediction is constant, the rank correlation is 0
(there is no order to agree on), and R^2 of a constant target is 1 if it is met exactly, else 0.
A prediction that varies by less than a ten-thousandth of the target's range is constant: what is
below that is the rounding of the arithmetic, which may well be ordered.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

FLAT = 1e-4  # of the target's range


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
    return product.clamp(-1, 1) * _varies(predicted, truth)


def mae(predicted: Float[Tensor, "*b n"], truth: Float[Tensor, "*b n"]) -> Float[Tensor, "*b"]:
    """The mean absolute error along the last axis.

    >>> mae(torch.tensor([0.0, 1.0]), torch.tensor([0.5, 1.0])).item()
    0.25
    """
    _check(predicted, truth)
    return (predicted.double() - truth.double()).abs().mean(-1)


def r2(predicted: Float[Tensor, "*b n"], truth: Float[Tensor, "*b n"]) -> Float[Tensor, "*b"]:
    """The share of the target's variance that is predicted, at most 1; negative below its mean.

    >>> r2(torch.tensor([0.5, 0.5]), torch.tensor([0.0, 1.0])).item()
    0.0
    """
    _check(predicted, truth)
    truth = truth.double()
    missed = (predicted.double() - truth).square().sum(-1)
    total = (truth - truth.mean(-1, keepdim=True)).square().sum(-1)
    return torch.where(total > 0, 1 - missed / total.where(total > 0, 1.0), (missed == 0).double())


def bootstrap(
    groups: Sequence[Float[Tensor, " n"]],
    *,
    level: float = 0.95,
    draws: int = 1000,
    seed: int = 0,
) -> tuple[float, float]:
    """An interval for a mean of scores: percentiles over scores drawn anew.

    Args:
        groups: the scores of images, one group a seed. With several, the seeds are drawn anew
            first and then the images of each.
        level: how much of the draws lies inside.
        draws: how many.
        seed: of the draws.

    Raises:
        ValueError: if there is no score.

    >>> bootstrap([torch.full((5,), 0.25)])
    (0.25, 0.25)
    """
    if not groups or any(not len(group) for group in groups):
        raise ValueError("`groups` must hold scores in each group, but one is empty.")
    generator = torch.Generator().manual_seed(seed)
    drawn = []  # one row a group: means of images drawn anew
    for group in groups:
        values = group.double().cpu()
        picks = torch.randint(len(values), (draws, len(groups), len(values)), generator=generator)
        drawn.append(values[picks].mean(-1))
    chosen = torch.randint(len(groups), (draws, len(groups)), generator=generator)
    means = torch.stack(drawn)[chosen, torch.arange(draws)[:, None], torch.arange(len(groups))]
    edges = torch.tensor([(1 - level) / 2, (1 + level) / 2], dtype=torch.float64)
    low, high = means.mean(-1).quantile(edges).tolist()
    return low, high


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
