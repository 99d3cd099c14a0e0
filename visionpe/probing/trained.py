"""Read-outs trained by SGD: PosENet as published, or any module of ours or yours."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from visionpe.models.posenet import PosENet
from visionpe.probing.readout import TEST
from visionpe.probing.targets import Target
from visionpe.probing.training import PUBLISHED, Recipe, optimisers, train_step


@final
@dataclass(frozen=True)
class Trained:
    """Reads position by a module trained on the maps: one pass over the images for each epoch.

    Features are computed anew in each epoch and not kept; the batches come in the images' order.
    Much slower than `Ridge`, which is why that is the default.

    Attributes:
        net: makes the module of the number of channels and of targets; its parameters are drawn
            from torch's generator. `functools.partial(PosENet, kernel=7)` gives it options.
        recipe: the published one by default.

    >>> from visionpe.models.posenet import CellMLP
    >>> Trained(CellMLP).begin(8, 4, 6, outputs=1, splits=3).truth(
    ...     lambda h, w: torch.zeros(h, w)
    ... ).shape
    torch.Size([4, 6])
    """

    net: Callable[[int, int], nn.Module] = PosENet
    recipe: Recipe = PUBLISHED

    def begin(
        self,
        channels: int,
        h: int,
        w: int,
        *,
        outputs: int,
        splits: int,
        together: int | None = None,
    ) -> "TrainedFitting":
        """Read-outs, not yet trained: see `Readout`."""
        return TrainedFitting(
            self, channels, h, w, outputs=outputs, splits=splits, together=together or outputs
        )


@final
class TrainedFitting:
    """Modules for every split, trained side by side on the same batches: see `Fitting`.

    Each split has a module for every `together` outputs. They begin alike and draw alike, so that
    the first is the same whether there are others or not.

    Raises:
        ValueError: if the module cannot read such maps.
    """

    required = 2  # batch norm needs two numbers

    def __init__(
        self,
        how: Trained,
        channels: int,
        h: int,
        w: int,
        *,
        outputs: int,
        splits: int,
        together: int,
    ) -> None:
        self.together = together
        self.nets: list[list[nn.Module]] = []  # by split, then by outputs
        for split in range(splits):
            self.nets.append([])
            for first in range(0, outputs, together):
                with _seeded(split):
                    self.nets[-1].append(how.net(channels, min(together, outputs - first)))
        net = self.nets[0][0]
        try:
            with torch.no_grad():
                self.size = tuple(net.eval()(torch.zeros(1, channels, h, w)).shape[2:])
        except RuntimeError as error:
            raise ValueError(
                f"`readout` must read maps of {channels} x {h} x {w}, but "
                f"{type(net).__name__} fails: {' '.join(str(error).split())}"
            ) from error
        self.optimisers = [
            [optimisers(net.parameters(), how.recipe) for net in nets] for nets in self.nets
        ]
        self.passes = how.recipe.epochs
        self.epoch = 0
        self.step = 0
        self.memory = 16 * sum(
            p.numel() for nets in self.nets for n in nets for p in n.parameters()
        )

    def truth(self, target: Target) -> Float[Tensor, "i j"]:
        """The target at the size that the module predicts."""
        return target(*self.size)

    def update(
        self,
        maps: Float[Tensor, "b c h w"],
        truth: Float[Tensor, "b q i j"],
        roles: Int[Tensor, "s b"],
    ) -> None:
        """One step of each split's modules on those images of the batch that it may see."""
        self.step += 1
        truths = truth.to(maps).split(self.together, 1)
        for split, role in enumerate(roles):
            seen = (role != TEST).to(maps.device)
            if not bool(seen.any()):
                continue
            pairs = zip(self.nets[split], self.optimisers[split], truths, strict=True)
            for net, (optimiser, _), wanted in pairs:
                with _seeded(len(self.nets) * self.step + split):  # what a module drops, if any
                    train_step(net.to(maps.device), optimiser, maps[seen], wanted[seen])

    def finish(self) -> bool:
        """Ends an epoch; True after the last."""
        for each in self.optimisers:
            for _, schedule in each:
                schedule.step()
        self.epoch += 1
        return self.epoch >= self.passes

    def predict(self, maps: Float[Tensor, "b c h w"]) -> Float[Tensor, "s b q i j"]:
        """The predictions of each split's modules."""
        with torch.no_grad():
            return torch.stack(
                [
                    torch.cat([net.to(maps.device).eval()(maps) for net in nets], 1)
                    for nets in self.nets
                ]
            )


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Inside, torch's numbers are those of a seed; behind it, they are as they were."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield
