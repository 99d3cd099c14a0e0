"""What a run has unless the user configures it: loggers, checkpoints, exact resume, a record."""

import os
import sys
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import ModelCheckpoint, ProgressBar, Timer
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.plugins.io import CheckpointIO

from visionpe.cli import checkpoints
from visionpe.cli.folder import RunFolder
from visionpe.cli.metrics import MetricsFile
from visionpe.cli.predictions import Predictions
from visionpe.cli.record import EpochLines, Record
from visionpe.cli.timing import TimeLimit
from visionpe.errors import ConfigError
from visionpe.tasks.callbacks import LastCheckpoint, ReseedEachStep


def require_processes(config: dict[str, Any]) -> None:
    """Refuses more processes than a CPU has cores: each takes memory as a whole run does.

    Args:
        config: the trainer's arguments.

    Raises:
        ConfigError: if there are more.
    """
    accelerator, devices = config.get("accelerator"), str(config.get("devices"))
    here = accelerator == "cpu" or (
        accelerator in (None, "auto") and not torch.accelerator.is_available()
    )
    cores = os.cpu_count() or 1
    if here and devices.isdecimal() and int(devices) > max(cores, 2):
        raise ConfigError(
            "`trainer.devices` counts processes where there is no GPU: it must be at most "
            f"{max(cores, 2)} on {cores} cores, but is {devices}."
        )


def fill(
    config: dict[str, Any],
    *,
    model: L.LightningModule,
    folder: RunFolder | None,
    resolved: dict[str, Any],
    callbacks: list[L.Callback],
    verb: str,
) -> None:
    """Completes the trainer's arguments, in place.

    Args:
        config: the trainer's arguments.
        model: may name what to keep the best checkpoint by: `monitor` and `monitor_mode`.
        folder: the run's folder; without one, nothing is written.
        resolved: the whole configuration as plain data.
        callbacks: of the command line itself.
        verb: only `fit` has checkpoints.

    Raises:
        ConfigError: if the run could not go on exactly with a callback.
    """
    given = config.get("callbacks") or []
    given = [*(given if isinstance(given, list) else [given]), *callbacks]
    config["callbacks"] = given
    seed = resolved.get("seed_everything")
    if not _has(given, ReseedEachStep):
        given.append(ReseedEachStep(seed if isinstance(seed, int) else 0))
    if verb == "fit":
        _require_exact(given)
    _progress(config, given)
    if folder is None:
        config["logger"] = False
        return
    config["default_root_dir"] = str(folder.path)
    step = folder.step()
    if config.get("logger") in (None, True):
        board = TensorBoardLogger(
            folder.path, name="tensorboard", version="", purge_step=step or None
        )
        config["logger"] = [MetricsFile(folder.path, steps=step), board]
    plugins = config.get("plugins") or []
    plugins = plugins if isinstance(plugins, list) else [plugins]
    if not _has(plugins, CheckpointIO):
        config["plugins"] = [*plugins, checkpoints.AtomicCheckpointIO()]
    if verb == "predict":
        given.append(Predictions(folder.path))
    if verb != "fit":
        return
    given.append(Record(folder, resolved))
    if config.get("enable_checkpointing") is False:
        return
    target = folder.path / "checkpoints"
    monitor = getattr(model, "monitor", None)
    if monitor is not None and not _has(given, ModelCheckpoint):
        given.append(
            ModelCheckpoint(
                target,
                filename="best",
                monitor=monitor,
                mode=getattr(model, "monitor_mode", "min"),
                auto_insert_metric_name=False,
                enable_version_counter=False,
            )
        )
    if not _has(given, LastCheckpoint):
        given.append(LastCheckpoint())
    if config.get("max_time") is not None:
        given.append(TimeLimit(config["max_time"]))
        config["max_time"] = None


def require_own_folder(config: dict[str, Any]) -> None:
    """Refuses a place for checkpoints outside the run's folder, where runs would overwrite theirs.

    Raises:
        ConfigError: if the trainer is given one.
    """
    place = config.get("default_root_dir")
    if place is not None:
        raise ConfigError(
            f"`trainer.default_root_dir` must not be given, but is {str(place)!r}: all that a run "
            f"writes lies in a folder of its own. `--run.dir {place}` chooses where that is made."
        )


def _require_exact(given: list[Any]) -> None:
    """Refuses callbacks of Lightning's with which a run would not go on exactly."""
    for callback in given:
        if isinstance(callback, ModelCheckpoint) and callback.save_last:
            raise ConfigError(
                f"`save_last` of ModelCheckpoint must not be given, but is {callback.save_last!r}: "
                "the run keeps checkpoints/last.ckpt itself, to go on from it exactly. Leave it "
                "out."
            )
        if isinstance(callback, Timer) and callback.time_remaining() is not None:
            raise ConfigError(
                f"`duration` of Timer must not be given, but is {callback.time_remaining():g} s: "
                "it ends an epoch in its middle, and the run could not go on. Use "
                "`--trainer.max_time`."
            )


def _progress(config: dict[str, Any], given: list[Any]) -> None:
    """A bar and a summary on a terminal, a line per epoch elsewhere."""
    if _has(given, ProgressBar) or config.get("enable_progress_bar") is not None:
        return
    if not sys.stdout.isatty():
        config["enable_progress_bar"] = False
        if config.get("enable_model_summary") is None:
            config["enable_model_summary"] = False
        given.append(EpochLines())


def _has(items: list[Any], kind: type) -> bool:
    return any(isinstance(item, kind) for item in items)
