"""The folder of a run: found again by the same command, held by one process, never overwritten.

`runs/NAME/<YYYYmmdd-HHMMSS>-<hash>/`, where the hash is of the configuration. A folder without
`done.json` that no living process holds is an unfinished run, and the same command goes on in it.
"""

import fcntl
import hashlib
import json
import os
import re
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Self

import yaml

from visionpe.cli import ranks
from visionpe.cli.checkpoints import clean, read
from visionpe.errors import RunFolderError
from visionpe.writing import write

_DONE = "done.json"
# What is there before the training begins, which writes `env.json` first.
_BEGINNING = (".lock", "config.yaml", "tensorboard")
# What does not change a run's results, and so may differ between a run and its continuation.
_OUTSIDE = ("run", "ckpt_path", "config")
_OF_ONE_CALL = ("resume", "changed")  # of `run`
_OUTSIDE_TRAINER = ("default_root_dir", "enable_progress_bar", "enable_model_summary")


@dataclass
class Run:
    """Where a run is kept.

    Args:
        dir: the folder of all runs.
        name: this kind of run; by default the name of the configuration file, else of the model.
        resume: an unfinished run's folder to go on in. (The same command finds it by itself.)
        changed: go on from a checkpoint although the configuration is not the one it was made
            with.
    """

    dir: str = "runs"
    name: str | None = None
    resume: str | None = None
    changed: bool = False


