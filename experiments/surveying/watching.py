"""Whether what is attached acts: each encoding at its site, and the first of them on the model."""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from visionpe import AttentionEncoding, Plan


@contextmanager
def first_outputs(model: nn.Module, modules: set[str]) -> Iterator[dict[str, Tensor]]:
    """Inside, what each module returned first in each forward, by name."""
    found: dict[str, Tensor] = {}

    def keep(name: str, module: nn.Module, args: Any, output: Any) -> None:
        first = output[0] if isinstance(output, tuple | list) and output else output
        if name not in found and isinstance(first, Tensor):
            found[name] = first.clone()

    handles = [
        model.get_submodule(name).register_forward_hook(partial(keep, name)) for name in modules
    ]
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()


def idle_sites(plan: Plan, run: Callable[[], Any]) -> list[str]:
    """The modules whose encodings did nothing while the model ran.

    Sites of one cell are left out: the offset of a cell from itself is zero.
    """
    acted: set[int] = set()
    handles: list[Any] = []
    for number, entry in enumerate(plan.entries):
        encoding = entry.encoding
        note = partial(acted.add, number)
        if isinstance(encoding, AttentionEncoding):
            _watch_attention(encoding, note)
        else:
            handles += _watch_map(encoding, note)
    try:
        run()
    finally:
        for handle in handles:
            handle.remove()
        for entry in plan.entries:
            for name in ("bias", "rotate"):
                vars(entry.encoding).pop(name, None)
    return [
        entry.site.module
        for number, entry in enumerate(plan.entries)
        if number not in acted and not _one_cell(entry.site.lattice)
    ]


def _one_cell(lattice: Any) -> bool:
    return lattice is not None and lattice.h * lattice.w == 1


def _watch_attention(encoding: AttentionEncoding, note: Callable[[], None]) -> None:
    bias, rotate = encoding.bias, encoding.rotate

    def watched_bias(*args: Any, **kwargs: Any) -> Any:
        result = bias(*args, **kwargs)
        if result is not None and bool(result.any()):
            note()
        return result

    def watched_rotate(q: Tensor, k: Tensor, *args: Any) -> Any:
        result = rotate(q, k, *args)
        if not (torch.equal(result[0], q) and torch.equal(result[1], k)):
            note()
        return result

    vars(encoding).update(bias=watched_bias, rotate=watched_rotate)


def _watch_map(encoding: nn.Module, note: Callable[[], None]) -> list[Any]:
    before: list[Tensor] = []

    def enter(module: nn.Module, args: Any) -> None:
        before.append(args[0].clone())

    def leave(module: nn.Module, args: Any, output: Tensor) -> None:
        if not torch.equal(output, before.pop()):
            note()

    tokens = getattr(encoding, "tokens", None)
    if tokens is not None:  # called by itself, without hooks

        def watched(x: Tensor, *args: Any) -> Tensor:
            y: Tensor = tokens(x, *args)
            if not torch.equal(x, y):
                note()
            return y

        vars(encoding)["tokens"] = watched
    return [encoding.register_forward_pre_hook(enter), encoding.register_forward_hook(leave)]


class Calls(TorchFunctionMode):
    """Counts the calls of attention, and those that pad a map, that a forward makes.

    Attributes:
        attention, pads: how many of each function.
    """

    def __init__(self) -> None:
        super().__init__()
        self.attention: Counter[str] = Counter()
        self.pads: Counter[str] = Counter()

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """The function, counted."""
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        if name in ("softmax", "scaled_dot_product_attention", "multi_head_attention_forward"):
            self.attention[name] += 1
        place = {"pad": 1, "conv2d": 4, "max_pool2d": 3, "avg_pool2d": 3, "unfold": 3}.get(name)
        if place is not None and len(args) and isinstance(args[0], Tensor) and args[0].dim() == 4:
            given = args[place] if len(args) > place else kwargs.get("pad", kwargs.get("padding"))
            wide = name != "conv2d" or max(args[1].shape[-2:]) > 1
            if wide and (given == "same" or (given != "valid" and _any(given))):
                self.pads[name] += 1
        return func(*args, **kwargs)


def _any(value: Any) -> bool:
    return any(value) if isinstance(value, tuple | list) else bool(value)
