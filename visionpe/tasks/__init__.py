"""Tasks: thin Lightning modules over the package's models, and the callbacks they share.

The names below are loaded on first use: the callbacks need neither timm nor torchvision.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from visionpe.tasks.classification import Classification
    from visionpe.tasks.position_probe import PositionProbe

_HOME = {"Classification": "classification", "PositionProbe": "position_probe"}

__all__ = ["Classification", "PositionProbe"]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'visionpe.tasks' has no attribute {name!r}")
    value = getattr(import_module(f"visionpe.tasks.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME])