def digest(config: dict[str, Any]) -> str:
    """Eight hexadecimal digits of a configuration, the same for the same results.

    >>> digest({"run": {"dir": "a"}, "n": 1}) == digest({"run": {"dir": "b"}, "n": 1})
    True
    """
    kept = deciding(config)
    if config.get("ckpt_path") is not None:  # what a run begins from decides its results too
        kept["ckpt_path"] = config["ckpt_path"]
    text = json.dumps(kept, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def deciding(config: dict[str, Any]) -> dict[str, Any]:
    """The part of a configuration that decides the results."""
    kept = {key: value for key, value in config.items() if key not in _OUTSIDE}
    if isinstance(kept.get("trainer"), dict):
        trainer = kept["trainer"].items()
        kept["trainer"] = {key: value for key, value in trainer if key not in _OUTSIDE_TRAINER}
    return kept


def lasting(config: dict[str, Any], *, verb: str) -> dict[str, Any]:
    """A configuration without what is of one call alone, which another call must not repeat.

    Args:
        config: as plain data.
        verb: a checkpoint that is scored belongs to the run; one that a `fit` begins from does not.
    """
    kept = dict(config)
    if verb == "fit" or kept.get("ckpt_path") is None:
        kept.pop("ckpt_path", None)
    if isinstance(kept.get("run"), dict):
        kept["run"] = {key: kept["run"][key] for key in kept["run"] if key not in _OF_ONE_CALL}
    return kept


class RunFolder:
    """A folder and, in the first process, the lock on it.

    Attributes:
        path: the folder.
        resumed: whether an earlier process began the run.
    """

    def __init__(self, path: Path, *, resumed: bool, lock: IO[str] | None) -> None:
        self.path = path
        self.resumed = resumed
        self._lock = lock
        self._latest_before: str | None = None

    @classmethod
    def open(cls, run: Run, code: str, *, verb: str = "fit") -> Self:
        """The folder for a command: an unfinished run's, else a new one.

        Args:
            run: where; its `name` must be set.
            code: `digest` of the configuration.
            verb: of a verb other than `fit`, every run is a new one.

        Raises:
            RunFolderError: if it cannot be made.
        """
        parent = Path(run.dir) / str(run.name)
        if not ranks.is_first():  # nothing is written before all processes are there: `last` agrees
            return cls(ranks.hear(parent), resumed=True, lock=None)
        try:
            parent.mkdir(parents=True, exist_ok=True)
            if run.resume is not None:
                folder = cls._named(Path(run.resume))
            else:
                folder = (cls._unfinished(parent, code) if verb == "fit" else None) or cls._new(
                    parent, code if verb == "fit" else f"{verb}-{code}"
                )
            (folder.path / "checkpoints").mkdir(exist_ok=True)
            (folder.path / "figures").mkdir(exist_ok=True)
            clean(folder.path / "checkpoints")
            if verb == "fit" and run.resume is None:
                folder._latest_before = _target(parent / "latest")
                _link(parent / "latest", folder.path.name)
        except OSError as error:
            raise RunFolderError(
                f"The run folder cannot be made: {error.strerror} ({error.filename or parent}). "
                "Choose another place with `--run.dir`."
            ) from error
        ranks.tell(folder.path, parent)
        return folder

    @classmethod
    def _unfinished(cls, parent: Path, code: str) -> Self | None:
        pattern = re.compile(rf"\d{{8}}-\d{{6}}-{code}(-\d+)?")
        for path in sorted(parent.iterdir(), reverse=True):
            if not pattern.fullmatch(path.name) or (path / _DONE).exists():
                continue
            lock = _hold(path)
            if lock is None:
                continue
            if not (path / _DONE).exists():  # it may have ended between the look and the lock
                return cls(path, resumed=True, lock=lock)
            lock.close()
        return None

    @classmethod
    def _named(cls, path: Path) -> Self:
        path = path.resolve()
        why = "is no run's folder" if not (path / "config.yaml").is_file() else None
        why = why or ("is of a run that is done" if (path / _DONE).exists() else None)
        lock = None if why else _hold(path)
        if lock is None:
            raise RunFolderError(
                f"`run.resume` must be the folder of an unfinished run, but {path} "
                f"{why or 'is held by another process'}."
            )
        return cls(path, resumed=True, lock=lock)

    @classmethod
    def _new(cls, parent: Path, code: str) -> Self:
        stem = f"{time.strftime('%Y%m%d-%H%M%S')}-{code}"
        for count in range(1, 1000):
            path = parent / (stem if count == 1 else f"{stem}-{count}")
            try:
                path.mkdir()
            except FileExistsError:
                continue
            lock = _hold(path)
            if lock is not None:  # otherwise another process was quicker to go on in it
                return cls(path, resumed=False, lock=lock)
        raise FileExistsError(17, "too many runs in one second", str(parent))

    @property
    def last(self) -> Path | None:
        """The checkpoint to go on from, if one was written."""
        path = self.path / "checkpoints" / "last.ckpt"
        return path if path.is_file() else None

    def step(self) -> int:
        """The optimiser steps of that checkpoint; 0 without one.

        Raises:
            CheckpointError: if it is damaged.
        """
        return int(read(self.last, mmap=True)["global_step"]) if self.resumed and self.last else 0

    def begin(self, comment: str, config: dict[str, Any]) -> None:
        """Writes `config.yaml`, from which the run can be run again, unless it is there."""
        if ranks.is_first() and not (self.path / "config.yaml").exists():
            self.write("config.yaml", comment + yaml.safe_dump(config, sort_keys=False))

    def others(self) -> Iterator[Path]:
        """Folders of unfinished runs beside this one that no living process holds, newest first."""
        for path in sorted(self.path.parent.iterdir(), reverse=True):
            if path == self.path or path.is_symlink() or (path / _DONE).exists():
                continue
            if not (path / "checkpoints" / "last.ckpt").is_file():
                continue
            lock = _hold(path)
            if lock is not None:
                lock.close()
                yield path

    def write(self, name: str, content: Any) -> None:
        """Writes a file of text, or of JSON if `content` is no text, in one step.

        Raises:
            RunFolderError: if the disk is full, or the folder gone.
        """
        text = content if isinstance(content, str) else json.dumps(content, indent=2) + "\n"
        try:
            write(self.path / name, text)
        except OSError as error:
            raise RunFolderError(
                f"{self.path / name} cannot be written: {error.strerror}. "
                "Choose another place with `--run.dir`."
            ) from error

    def finish(self, content: dict[str, Any]) -> None:
        """Marks the run as done: no command touches the folder again."""
        self.write(_DONE, content)

    def discard(self) -> None:
        """Removes the folder if the run failed before it trained or made anything.

        `latest` points again at the run that it pointed at before.
        """
        if self._lock is None or self.resumed:
            return
        made = [path for path in self.path.rglob("*") if not path.is_dir()]
        if any(path.relative_to(self.path).parts[0] not in _BEGINNING for path in made):
            return
        shutil.rmtree(self.path, ignore_errors=True)
        latest = self.path.parent / "latest"
        if _target(latest) != self.path.name:
            return
        if self._latest_before and (self.path.parent / self._latest_before).is_dir():
            _link(latest, self._latest_before)
        else:
            latest.unlink()

    def close(self) -> None:
        """Lets go of the folder."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None
            ranks.forget()


def _hold(path: Path) -> IO[str] | None:
    """Takes the folder's lock for the life of this process, or nothing if another has it.

    A record lock: unlike that of `flock`, it is not inherited by forked workers of a loader, which
    may outlive a killed process by seconds.
    """
    file = (path / ".lock").open("a", encoding="utf-8")
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        return None
    return file


def _target(link: Path) -> str | None:
    """What a symbolic link points at, if it is one."""
    return os.readlink(link) if link.is_symlink() else None


def _link(link: Path, target: str) -> None:
    """Points a relative symbolic link at a sibling, in one step."""
    temporary = link.with_name(f".{link.name}.{os.getpid()}")
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(target)
    temporary.replace(link)
