"""The folder of a report: only new ones, empty ones and earlier reports are written to."""

import re
from collections.abc import Mapping
from pathlib import Path

from visionpe.errors import RunFolderError

PAGE = "index.html"
_OURS = re.compile(r'<meta name="visionpe-report" content="([^"]*)">')


def check_folder(folder: Path) -> None:
    """Makes sure that a report can be written into a folder without loss.

    Raises:
        RunFolderError: if it is a file, or holds files and is not an earlier report.
    """
    if folder.exists() and not folder.is_dir():
        raise RunFolderError(f"`--out` must be a folder, but {folder} is a file.")
    if folder.is_dir() and any(folder.iterdir()) and _before(folder) is None:
        raise RunFolderError(
            f"`--out` must be a new folder, an empty one or an earlier report, but {folder} holds "
            "other files. Choose another folder."
        )


def write(files: Mapping[str, bytes], folder: Path) -> Path:
    """Writes a report in place of an earlier one, the page last; returns the page's path.

    Args:
        files: as of `make`.
        folder: made if it is missing.

    Raises:
        RunFolderError: if the folder is not fit, or a file in it is of another making.
    """
    check_folder(folder)
    before = _before(folder) or []
    for name in files:
        if (folder / name).exists() and name not in (*before, PAGE):
            raise RunFolderError(
                f"The file {folder / name} is not of an earlier report, and would be overwritten. "
                "Move it, or choose another folder with `--out`."
            )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name in before:
            if name not in files:
                (folder / name).unlink(missing_ok=True)
        for name in (*(name for name in files if name != PAGE), PAGE):
            (folder / name).write_bytes(files[name])
    except OSError as error:
        raise RunFolderError(
            f"The report cannot be written: {error.strerror} ({error.filename or folder}). Choose "
            "another folder with `--out`."
        ) from error
    return folder / PAGE


def _before(folder: Path) -> list[str] | None:
    """The files of the report that a folder holds, its page aside; None if it holds none."""
    try:
        found = _OURS.search((folder / PAGE).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError):
        return None
    return (
        [name for name in found[1].split() if re.fullmatch(r"\w+\.(png|csv)", name)]
        if found
        else None
    )
