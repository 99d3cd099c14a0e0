"""What memory a module holds on to: its tensors, wherever they hang, and all tensors alive."""

import gc
from collections import Counter
from typing import Any

from torch import Tensor, nn


def held(module: nn.Module, *, learned: bool = True) -> dict[int, int]:
    """Bytes of each storage that a module holds: registered, in attributes, in containers.

    Args:
        module: is walked through its attributes and those of its attributes.
        learned: count the parameters and persistent buffers too.
    """
    found: dict[int, int] = {}
    _walk(module, found, set())
    if not learned:
        for value in module.state_dict().values():
            if isinstance(value, Tensor):
                found.pop(value.untyped_storage().data_ptr(), None)
    return found


def alive() -> int:
    """How many tensors Python holds."""
    gc.collect()
    kinds = Counter(map(type, gc.get_objects()))
    return sum(count for kind, count in kinds.items() if issubclass(kind, Tensor))


def _walk(thing: Any, found: dict[int, int], known: set[int], depth: int = 0) -> None:
    if id(thing) in known or depth > 8:
        return
    known.add(id(thing))
    if isinstance(thing, Tensor):
        if thing.device.type != "meta":
            storage = thing.untyped_storage()
            if storage.nbytes():
                found[storage.data_ptr()] = storage.nbytes()
        return
    if isinstance(thing, dict):
        parts = [*thing.keys(), *thing.values()]
    elif isinstance(thing, list | tuple | set | frozenset):
        parts = list(thing)
    elif isinstance(thing, nn.Module) or _plain(thing):
        parts = list(vars(thing).values())
    else:
        cells = getattr(thing, "__closure__", None) or ()
        parts = [cell.cell_contents for cell in cells if _filled(cell)]
    for part in parts:
        _walk(part, found, known, depth + 1)


def _plain(thing: Any) -> bool:
    """An object with attributes that is neither a class nor a function."""
    return hasattr(thing, "__dict__") and not isinstance(thing, type) and not callable(thing)


def _filled(cell: Any) -> bool:
    try:
        _ = cell.cell_contents
    except ValueError:
        return False
    return True
