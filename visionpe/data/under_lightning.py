"""What Lightning 2 does for torch's loaders alone, or not quite, done for the loaders here.

A resumed run goes on where it was. Of a loader without a length Lightning takes one batch ahead:
the place in a checkpoint would be one batch late, and a resumed run would take that batch before it
knows its epoch, and before it has read its checkpoint if a task asks for
`estimated_stepping_batches`. An epoch that was saved after its last batch would be taken for
unfinished.

`overfit_batches` takes the same samples in each epoch.
"""

from typing import Any, final

import lightning as L
from lightning.pytorch.trainer.states import TrainerFn

from visionpe.data.loader import ResumableLoader


@final
class ExactResume(L.Callback):
    """Saves the place behind the batches that were trained on, and goes on there.

    The data modules of images add it to their trainer. A `Trainer` that is given a loader of
    `visionpe.data` itself must be given this too.
    """

    def __init__(self) -> None:
        self._places: list[dict[str, int]] = []

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Forgets the checkpoint of a run before."""
        self._places = []

    def on_save_checkpoint(
        self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Counts no batch that was taken ahead."""
        taken = trainer.fit_loop.epoch_loop.batch_progress.current.ready
        for _, place in zip(_loaders(trainer), _places(checkpoint), strict=False):
            place["batches"] = min(place["batches"], taken)

    def on_load_checkpoint(
        self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Keeps the place until training starts."""
        if trainer.state.fn == TrainerFn.FITTING:
            self._places = _places(checkpoint)

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Puts the loaders in their place and takes the first batch anew."""
        places, self._places = self._places, []
        loaders = _loaders(trainer)
        if not places or len(places) != len(loaders):
            return
        loop: Any = trainer.fit_loop
        epoch = loop.epoch_progress.current.processed
        for loader, place in zip(loaders, places, strict=True):
            loader.load_state_dict(place)
            loader.sampler.set_epoch(epoch)
        if places[0]["epoch"] < epoch:
            _begin_epoch(loop)
        fetcher = loop._data_fetcher
        if fetcher is not None and fetcher.length is None:
            iter(fetcher)


def overfits(data: L.LightningDataModule) -> bool:
    """Whether the trainer asks for the same training samples in each epoch."""
    trainer: Any = data.trainer
    return trainer is not None and bool(trainer.overfit_batches > 0)


def resume_exactly(data: L.LightningDataModule) -> None:
    """Adds `ExactResume` to the trainer, if there is one, once."""
    trainer: Any = data.trainer
    callbacks: list[Any] = [] if trainer is None else trainer.callbacks
    if not any(isinstance(callback, ExactResume) for callback in callbacks):
        callbacks.append(ExactResume())


def _loaders(trainer: L.Trainer) -> list[ResumableLoader]:
    """The training loaders, if all of them can be put in their place."""
    combined = trainer.fit_loop._combined_loader
    loaders = [] if combined is None else combined.flattened
    return loaders if all(isinstance(loader, ResumableLoader) for loader in loaders) else []


def _places(checkpoint: dict[str, Any]) -> list[dict[str, int]]:
    """The states of the training loaders in a checkpoint."""
    places: list[dict[str, int]] = checkpoint["loops"]["fit_loop"]["state_dict"].get(
        "combined_loader", []
    )
    return places


def _begin_epoch(loop: Any) -> None:
    """Makes the fit loop start the epoch after one that was saved when all its batches were done.

    Lightning does so by itself for some of the places that a checkpoint can be written in, and
    for loaders with a length.
    """
    inner = loop.epoch_loop
    if inner.restarted_on_train_batch_end:  # the step was done, but not counted yet
        inner.batch_progress.increment_completed()
        inner._batches_that_stepped += 1
    inner.restarting = False
    inner.reset_restart_stage()
    loop.reset_restart_stage()
    for counts in (loop.epoch_progress.current, loop.epoch_progress.total):
        counts.completed = counts.processed
