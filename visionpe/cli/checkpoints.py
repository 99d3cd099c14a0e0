"""Checkpoint files: written whole or not at all, read without running what is in them."""

import os
import pickle  # noqa: TID251 # for its exception alone
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, final

import torch
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO

from visionpe.cli import manifest
from visionpe.errors import CheckpointError

_TEMPORARY = ".part"
_SHOWN = 4  # parameters named when weights do not fit
_TRAIN = (
    "Give the path of a file that `visionpe fit` wrote, such as "
    "runs/NAME/latest/checkpoints/best.ckpt."
)


def read(path: str | Path, *, map_location: Any = "cpu", mmap: bool = False) -> dict[str, Any]:
    """The content of a checkpoint, plain data and tensors only.

    Args:
        path: a `.ckpt` file.
        map_location: where its tensors go.
        mmap: leave the tensors on disk until they are used; checksums are then not checked.

    Raises:
        CheckpointError: if the file is missing, damaged, holds objects other than tensors and
            plain data, or is not the checkpoint of a training run.
    """
    path = Path(path)
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "does not exist"
        raise CheckpointError(f"The checkpoint {path} {what}. {_TRAIN}")
    if path.stat().st_size == 0:
        raise _damaged(path, "it is empty")
    try:
        if not mmap and (why := manifest.fault(path)):
            raise _damaged(path, why)
        if zipfile.is_zipfile(path) and not mmap:
            with zipfile.ZipFile(path) as archive:
                member = archive.testzip()  # torch does not compare the checksums
            if member is not None:
                raise _damaged(path, f"the checksum of {member} does not match")
        checkpoint = torch.load(path, map_location=map_location, weights_only=True, mmap=mmap)
    except PermissionError as error:
        raise CheckpointError(f"The checkpoint {path} cannot be read: {error.strerror}.") from error
    except pickle.UnpicklingError as error:
        if not zipfile.is_zipfile(path):
            raise _damaged(path, "it is no file of torch") from error
        raise CheckpointError(
            f"The checkpoint {path} holds more than tensors and plain data, and is refused: "
            f"loading it could run code. {_TRAIN}"
        ) from error
    except (EOFError, RuntimeError, OSError, ValueError, zipfile.BadZipFile) as error:
        raise _damaged(path, "it is cut short or no file of torch") from error
    if not isinstance(checkpoint, dict) or "state_dict" not in checkpoint:
        keys = ", ".join(map(str, list(checkpoint)[:4])) if isinstance(checkpoint, dict) else ""
        found = f"the keys {keys}, ..." if keys else f"a {type(checkpoint).__name__}"
        raise CheckpointError(
            f"The checkpoint {path} must hold a `state_dict`, but holds {found}: it is not of a "
            f"training run. {_TRAIN}"
        )
    return checkpoint


def require_optimiser(path: Path) -> None:
    """Refuses to go on from a checkpoint of weights alone.

    Raises:
        CheckpointError: if it holds no state of the optimiser, or cannot be read.
    """
    if "optimizer_states" not in read(path, mmap=True):
        raise CheckpointError(
            f"The checkpoint {path} must hold the optimiser's state to be gone on from, but holds "
            "weights alone. Use another checkpoint of the run with `--ckpt_path`, or remove the "
            "file to start that run again."
        )


def _damaged(path: Path, why: str) -> CheckpointError:
    return CheckpointError(
        f"The checkpoint {path} is damaged: {why}. Use another checkpoint of the run with "
        "`--ckpt_path`, or remove the file to start that run again."
    )


def misfit(path: object, report: str) -> CheckpointError:
    """The error of weights that a model cannot take.

    Args:
        path: the checkpoint.
        report: what torch says, one line per parameter.
    """
    lines = [line.strip() for line in report.splitlines()[1:] if line.strip()]
    more = f"\n  and {len(lines) - _SHOWN} more" if len(lines) > _SHOWN else ""
    shown = "".join(f"\n  {line}" for line in lines[:_SHOWN])
    return CheckpointError(
        f"The weights of the checkpoint {path} do not fit the model. Leave out the options that "
        f"change its size, or train anew:{shown}{more}"
    )


@final
class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes a checkpoint beside its place and moves it there when it is safely on disk.

    Its SHA-256 goes into `manifest.json` beside it; see `visionpe.cli.manifest`.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None
    ) -> None:
        """Replaces the file at `path` in one step: a kill leaves the old one or the new one.

        Raises:
            CheckpointError: if the disk is full or the folder cannot be written.
        """
        path = Path(path)
        temporary = path.with_name(f".{path.name}.{os.getpid()}{_TEMPORARY}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with temporary.open("wb") as file:
                torch.save(checkpoint, file)
                file.flush()
                os.fsync(file.fileno())
            digest = manifest.sha256(temporary)
            manifest.expect(path, digest)
            temporary.replace(path)
            _sync_folder(path.parent)
            manifest.settle(path, digest)
        # torch's writer turns a full disk into a RuntimeError; a ValueError is of the manifest.
        except (OSError, RuntimeError, ValueError) as error:
            temporary.unlink(missing_ok=True)
            raise CheckpointError(
                f"The checkpoint {path} cannot be written: {error}. The one before it is "
                "kept. Free some space, or choose another folder with `--run.dir`."
            ) from error

    def remove_checkpoint(self, path: str | Path) -> None:
        """Removes a file that `ModelCheckpoint` keeps no longer."""
        super().remove_checkpoint(path)
        manifest.drop(Path(path))

    def load_checkpoint(
        self,
        path: str | Path,
        map_location: Callable[..., Any] | None = None,
        weights_only: bool | None = True,
    ) -> dict[str, Any]:
        """As `read`, whatever `weights_only` says."""
        return read(path, map_location=map_location or "cpu")


def clean(folder: Path) -> None:
    """Removes what dead processes left half written in a folder that this process holds alone."""
    for path in folder.glob(f".*{_TEMPORARY}"):
        path.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    """Makes the new name durable too, where folders can be synchronised."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(descriptor)
    except OSError:
        pass
    finally:
        os.close(descriptor)
