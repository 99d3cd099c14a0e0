"""The callbacks that make a run stoppable: bit for bit, it ends as if it had not been stopped.

A resumed run is exact if the randomness of a step depends on the step alone, and if its checkpoint
was written where Lightning goes on exactly: right after a training step, in mid-epoch. After the
last step of an epoch it would skip that epoch's validation; at the end of an epoch it would
forget a step of a learning-rate schedule that waits for a metric.
"""

import random
import signal
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any, final

import lightning as L
import numpy as np
import torch
from lightning.pytorch.callbacks import Checkpoint

from visionpe.data.loader import stable_seed

_STOPS = (signal.SIGINT, signal.SIGTERM)
_SYNC_STEPS = 10  # several processes agree so often: each agreement is a broadcast


class Interrupted(Exception):  # noqa: N818 # no error: somebody asked for it
    """A signal ended the run after a step, with its checkpoint written.

    Attributes:
        signum: the signal, `signal.SIGINT` or `signal.SIGTERM`.
        step: optimiser steps done.
    """

    def __init__(self, signum: int, step: int) -> None:
        super().__init__(f"{signal.Signals(signum).name} at step {step}")
        self.signum = signum
        self.step = step


@final
class ReseedEachStep(L.Callback):
    """Seeds Python, numpy and torch anew at each training batch, from `(seed, step, batch, rank)`.

    Dropout and sampling of a step then do not depend on how many random numbers were drawn before
    it, nor on where a run was stopped.

    Args:
        seed: the run's seed.
    """

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Seeds before the model sees the batch."""
        value = stable_seed(self.seed, trainer.global_step, batch_idx, trainer.global_rank)
        random.seed(value)
        np.random.seed(value % 2**32)
        torch.manual_seed(value)


@final
class LastCheckpoint(Checkpoint):
    """Keeps `last.ckpt` fresh: every minute, about every epoch, and on Ctrl-C or SIGTERM.

    Written after a training step in mid-epoch; "every epoch" is after the first step of the next
    one. The first signal ends the run after the next such step (a validation in progress is
    finished first); a second Ctrl-C ends it at once. Of several processes the first decides, every
    ten steps, and all end after the same one.

    Args:
        folder: where `last.ckpt` is written; by default `checkpoints` in the run's folder, where
            the same command looks for it.
        seconds: longest time between two writings.
        steps: write after so many optimiser steps, whatever the time.
        epoch_seconds: shortest time between two writings of the "about every epoch" kind.

    Raises:
        ValueError: if `seconds` is negative or `steps` is below 1.
    """

    def __init__(
        self,
        folder: str | None = None,
        *,
        seconds: float = 60.0,
        steps: int | None = None,
        epoch_seconds: float = 2.0,
    ) -> None:
        if seconds < 0:
            raise ValueError(f"`seconds` must be at least 0, but is {seconds}.")
        if steps is not None and steps < 1:
            raise ValueError(f"`steps` must be at least 1, but is {steps}.")
        self.folder = folder
        self.seconds = seconds
        self.steps = steps
        self.epoch_seconds = epoch_seconds
        self._written, self._written_step = 0.0, 0
        self._signal: int | None = None
        self._stop: Interrupted | None = None
        self._handlers: dict[int, Any] = {}
        self._step = 0  # optimiser steps before the batch
        self._new_epoch = False
        self._middle = False  # whether epochs have a step to write after, as far as seen

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Starts the clock and takes over the signals."""
        self._written, self._written_step = time.monotonic(), trainer.global_step
        self._signal = self._stop = None
        for number in _STOPS:
            self._handlers[number] = _handle(number, self._on_signal)
        # Lightning forgets the loader's place if a task asked for `estimated_stepping_batches`.
        trainer.fit_loop._load_combined_loader_states()

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Notes that the epoch before is not written yet."""
        self._new_epoch = trainer.current_epoch > 0

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Ends the run if a signal came: the last step is saved, and by now logged too."""
        if self._stop is not None:
            raise self._stop
        self._step = trainer.global_step
        # Lightning holds an epoch that it goes on with for unfinished business to its end, where it
        # would then leave out the step of a schedule that waits for a metric.
        trainer.fit_loop._restarting = False

    def on_train_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Writes if it is time, unless gradients are pending or a validation comes next."""
        if trainer.global_step == self._step or _ends_a_part(trainer, batch_idx):
            return
        self._middle = True
        if self._due(trainer):
            self._save(trainer)
        self._new_epoch = False

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Writes if it is time and epochs, of one step perhaps, have no middle to write in."""
        if not self._middle and self._due(trainer):
            self._save(trainer)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Writes the final state."""
        self._save(trainer)
        self._release()

    def on_exception(
        self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException
    ) -> None:
        """Gives the signals back."""
        self._release()

    def _due(self, trainer: L.Trainer) -> bool:
        due = self.steps is not None and trainer.global_step - self._written_step >= self.steps
        if trainer.world_size == 1:
            return due or self._signal is not None or self._old()
        if not due and trainer.global_step % _SYNC_STEPS and not self._new_epoch:
            return False
        self._signal, old = trainer.strategy.broadcast((self._signal, self._old()))
        return due or self._signal is not None or old

    def _old(self) -> bool:
        """Whether the last writing is too long ago."""
        limit = min(self.seconds, self.epoch_seconds) if self._new_epoch else self.seconds
        return time.monotonic() - self._written >= limit

    def _save(self, trainer: L.Trainer) -> None:
        folder = (
            Path(trainer.default_root_dir, "checkpoints")
            if self.folder is None
            else Path(self.folder)
        )
        trainer.save_checkpoint(folder / "last.ckpt", weights_only=False)  # with the optimiser
        self._written, self._written_step = time.monotonic(), trainer.global_step
        if self._signal is not None:
            self._stop = Interrupted(self._signal, trainer.global_step)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self._signal is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        self._signal = number

    def _release(self) -> None:
        for number, handler in self._handlers.items():
            if handler is not None:
                _handle(number, handler)
        self._handlers = {}


def _ends_a_part(trainer: L.Trainer, batch_idx: int) -> bool:
    """Whether the epoch's end or a validation follows this batch."""
    last = trainer.fit_loop.epoch_loop.batch_progress.is_last_batch  # of a stream: found ahead
    if last or batch_idx + 1 >= trainer.num_training_batches:
        return True
    every = trainer.val_check_batch
    if every is None or not trainer.enable_validation:
        return False
    whole_run = trainer.check_val_every_n_epoch is None
    batches = trainer.fit_loop.total_batch_idx if whole_run else batch_idx
    return bool((batches + 1) % every == 0)


def _handle(number: int, handler: Callable[[int, FrameType | None], Any] | Any) -> Any:
    """Sets a signal's handler and returns the one before; only the main thread may."""
    try:
        return signal.signal(number, handler)
    except ValueError:
        return None
