"""One decision for all processes of a run: the first takes it, the others hear of it.

Before a process group exists, so that every process can build its trainer for the same folder.
"""

import os
import time
from datetime import timedelta
from pathlib import Path

import torch.distributed as dist
from lightning.pytorch.utilities import rank_zero_only

from visionpe.errors import RunFolderError
from visionpe.lifetime import end_with_parent
from visionpe.writing import write

_VARIABLE = "VISIONPE_RUN_FOLDER"  # inherited by processes that a strategy launches
_SECONDS = 300


def is_first() -> bool:
    """Whether this process decides."""
    rank: int | None = getattr(rank_zero_only, "rank", None)
    return not rank


def tell(path: Path, parent: Path) -> None:
    """Tells the other processes of this run which folder it has.

    Args:
        path: the folder.
        parent: a folder that all of them see.
    """
    os.environ[_VARIABLE] = str(path)
    if _elastic():
        store = dist.TCPStore(*_master())  # type: ignore[attr-defined] # exported at run time only
        store.set(_key(), str(path))
    elif note := _note(parent):
        write(note, str(path))


def hear(parent: Path) -> Path:
    """The folder that the first process chose.

    Raises:
        RunFolderError: if nothing is heard of it for five minutes.
    """
    if path := os.environ.get(_VARIABLE):
        end_with_parent()  # that told it: others would wait for the killed first process for long
        return Path(path)
    if _elastic():
        timeout = timedelta(seconds=_SECONDS)
        store = dist.TCPStore(*_master(), timeout=timeout)  # type: ignore[attr-defined] # as above
        return Path(store.get(_key()).decode())
    note = _note(parent)
    end = time.monotonic() + _SECONDS
    while note is not None and time.monotonic() < end:
        if note.is_file():
            return Path(note.read_text(encoding="utf-8"))
        time.sleep(0.1)
    raise RunFolderError(
        "The first process of the run must say which folder it has, but did not. Start the run "
        "with `--trainer.devices`, with torchrun or with srun."
    )


def forget() -> None:
    """Ends the telling: this process may start another run."""
    os.environ.pop(_VARIABLE, None)


def _elastic() -> bool:
    """Whether torchrun started the processes; its agents then keep a store for them."""
    return "TORCHELASTIC_RUN_ID" in os.environ and int(os.environ.get("WORLD_SIZE", "1")) > 1


def _master() -> tuple[str, int]:
    return os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])


def _key() -> str:
    return f"visionpe/run_folder/{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}"


def _note(parent: Path) -> Path | None:
    """A file whose name only this start of a SLURM job step has."""
    parts = [
        os.environ.get(f"SLURM_{part}", "0") for part in ("JOB_ID", "STEP_ID", "RESTART_COUNT")
    ]
    several = int(os.environ.get("SLURM_NTASKS", "1")) > 1 and "SLURM_JOB_ID" in os.environ
    return parent / f".slurm-{'-'.join(parts)}" if several else None
