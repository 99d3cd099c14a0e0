"""A result as a folder of files: the page, the scores, the pictures; all of them or none."""

import csv
import io
import json
import math
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from visionpe.errors import RunFolderError
from visionpe.plots import png
from visionpe.probing.page import page_of, pictures_of
from visionpe.probing.result import ProbeResult

PAGE = "index.html"
_DPI = 200


def save(result: ProbeResult, folder: str | Path) -> list[Path]:
    """Writes `result.json`, the scores as CSV, pictures as PNG and the page, all at once.

    The folder appears when all of it is written, or not at all.

    Args:
        result: of `visionpe.probe`.
        folder: a new one, or an empty one.

    Returns:
        The files, the page first.

    Raises:
        RunFolderError: if the folder holds files, is a file, or cannot be made.
    """
    folder = Path(folder)
    check_folder(folder)
    place = folder.resolve()  # "." has no name and no folder above it
    pictures = pictures_of(result)
    files = {
        "result.json": json.dumps(_plain(result.to_dict()), indent=1, allow_nan=False).encode(),
        "scores.csv": _csv([_flat(mean) for mean in result.means]),
        "seeds.csv": _csv([_flat(row) for row in result.rows]),
        **{f"{name}.png": png(figure, dpi=_DPI) for name, (figure, _) in pictures.items()},
    }
    files = {PAGE: page_of(result, pictures, sorted(files)).encode(), **files}
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        beside = place.with_name(f".{place.name}-{os.getpid()}")
        beside.mkdir()
        try:
            for name, content in files.items():
                (beside / name).write_bytes(content)
            os.replace(beside, place)  # takes the place of an empty folder, and of no other
        finally:
            shutil.rmtree(beside, ignore_errors=True)
    except OSError as error:
        raise RunFolderError(
            f"The result cannot be written to {folder}: {error.strerror or error}. Choose another "
            "folder."
        ) from error
    return [folder / name for name in files]


def check_folder(folder: Path) -> None:
    """Makes sure that nothing would be lost by writing a result into a folder.

    Raises:
        RunFolderError: if it is a file or holds files.
    """
    if folder.exists() and not folder.is_dir():
        raise RunFolderError(f"`folder` must be a folder, but {folder} is a file.")
    if folder.is_dir() and any(folder.iterdir()):
        raise RunFolderError(
            f"`folder` must be a new or an empty folder, but {folder} holds files. Choose another, "
            "or remove it first."
        )


def _flat(record: Any) -> dict[str, Any]:
    """A row with each interval as two columns."""
    flat: dict[str, Any] = {}
    for key, value in vars(record).items():
        if isinstance(value, tuple):
            flat[f"{key}_low"], flat[f"{key}_high"] = value
        else:
            flat[key] = value
    return {k: f"{v:.6g}" if isinstance(v, float) else v for k, v in flat.items()}


def _csv(rows: Sequence[dict[str, Any]]) -> bytes:
    file = io.StringIO()
    writer = csv.DictWriter(file, rows[0], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return file.getvalue().encode()


def _plain(value: Any) -> Any:
    """What JSON can hold: no number becomes null, and what is unknown becomes text."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return float(f"{value:.6g}") if math.isfinite(value) else None
    return value if value is None or isinstance(value, (bool, int, str)) else str(value)
