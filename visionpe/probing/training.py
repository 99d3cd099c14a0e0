"""Training of read-outs as arXiv:2001.08248 does it: what our loop and a Lightning task share."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.optim import SGD
from torch.optim.lr_scheduler import MultiStepLR


class Recipe(NamedTuple):
    """The published recipe: SGD, momentum 0.9, 15 epochs, a tenth of the step size from epoch 10.

    Attributes:
        epochs: passes over the images.
        lr: step size at first.
        decay_at: the epoch (from 0) from which it is a tenth.
        momentum, weight_decay: of SGD.
    """

    epochs: int = 15
    lr: float = 0.1
    decay_at: int = 10
    momentum: float = 0.9
    weight_decay: float = 1e-4


PUBLISHED = Recipe()


def optimisers(parameters: Iterable[nn.Parameter], recipe: Recipe) -> tuple[SGD, MultiStepLR]:
    """The optimiser, and the schedule to be stepped after each epoch.

    >>> optimiser, schedule = optimisers(nn.Linear(1, 1).parameters(), Recipe(lr=0.5, decay_at=1))
    >>> optimiser.step(); schedule.step(); schedule.get_last_lr()
    [0.05]
    """
    optimiser = SGD(
        parameters, recipe.lr, momentum=recipe.momentum, weight_decay=recipe.weight_decay
    )
    return optimiser, MultiStepLR(optimiser, [recipe.decay_at], 0.1)


def loss(
    predicted: Float[Tensor, "b t h w"], truth: Float[Tensor, "#b t h w"]
) -> Float[Tensor, ""]:
    """The mean squared error of each target, summed over targets: each learns as if alone.

    >>> loss(torch.zeros(1, 2, 1, 1), torch.ones(1, 2, 1, 1)).item()
    2.0
    """
    return (predicted - truth).square().mean((0, 2, 3)).sum()


def train_step(
    readout: nn.Module,
    optimiser: torch.optim.Optimizer,
    maps: Tensor,
    truth: Float[Tensor, "#b t h w"],
) -> float:
    """One step on one batch; returns the loss before it."""
    readout.train()
    with torch.enable_grad():
        value = loss(readout(maps), truth)
        optimiser.zero_grad()
        value.backward()
    optimiser.step()
    return float(value.detach())


def train(
    readout: nn.Module,
    batches: Iterable[tuple[Tensor, Tensor]],
    recipe: Recipe = PUBLISHED,
) -> Iterator[float]:
    """Trains by the recipe; yields the mean loss of each epoch. The module is changed in place.

    Args:
        readout: takes maps, predicts targets.
        batches: `(maps, truth)`, as of `train_step`, read once an epoch.
        recipe: by default the published one.

    Raises:
        ValueError: if there is no batch.

    >>> net = nn.Conv2d(1, 1, 1)
    >>> len(list(train(net, [(torch.ones(1, 1, 2, 2), torch.ones(1, 1, 2, 2))], Recipe(epochs=3))))
    3
    """
    optimiser, schedule = optimisers(readout.parameters(), recipe)
    for _ in range(recipe.epochs):
        losses = [train_step(readout, optimiser, maps, truth) for maps, truth in batches]
        if not losses:
            raise ValueError("`batches` must hold batches in each epoch, but is empty.")
        schedule.step()
        yield sum(losses) / len(losses)
