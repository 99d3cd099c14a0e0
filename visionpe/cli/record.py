"""What a run says of itself: `env.json` first, lines while it runs, `done.json` at its end."""

import json
import os
import platform
import subprocess
import sys
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, final

import lightning as L

import visionpe
from visionpe.cli.carried import amend
from visionpe.cli.folder import RunFolder

_WALL, _CPU = time.monotonic(), time.process_time()  # of this process, torch loaded
_PACKAGES = ("torch", "torchvision", "timm", "lightning", "jsonargparse", "albumentations", "numpy")


def environment() -> dict[str, Any]:
    """The command, versions and machine of this process."""
    return {
        "command": ["visionpe", *sys.argv[1:]],
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "visionpe": visionpe.__version__,
        "git": _commit(),
        "python": platform.python_version(),
        "packages": {name: found for name in _PACKAGES if (found := _version(name))},
        "platform": platform.platform(),
        "cpus": os.cpu_count(),
    }


@final
class Record(L.Callback):
    """Keeps the time that a run took, over all its parts, and marks its end.

    Time that was spent on steps lost in a kill is not counted.

    Args:
        folder: the run's folder.
        config: the whole configuration as plain data; its model and data go into each
            checkpoint.
    """

    def __init__(self, folder: RunFolder, config: dict[str, Any]) -> None:
        self.folder = folder
        self.config = config
        self._before = {"wall_seconds": 0.0, "cpu_seconds": 0.0}

    def state_dict(self) -> dict[str, Any]:
        """Wall and CPU seconds of the run so far."""
        return {
            "wall_seconds": self._before["wall_seconds"] + time.monotonic() - _WALL,
            "cpu_seconds": self._before["cpu_seconds"] + time.process_time() - _CPU,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Goes on counting from an earlier part."""
        self._before = state_dict

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Writes `env.json`; a run that goes on is added to it, with the step it goes on from."""
        if not trainer.is_global_zero:
            return
        now, first = environment(), _read(self.folder.path / "env.json")
        if first is not None:
            part = {"step": trainer.global_step, **now}
            now = {**first, "resumed": [*first.get("resumed", []), part]}
        self.folder.write("env.json", now)

    def on_load_checkpoint(
        self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Has the other callbacks remember what is true of a run that goes on in its folder."""
        amend(checkpoint, trainer)

    def on_save_checkpoint(
        self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Says what made the checkpoint."""
        checkpoint["visionpe"] = {
            "version": visionpe.__version__,
            "model": self.config.get("model"),
            "data": self.config.get("data"),
        }

    def finish(self, trainer: L.Trainer) -> None:
        """Writes `done.json`."""
        self.folder.finish(
            {
                "metrics": {name: float(value) for name, value in trainer.callback_metrics.items()},
                "steps": trainer.global_step,
                "epochs": trainer.current_epoch,
                "parameters": sum(
                    p.numel() for p in trainer.lightning_module.parameters() if p.requires_grad
                ),
                **{name: round(value, 3) for name, value in self.state_dict().items()},
            }
        )


@final
class EpochLines(L.Callback):
    """One line per epoch and validation: for files and pipes, where a bar would be a mess."""

    def __init__(self) -> None:
        self._before: set[str] = set()
        self._validated: set[str] | None = None  # the names that validation logs, once known

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Prints the epoch's metrics."""
        names = set(trainer.callback_metrics) - (self._validated or set())
        self._print(trainer, f"epoch {trainer.current_epoch}", names)

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Notes what there is before the first validation."""
        if self._validated is None:
            self._before = set(trainer.callback_metrics)

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Prints the validation's metrics."""
        if trainer.sanity_checking or trainer.state.fn != "fit":
            return
        if self._validated is None:
            self._validated = set(trainer.callback_metrics) - self._before
        self._print(trainer, "validation", self._validated)

    @staticmethod
    def _print(trainer: L.Trainer, what: str, names: set[str]) -> None:
        if trainer.is_global_zero:
            metrics = {k: v for k, v in trainer.callback_metrics.items() if k in names}
            text = "  ".join(f"{name} {float(value):.4g}" for name, value in metrics.items())
            print(f"{what}  step {trainer.global_step}  {text}".rstrip(), flush=True)


def _read(path: Path) -> dict[str, Any] | None:
    """What a JSON file holds; None if there is none, or a damaged one."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _commit() -> str | None:
    """The commit of the working folder, with a `+` if files were changed since."""
    try:
        done = subprocess.run(
            ["git", "describe", "--always", "--abbrev=40", "--exclude=*", "--dirty=+"],
            capture_output=True,
            text=True,
            check=True,
            timeout=10,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
