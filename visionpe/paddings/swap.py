"""Other pads for somebody else's model, in place and back."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from fnmatch import fnmatchcase
from typing import final

from torch import nn

from visionpe.paddings.forwards import put
from visionpe.paddings.found import Padding, paddings
from visionpe.paddings.modes import MODES, Mode
from visionpe.tracing.refusals import require_plain

At = str | Sequence[str] | Callable[[str, nn.Module], bool]


@final
@dataclass(frozen=True, repr=False)
class PaddingChange:
    """What `set_padding` did; `len` is the number of modules that it changed.

    Attributes:
        model: the class of the model.
        mode: what was asked for.
        before, after: the modules that it was asked of, before and after.
    """

    model: str
    mode: Mode
    before: list[Padding]
    after: list[Padding]

    @property
    def changed(self) -> list[str]:
        """The modules that pad otherwise than before."""
        return [a.module for a, b in zip(self.after, self.before, strict=True) if a != b]

    def __len__(self) -> int:
        return len(self.changed)

    def __bool__(self) -> bool:
        return True

    def __repr__(self) -> str:
        """The kinds of modules, and how many were changed."""
        kinds = ", ".join(f"{n} {k}" for k, n in Counter(p.kind for p in self.after).items())
        return (
            f"<PaddingChange of {self.model} to {self.mode!r}: "
            f"{len(self)} of {len(self.after)} modules changed; {kinds}>"
        )


def set_padding(model: nn.Module, mode: Mode, *, at: At | None = None) -> PaddingChange:
    """Changes what a model pads its maps with, in place; shapes, weights and names stay.

    Reaches convolutions (transposed ones too), pools, layers of padding, and calls of `F.pad` in a
    forward: each module's own forward runs with these operations intercepted. Windows that hang
    over the edge see, for

    - "zeros": 0, and pools what they were made to see;
    - "reflect", "replicate", "circular": the map mirrored, its edge repeated, its other side;
    - "none": nothing: only windows inside the map are evaluated, and where one is missing the
      nearest evaluated one's output is repeated, to keep the shape. Where no window follows at
      once (tokens that fill up attention windows), the nearest cell is repeated;
    - "original": what the model was made with, bit for bit. So does "zeros" for all that was made
      with zeros.

    Maps of attention, and one-dimensional convolutions (over channels or tokens), stay as they
    are. At a map that is too small for its pad, the changed module raises a ValueError.

    Args:
        model: is changed.
        mode: what to pad with.
        at: which modules, each with everything beneath it: a glob of names or several, or a
            function of name and module. By default all.

    Returns:
        What was found and changed.

    Raises:
        TypeError: if `model` is no module.
        ValueError: if `mode` is unknown, `model` is wrapped, or nothing at `at` pads.

    >>> net = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU())
    >>> set_padding(net, "circular").changed
    ['0']
    >>> len(set_padding(net, "circular"))
    0
    """
    require_plain(model)
    if mode not in MODES:
        options = ", ".join(map(repr, MODES))
        raise ValueError(f"`mode` must be one of {options}, but is {mode!r}.")
    found = paddings(model)
    if not found:
        raise ValueError(
            f"`model` must pad a map somewhere, but {type(model).__name__} has no convolution, "
            "pool or call that does."
        )
    names = _chosen(model, at)
    before = [p for p in found if p.module in names]
    if not before:
        raise ValueError(_nothing_there(model, found, at))
    modules = dict(model.named_modules())
    around = [p.module for p in found if p.module not in names and p.mode != p.made_with]
    for p in before:
        put(modules[p.module], _needed(p, mode, around))
    after = {p.module: p for p in paddings(model)}
    return PaddingChange(type(model).__name__, mode, before, [after[p.module] for p in before])


def _needed(padding: Padding, mode: Mode, around: list[str]) -> Mode:
    """What to set, given modules that are set otherwise and may lie around this one.

    What is as the model was made needs nothing; unless a module around pads otherwise.
    """
    made = padding.made_with
    if mode != "original" and not (mode == "zeros" and made in ("zeros", "ignored")):
        return mode
    if not any(not name or padding.module.startswith(name + ".") for name in around):
        return "original"
    return next((other for other in MODES if other == made), "zeros")


def _chosen(model: nn.Module, at: At | None) -> set[str]:
    named = dict(model.named_modules())
    if at is None:
        return set(named)
    if callable(at):
        tops = [name for name, module in named.items() if at(name, module)]
    else:
        globs = [at] if isinstance(at, str) else list(at)
        for glob in globs:
            if not any(fnmatchcase(name, glob) for name in named):
                raise ValueError(_unknown(model, glob, list(named)))
        tops = [n for n in named if any(fnmatchcase(n, glob) for glob in globs)]
    return {n for n in named if any(not t or n == t or n.startswith(t + ".") for t in tops)}


def _unknown(model: nn.Module, glob: str, names: list[str]) -> str:
    near = get_close_matches(glob, [n for n in names if n], 1, 0.0) or [""]
    return (
        f"`at` must match modules of {type(model).__name__}, but {glob!r} matches none. "
        f"The nearest name is {near[0]!r}."
    )


def _nothing_there(model: nn.Module, found: list[Padding], at: At | None) -> str:
    names = [repr(p.module) for p in found]
    some = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
    given = "what it chooses" if callable(at) else repr(at)
    return f"`at` must match modules that pad, but {given} holds none. These pad: {some}."
