"""What a run is called, and what its data says of itself."""

from pathlib import Path
from typing import Any


def description(data: object) -> dict[str, Any] | None:
    """What a data module says of itself: `num_classes`, `channels` and `image_size`, if it does."""
    names = ("num_classes", "channels", "image_size")
    said = {name: getattr(data, name) for name in names if getattr(data, name, None) is not None}
    if "image_size" in said:
        said["image_size"] = list(said["image_size"])
    return said or None


def run_of(checkpoint: str | None) -> str | None:
    """The name of the runs that a checkpoint lies among, if it lies in a run's folder."""
    if checkpoint is None:
        return None
    folder = Path(checkpoint).resolve().parent.parent
    return folder.parent.name if (folder / "config.yaml").is_file() else None


def snake(class_path: str) -> str:
    """The name of a class in the style of a file name.

    >>> snake("visionpe.tasks.toy.CoordinateTask")
    'coordinate_task'
    """
    name = class_path.rpartition(".")[2]
    return "".join(f"_{c.lower()}" if c.isupper() and i else c.lower() for i, c in enumerate(name))
