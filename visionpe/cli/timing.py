"""`trainer.max_time`: ends a process, not the run."""

import signal
import time
from datetime import timedelta
from typing import Any, final

import lightning as L
from lightning.pytorch.callbacks import Timer


@final
class TimeLimit(L.Callback):
    """Ends a run as SIGTERM does: after a step, with a checkpoint from which it goes on exactly.

    Lightning's `Timer` ends the epoch with the step, and a run that went on would leave out the
    rest of the epoch. It also counts over all processes of a run, so that none could go on.

    Args:
        duration: as `trainer.max_time` takes it; of this process, from its first step on.

    Attributes:
        over: whether the time was up.
    """

    def __init__(self, duration: str | timedelta | dict[str, int]) -> None:
        self._seconds = Timer(duration).time_remaining() or 0.0
        self._end = 0.0
        self.over = False

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Starts the clock."""
        self._end = time.monotonic() + self._seconds

    def on_train_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Signals `LastCheckpoint` when the time is up."""
        if not self.over and time.monotonic() >= self._end:
            self.over = True
            signal.raise_signal(signal.SIGTERM)


def is_over(trainer: L.Trainer) -> bool:
    """Whether a `TimeLimit` ended the run."""
    callbacks = trainer.callbacks  # type: ignore[attr-defined] # of the trainer's making
    return any(isinstance(callback, TimeLimit) and callback.over for callback in callbacks)
