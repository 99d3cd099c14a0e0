"""Files written in one step: whole, or as they were before."""

import os
from pathlib import Path


def write(path: Path, content: str | bytes) -> Path:
    """Writes a file beside its place, and moves it there when it is safely on disk.

    Args:
        path: replaced if it is there; its folder must be.
        content: text is written as UTF-8.

    Raises:
        OSError: if it cannot be written; what was there is left, and nothing beside it.
    """
    data = content.encode() if isinstance(content, str) else content
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    return path
