"""What the three tasks on Not-so-Clevr have in common; they are in `visionpe.tasks.toy`."""

import time
from abc import ABC, abstractmethod
from typing import Any

import lightning as L
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from visionpe.models.toy import he_normal_
from visionpe.tasks.scores import Mean

Batch = tuple[Float[Tensor, "b 2"], UInt8[Tensor, "b 1 h w"]]
_PARTS = ("train", "test")


class ToyTask(L.LightningModule, ABC):
    """What the three have in common: He's initialisation, L2 and the two parts' metrics.

    Args:
        network: its kernels are drawn anew from He's normal law, as in the paper.
        l2: weight of the sum of the squared kernels in the loss, as in the paper's code.

    Raises:
        ValueError: if `l2` is negative.
    """

    monitor: str
    monitor_mode = "min"

    def __init__(self, network: nn.Module, l2: float = 0.0) -> None:
        super().__init__()
        if l2 < 0:
            raise ValueError(f"`l2` must be at least 0, but is {l2}.")
        self.network = he_normal_(network)
        self.l2 = l2
        self.means = nn.ModuleDict()
        self.train_cpu_seconds = 0.0
        self._started = 0.0

    @abstractmethod
    def loss(self, points: Float[Tensor, "b 2"], images: UInt8[Tensor, "b 1 h w"]) -> Tensor:
        """The training loss of a batch, without L2."""

    @abstractmethod
    def measures(
        self, points: Float[Tensor, "b 2"], images: UInt8[Tensor, "b 1 h w"]
    ) -> dict[str, Tensor]:
        """The mean metrics of a batch by name."""

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """The loss, L2 included."""
        loss = self.loss(*batch)
        if self.l2:
            kernels = (p for p in self.network.parameters() if p.dim() > 1)
            loss = loss + self.l2 * sum(kernel.square().sum() for kernel in kernels)
        self.log("loss", loss)
        return loss

    def validation_step(self, batch: Batch, batch_idx: int, dataloader_idx: int = 0) -> None:
        """Logs the metrics of a part of the split."""
        part = _PARTS[dataloader_idx]
        found = self.measures(*batch)
        for each in _PARTS:  # all at once: Lightning looks for metrics when the first is logged
            for name in found:
                if f"{each}/{name}" not in self.means:
                    self.means[f"{each}/{name}"] = Mean().to(self.device)
        for name, value in found.items():
            mean: Any = self.means[f"{part}/{name}"]
            mean.update(value, len(batch[0]))
            self.log(f"{part}/{name}", mean, on_epoch=True, add_dataloader_idx=False)

    def test_step(self, batch: Batch, batch_idx: int, dataloader_idx: int = 0) -> None:
        """As in validation."""
        self.validation_step(batch, batch_idx, dataloader_idx)

    def predict_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """The network's output."""
        output: Tensor = self.network(batch[0])
        return output

    # The training's own CPU time, without validation: the axis that the tasks are compared on.

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Starts the clock."""
        self._started = time.process_time()

    def on_train_batch_end(self, outputs: Any, batch: Batch, batch_idx: int) -> None:
        """Stops the clock."""
        self.train_cpu_seconds += time.process_time() - self._started

    def on_validation_epoch_end(self) -> None:
        """Logs the clock beside the metrics."""
        if not self.trainer.sanity_checking:
            self.log("train_cpu_seconds", self.train_cpu_seconds)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keeps the clock."""
        checkpoint["train_cpu_seconds"] = self.train_cpu_seconds

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Sets the clock."""
        self.train_cpu_seconds = checkpoint["train_cpu_seconds"]
