"""The folder of a run as `visionpe fit` leaves it: what its files say, and the trained task."""

import csv
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning as L
import yaml

from visionpe.errors import RunFolderError

_GIVE = "Give the folder of a run of `visionpe fit`, such as runs/NAME/latest."


@dataclass(frozen=True)
class Files:
    """What lies in the folder of a run.

    Attributes:
        path: the folder, links resolved.
        config: the configuration, and `config_text` its file.
        environment: command, versions and machine; empty if they were not kept.
        done: whether the run came to its end.
        metrics: the rows of `metrics.csv`, without the empty fields.
    """

    path: Path
    config: dict[str, Any]
    config_text: str
    environment: dict[str, Any]
    done: bool
    metrics: list[dict[str, float]]

    @property
    def checkpoint(self) -> Path:
        """The best checkpoint, or the last one if none is the best.

        Raises:
            RunFolderError: if there is neither.
        """
        for name in ("best", "last"):
            path = self.path / "checkpoints" / f"{name}.ckpt"
            if path.is_file():
                return path
        raise RunFolderError(
            f"The run {self.path} must have a checkpoint, but has none yet. Wait for its first "
            "validation, or start it again with the same command."
        )


@dataclass(frozen=True)
class Run:
    """A run whose task is made and holds the weights of a checkpoint.

    Attributes:
        files: of its folder.
        task: in evaluation mode.
        checkpoint: where the weights are from.
        epoch, step: how far the checkpoint is, in whole epochs and optimiser steps.
        seconds: CPU time of the training up to there, without validation.
    """

    files: Files
    task: L.LightningModule
    checkpoint: Path
    epoch: int
    step: int
    seconds: float


def read_files(path: str | Path, *, metrics: bool = True) -> Files:
    """Reads the folder of a run, checkpoints aside.

    Args:
        path: the folder or a link to it.
        metrics: read what was measured, too; a run that ended before it measured has nothing.

    Raises:
        RunFolderError: if it is missing, is no run's folder, or has a damaged file.
    """
    path = Path(path)
    if not path.is_dir():
        what = "is a file" if path.exists() else "does not exist"
        raise RunFolderError(f"The run {path} must be a folder, but {what}. {_GIVE}")
    if not (path / "config.yaml").is_file():
        near = next((f" Did you mean {p}?" for p in (path / "latest",) if p.is_dir()), "")
        raise RunFolderError(
            f"The folder {path} must hold a run, but has no config.yaml.{near} {_GIVE}"
        )
    text = _text(path / "config.yaml")
    try:
        config = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise RunFolderError(
            f"The file {path / 'config.yaml'} must be YAML, but is not."
        ) from error
    if not isinstance(config, dict) or not isinstance(config.get("model"), dict):
        raise RunFolderError(
            f"The file {path / 'config.yaml'} must name a model, but does not. {_GIVE}"
        )
    environment = _json(path / "env.json") if (path / "env.json").exists() else {}
    return Files(
        path.resolve(),
        config,
        text,
        environment,
        (path / "done.json").exists(),
        _metrics(path / "metrics.csv") if metrics else [],
    )


def names(runs: Sequence[Files]) -> list[str]:
    """A name for each run: that of its configuration, with the folder's where names are equal."""
    plain = [str((run.config.get("run") or {}).get("name") or run.path.name) for run in runs]
    return [
        name if plain.count(name) == 1 else f"{name} {run.path.name}"
        for name, run in zip(plain, runs, strict=True)
    ]


def _metrics(path: Path) -> list[dict[str, float]]:
    """The rows; a last line that a kill cut short is left out."""
    if not path.is_file():
        raise RunFolderError(
            f"The run {path.parent} must have a metrics.csv, but has none. {_GIVE}"
        )
    text = _text(path)
    lines = text[: text.rfind("\n") + 1].splitlines()
    if not lines or "step" not in lines[0].split(","):
        raise RunFolderError(
            f"The file {path} must begin with the names of its columns, `step` among them, but "
            "does not. Restore it, or train anew."
        )
    rows = []
    for number, row in enumerate(csv.DictReader(lines), start=2):
        try:
            rows.append({name: float(value) for name, value in row.items() if value})
        except (TypeError, ValueError) as error:
            raise RunFolderError(
                f"Line {number} of the file {path} must hold a number in each of "
                f"{len(lines[0].split(','))} columns, but does not. Restore it, or train anew."
            ) from error
    return rows


def _json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(_text(path))
    except json.JSONDecodeError as error:
        raise RunFolderError(f"The file {path} must be JSON, but is not.") from error
    if not isinstance(content, dict):
        raise RunFolderError(f"The file {path} must hold an object of JSON, but does not.")
    return content


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise RunFolderError(f"The file {path} must be text, but is not.") from error
    except OSError as error:
        raise RunFolderError(f"The file {path} cannot be read: {error.strerror}.") from error
