"""`manifest.json` beside checkpoints: the SHA-256 of each, so that a flipped bit does not pass.

A file's new digest is noted before the file takes its place, and the old one is dropped after: a
kill in between leaves both, and either file is good.
"""

import hashlib
import json
from pathlib import Path

from visionpe.writing import write

NAME = "manifest.json"


def sha256(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def expect(path: Path, digest: str) -> None:
    """Notes that a file may from now on have this digest too.

    Raises:
        OSError: if the manifest cannot be written; it is then as before.
    """
    noted = _read(path.parent)
    _write(path.parent, {**noted, path.name: [digest, *noted.get(path.name, [])]})


def settle(path: Path, digest: str) -> None:
    """Notes that a file has this digest, and no other.

    Raises:
        OSError: if the manifest cannot be written; it is then as before.
    """
    _write(path.parent, {**_read(path.parent), path.name: [digest]})


def drop(path: Path) -> None:
    """Forgets a file that is no more."""
    noted = _read(path.parent)
    if noted.pop(path.name, None) is not None:
        _write(path.parent, noted)


def fault(path: Path) -> str | None:
    """What speaks against a file, in words; None: nothing, or it is not in a manifest."""
    try:
        noted = _read(path.parent).get(path.name)
    except ValueError:
        return f"{path.parent / NAME}, which should say its SHA-256, cannot be read"
    if noted is None or sha256(path) in noted:
        return None
    return f"its SHA-256 is not the one in {path.parent / NAME}"


def _read(folder: Path) -> dict[str, list[str]]:
    try:
        noted = json.loads((folder / NAME).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except json.JSONDecodeError as error:
        raise ValueError(f"{folder / NAME} is damaged") from error
    if not isinstance(noted, dict) or not all(isinstance(v, list) for v in noted.values()):
        raise ValueError(f"{folder / NAME} is damaged")
    return noted


def _write(folder: Path, noted: dict[str, list[str]]) -> None:
    write(folder / NAME, json.dumps(noted, indent=1, sort_keys=True))
