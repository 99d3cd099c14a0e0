"""A model and data that train in a second and have all that makes a resume inexact.

Dropout, batch statistics, momentum, a shuffled loader and a schedule per step.
"""

import os
import time
from typing import Any

import lightning as L
import torch
from torch import Tensor, nn

from visionpe.data.loader import TensorLoader


class Scale(nn.Module):
    """Multiplies by a learned number.

    Args:
        factor: its first value.
    """

    def __init__(self, factor: float = 1.0) -> None:
        super().__init__()
        if factor == 0:
            raise ValueError("`factor` must not be 0, but is 0.0.")
        self.factor = nn.Parameter(torch.tensor(factor))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.factor


class Tiny(L.LightningModule):
    """A net of two layers.

    Args:
        width: hidden units.
        lr: first learning rate.
        encoding: put before the net.
        pause: seconds to wait in each step.
    """

    monitor = "val/loss"

    def __init__(
        self, width: int = 4, lr: float = 0.1, encoding: nn.Module | None = None, pause: float = 0.0
    ) -> None:
        super().__init__()
        if width < 1:
            raise ValueError(f"`width` must be at least 1, but is {width}.")
        self.save_hyperparameters()
        self.lr = lr
        self.pause = pause
        self.net = nn.Sequential(
            encoding or nn.Identity(),
            nn.Linear(3, width),
            nn.BatchNorm1d(width),
            nn.Dropout(0.5),
            nn.Linear(width, 1),
        )

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        x, y = batch
        loss: Tensor = (self.net(x + 0.1 * torch.randn_like(x)) - y).square().mean()
        self.log("train/loss", loss)
        time.sleep(self.pause)
        _signal(self.global_step)
        return loss

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        self.log("val/loss", (self.net(batch[0]) - batch[1]).square().mean())

    def test_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        self.log("test/loss", (self.net(batch[0]) - batch[1]).square().mean())

    def predict_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Any:
        return self.net(batch[0])

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.AdamW(self.parameters(), lr=self.lr)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 40)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


class Other(Tiny):
    """Another class with the same arguments."""

    def predict_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Any:
        x = batch[0]
        return {"sum": x.sum(1).mean(), "ragged": x[:, : batch_idx + 1], "word": "none", "no": None}


class TinyData(L.LightningDataModule):
    """Random points and their sums.

    Args:
        n: how many.
        seed: of the points and their order.
    """

    def __init__(self, n: int = 40, seed: int = 0) -> None:
        super().__init__()
        x = torch.randn(n, 3, generator=torch.Generator().manual_seed(seed))
        self.points = (x, x.sum(1, keepdim=True))
        self.seed = seed

    def train_dataloader(self) -> TensorLoader:
        return TensorLoader(*self.points, batch_size=5, shuffle=True, seed=self.seed)

    def val_dataloader(self) -> TensorLoader:
        return TensorLoader(*self.points, batch_size=16)

    def test_dataloader(self) -> TensorLoader:
        return self.val_dataloader()

    def predict_dataloader(self) -> TensorLoader:
        return self.val_dataloader()


class Signal(L.Callback):
    """Sends this process the signal that `TINY_SIGNAL` names, in the step that it names."""

    def on_before_backward(
        self, trainer: L.Trainer, pl_module: L.LightningModule, loss: Tensor
    ) -> None:
        _signal(trainer.global_step)


def _signal(step: int) -> None:
    kill = os.environ.get("TINY_SIGNAL")
    if kill and step == int(kill.partition(":")[2]):
        os.kill(os.getpid(), int(kill.partition(":")[0]))
