"""Which layers of a model can be probed, and where their maps lie, found by `visionpe.trace`."""

from collections import Counter
from collections.abc import Sequence
from difflib import get_close_matches
from fnmatch import fnmatchcase
from typing import NamedTuple

from jaxtyping import Float
from torch import Tensor, nn

from visionpe.tracing.run import Trace
from visionpe.tracing.sites import Site

_FEW = 4  # layers by default, where all maps have one size
_IDLE = (nn.Identity, nn.Dropout)  # a block may hold many, and is what is meant


class Layer(NamedTuple):
    """A module whose output is a map.

    Attributes:
        name: the module's.
        channels, h, w: of the map.
        spacing: `(y, x)` from one cell to the next, in pixels.
        layout: "NCHW", "NHWC", "NLC" or "NCL".
        prefix, suffix: tokens before and behind the map's.
    """

    name: str
    channels: int
    h: int
    w: int
    spacing: tuple[float, float]
    layout: str
    prefix: int
    suffix: int

    def maps(self, output: Tensor) -> Float[Tensor, "b c h w"]:
        """What the module returned as a map, tokens without a place dropped.

        >>> import torch
        >>> Layer("0", 5, 2, 3, (1.0, 1.0), "NLC", 1, 0).maps(torch.zeros(4, 7, 5)).shape
        torch.Size([4, 5, 2, 3])
        """
        if self.layout == "NCHW":
            return output
        if self.layout == "NHWC":
            return output.permute(0, 3, 1, 2)
        tokens = output.mT if self.layout == "NLC" else output  # b c n
        cells = tokens[:, :, self.prefix : tokens.shape[2] - self.suffix]
        maps: Tensor = cells.unflatten(2, (self.h, self.w))
        return maps


def find_layers(found: Trace, model: nn.Module, layers: Sequence[str] | None = None) -> list[Layer]:
    """The layers of those names, in the order of execution.

    Args:
        found: the model's trace.
        model: traced.
        layers: names or globs; None: the last of the outermost modules at each size of map, or
            four of the repeated blocks where all maps have one size.

    Raises:
        ValueError: if a name matches nothing, or a module whose output is no map.
    """
    able = [site for site in found.outputs if _unable(site, found) is None]
    if not able:
        raise ValueError(
            f"`model` must have a layer with a spatial map, but {found.model} has none at "
            f"{found.h} x {found.w}: see visionpe.trace. Larger images may give it one."
        )
    if layers is None:
        return [_layer(site) for site in _stages(able, model)]
    chosen: set[str] = set()
    for pattern in layers:
        names = {s.module for s in able if fnmatchcase(s.module, pattern)}
        if not names:
            raise ValueError(_refusal(found, model, able, pattern))
        chosen |= names
    return [_layer(site) for site in able if site.module in chosen]


def _layer(site: Site) -> Layer:
    assert site.lattice is not None
    assert site.layout is not None
    channels = site.shape[{"NCHW": 1, "NHWC": 3, "NLC": -1, "NCL": 1}[site.layout]]
    lattice = site.lattice
    return Layer(
        site.module, channels, lattice.h, lattice.w, lattice.spacing, site.layout, site.prefix,
        site.suffix,
    )  # fmt: skip


def _unable(site: Site, found: Trace) -> str | None:
    """Why a module's output cannot be probed; None: it can."""
    if site.windows != 1:
        return "it returns windows, no whole map."
    if site.lattice is None:
        return "its output is no lattice, row by row."
    if site.lattice.h * site.lattice.w < 2:
        return "its map is of one cell. Give larger images."
    if site.layout is None or (site.layout in ("NLC", "NCL") and len(site.shape) != 3):
        return "its output is neither a map `b c h w` or `b h w c` nor tokens `b n c`."
    if sum(other.module == site.module for other in found.outputs) > 1:
        return "it runs several times in one forward. Give a module around it."
    return None


def _stages(able: list[Site], model: nn.Module) -> list[Site]:
    """The last of the outermost modules at each size; of one size, some of the repeated blocks."""
    sizes = list(dict.fromkeys((s.lattice.h, s.lattice.w) for s in able if s.lattice))
    if len(sizes) < 3:
        blocks = _blocks(able, model)
        if len(blocks) >= _FEW:
            return [blocks[round(i * (len(blocks) - 1) / (_FEW - 1))] for i in range(_FEW)]
    stages = []
    for size in sizes:
        here = [s for s in able if s.lattice and (s.lattice.h, s.lattice.w) == size]
        outermost = min(_depth(s) for s in here)
        stages.append([s for s in here if _depth(s) == outermost][-1])
    return stages


def _depth(site: Site) -> int:
    return site.module.count(".") if site.module else 99  # the model itself is no stage of it


def _blocks(able: list[Site], model: nn.Module) -> list[Site]:
    """The modules of one class under one parent, of which there are most; the outermost of them."""
    able = [s for s in able if not isinstance(model.get_submodule(s.module), _IDLE)]
    kinds = [
        (s.module.rpartition(".")[0], type(model.get_submodule(s.module)).__name__) for s in able
    ]
    counts = Counter(kinds)
    repeated = [kind for kind, n in counts.items() if n >= _FEW]
    if not repeated:
        return []
    best = min(repeated, key=lambda kind: (kind[0].count("."), -counts[kind]))
    return [s for s, kind in zip(able, kinds, strict=True) if kind == best]


def _refusal(found: Trace, model: nn.Module, able: list[Site], pattern: str) -> str:
    """What to say of a name that is unknown, or of a module without a map."""
    here = [s for s in found.outputs if fnmatchcase(s.module, pattern)]
    listed = _listed([s.module for s in able])
    if here:
        reason = _unable(here[0], found)
        return (
            f"`layers` must name modules with a spatial map, but {here[0].module!r} has none: "
            f"{reason} There are {listed}."
        )
    known = [name for name, _ in model.named_modules() if name]
    there = [name for name in known if fnmatchcase(name, pattern)]
    if there:
        return (
            f"`layers` must name modules with a spatial map, but the output of {there[0]!r} has "
            f"no places in the image. There are {listed}."
        )
    near = get_close_matches(pattern, [s.module for s in able], n=1, cutoff=0.0)
    hint = f" The nearest is {near[0]!r}." if near else ""
    return (
        f"`layers` must name modules of {found.model}, but {pattern!r} matches none.{hint} "
        f"There are {listed}."
    )


def _listed(names: list[str]) -> str:
    names = list(dict.fromkeys(name for name in names if name))
    shown = names if len(names) <= 8 else [*names[:4], "...", *names[-2:]]
    return f"{len(names)} with a map: {', '.join(shown)}"
