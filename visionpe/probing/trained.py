"""Read-outs trained by SGD: PosENet as published, or any module of ours or yours."""

from collections.abc import Callable
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
        self, channels: int, h: int, w: int, *, outputs: int, splits: int
    ) -> "TrainedFitting":
        """Read-outs, not yet trained: see `Readout`."""
        return TrainedFitting(self, channels, h, w, outputs=outputs, splits=splits)


@final
class TrainedFitting:
    """A module for every split, trained side by side on the same batches: see `Fitting`.

    Raises:
        ValueError: if the module cannot read such maps.
    """

    required = 2  # batch norm needs two numbers

    def __init__(
        self, how: Trained, channels: int, h: int, w: int, *, outputs: int, splits: int
    ) -> None:
        self.nets = []
        for split in range(splits):
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(split)
                self.nets.append(how.net(channels, outputs))
        try:
            with torch.no_grad():
                self.size = tuple(self.nets[0].eval()(torch.zeros(1, channels, h, w)).shape[2:])
        except RuntimeError as error:
            raise ValueError(
                f"`readout` must read maps of {channels} x {h} x {w}, but "
                f"{type(self.nets[0]).__name__} fails: {' '.join(str(error).split())}"
            ) from error
        self.steps = [optimisers(net.parameters(), how.recipe) for net in self.nets]
        self.passes = how.recipe.epochs
        self.epoch = 0
        self.memory = 16 * splits * sum(p.numel() for p in self.nets[0].parameters())

    def truth(self, target: Target) -> Float[Tensor, "i j"]:
        """The target at the size that the module predicts."""
        return target(*self.size)

    def update(
        self,
        maps: Float[Tensor, "b c h w"],
        truth: Float[Tensor, "b q i j"],
        roles: Int[Tensor, "s b"],
    ) -> None:
        """One step of each split's module on those images of the batch that it may see."""
        for net, (optimiser, _), role in zip(self.nets, self.steps, roles, strict=True):
            seen = (role != TEST).to(maps.device)
            if bool(seen.any()):
                train_step(net.to(maps.device), optimiser, maps[seen], truth.to(maps)[seen])

    def finish(self) -> bool:
        """Ends an epoch; True after the last."""
        for _, schedule in self.steps:
            schedule.step()
        self.epoch += 1
        return self.epoch >= self.passes

    def predict(self, maps: Float[Tensor, "b c h w"]) -> Float[Tensor, "s b q i j"]:
        """The predictions of each split's module."""
        with torch.no_grad():
            return torch.stack([net.to(maps.device).eval()(maps) for net in self.nets])
