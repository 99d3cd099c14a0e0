"""What callbacks remember in a checkpoint, made true for the folder that goes on."""

from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import ModelCheckpoint

_PATHS = ("best_model_path", "kth_best_model_path", "last_model_path")


def amend(checkpoint: dict[str, Any], trainer: L.Trainer) -> None:
    """Completes what Lightning restores when a run goes on, in place.

    A `ModelCheckpoint` would forget its best scores if the run's folder was moved, and overwrite
    the best checkpoint by a worse one.

    Args:
        checkpoint: the content of the file.
        trainer: with callbacks that are set up, so that they know their folders.
    """
    states = checkpoint.get("callbacks") or {}
    for callback in trainer.callbacks:  # type: ignore[attr-defined] # of the trainer's making
        if isinstance(callback, ModelCheckpoint) and callback.dirpath:
            state = states.get(callback.state_key)
            if state:
                states[callback.state_key] = moved(state, Path(callback.dirpath))


def moved(state: dict[str, Any], folder: Path) -> dict[str, Any]:
    """A `ModelCheckpoint`'s state with the paths of another folder, if its files lie there.

    >>> moved({"dirpath": "/nowhere", "best_k_models": {"/nowhere/a.ckpt": 1.0}}, Path("/gone"))
    {'dirpath': '/nowhere', 'best_k_models': {'/nowhere/a.ckpt': 1.0}}
    """
    models = state.get("best_k_models") or {}
    here = {str(folder / Path(path).name): score for path, score in models.items()}
    if not here or not all(Path(path).is_file() for path in here):
        return state
    paths = {
        name: str(folder / Path(state[name]).name) for name in _PATHS if state.get(name)
    }  # an empty path says that there is none
    return {**state, "dirpath": str(folder), "best_k_models": here, **paths}
