"""Everything that tells a model where things are."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, final

from torch import nn

from visionpe.inspecting.computed import convolutions, pads, rotations, sinusoids
from visionpe.inspecting.relative import relatives
from visionpe.inspecting.sources import Kind, Source
from visionpe.inspecting.tables import tables
from visionpe.tracing.refusals import require_plain
from visionpe.tracing.run import Trace, trace
from visionpe.tracing.sites import Site

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@final
@dataclass(frozen=True, repr=False)
class Inventory:
    """The sources of position of a model; `print` shows them as a table.

    Attributes:
        model: the class of the model.
        sources: all, tables first and padding last.
        size: of the images, if one was given.
    """

    model: str
    sources: list[Source]
    size: tuple[int, int] | None = None

    @property
    def encodings(self) -> list[Source]:
        """All but padding; empty: nothing was found, and the model has none or hides it."""
        return [s for s in self.sources if s.kind != "padding"]

    @property
    def padding(self) -> list[Source]:
        """What maps are padded with, and how often."""
        return [s for s in self.sources if s.kind == "padding"]

    @property
    def nothing_found(self) -> bool:
        """Whether there is no encoding; padding may still give position."""
        return not self.encodings

    def of(self, kind: Kind) -> list[Source]:
        """The sources of one kind."""
        return [s for s in self.sources if s.kind == kind]

    def to_dict(self) -> dict[str, Any]:
        """The inventory as JSON takes it."""
        return {
            "model": self.model,
            "size": list(self.size) if self.size else None,
            "nothing_found": self.nothing_found,
            "parameters": sum(s.parameters for s in self.encodings),
            "sources": [s.to_dict() for s in self.sources],
        }

    def plot(self) -> "Figure":
        """Where in the model each kind is, and the first learned tables themselves."""
        from visionpe.inspecting.picture import picture

        return picture(self)

    def __str__(self) -> str:
        """The table."""
        from visionpe.inspecting.listing import listing

        return listing(self)

    def __repr__(self) -> str:
        """How much of each kind there is."""
        kinds = dict.fromkeys(s.kind for s in self.encodings)
        what = ", ".join(f"{len(self.of(k))} {k}" for k in kinds) or "nothing found"
        return f"<Inventory of {self.model}: {what}; {sum(s.count for s in self.padding)} pads>"


def inspect(model: nn.Module, size: tuple[int, int] | None = None) -> Inventory:
    """Finds every source of position that a model has, without running it.

    Told by structure where that is enough, and otherwise by the names that the field uses. What a
    forward computes from nothing that the model holds, and networks that mix tokens, are not seen:
    the result then says that nothing was found.

    Args:
        model: on any device, the meta device included; it is left as it was.
        size: height and width of images in pixels. If given, the model is traced at that size, so
            that grids, prefix tokens and memory are those of its attention there.

    Raises:
        TypeError: if `model` is no module.
        ValueError: if `model` is wrapped or compiled, or does not take images of this size.
        TraceError: if a size is given and the model cannot be followed.

    >>> net = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU())
    >>> inspect(net)
    <Inventory of Sequential: nothing found; 1 pads>
    """
    require_plain(model)
    if size is not None and (not isinstance(size, tuple | list) or len(size) != 2):
        raise ValueError(f"`size` must be `(h, w)`, in pixels, but is {size!r}.")
    kinds = (tables, sinusoids, relatives, rotations, convolutions, pads)
    every = [s for kind in kinds for s in kind(model) if _is_read(s, model)]
    found = _shared_once(model, every)
    if size is not None:
        followed = trace(model, *size, channels=_channels(model))
        found = [_at_size(source, followed) for source in found]
    return Inventory(type(model).__name__, found, (size[0], size[1]) if size else None)


def _is_read(source: Source, model: nn.Module) -> bool:
    """Whether it was not taken out by `visionpe.remove`."""
    if source.kind == "padding":
        return True
    names = (None, *(source.attribute or "").split(", "))
    removed = getattr(type(model.get_submodule(source.module)), "removed_sources", ())
    return not any(each.attribute in names for each in removed)


def _shared_once(model: nn.Module, found: list[Source]) -> list[Source]:
    """Without a second finding of the same attribute."""
    seen: set[tuple[str, str]] = set()
    kept = []
    for source in found:
        key = (source.path, "padding" if source.kind == "padding" else "")
        if source.kind == "padding" or key not in seen:
            kept.append(source)
        seen.add(key)
    return kept


def _channels(model: nn.Module) -> int:
    convs = (m for m in model.modules() if isinstance(m, nn.Conv2d))
    return next((m.in_channels for m in convs), 3)


def _tokens(site: Site, grid: tuple[int, int]) -> int:
    return grid[0] * grid[1] + site.prefix + site.suffix


def _at_size(source: Source, followed: Trace) -> Source:
    """The source with the tokens of the attention that it acts in."""
    if source.kind in ("padding", "convolution"):
        return source
    for site in followed.attention:
        inner, outer = sorted((site.module, source.module), key=len, reverse=True)
        if outer and inner != outer and not inner.startswith(outer + "."):
            continue
        keys = site.queries or site.keys
        if keys is None or site.lattice is None:
            continue
        grid = (site.lattice.h, site.lattice.w)
        if source.kind in ("absolute", "sinusoidal", "rotary"):
            return replace(source, grid=grid, tokens=_tokens(site, grid))
        grid = site.window or grid
        other = site.key_lattice  # of the whole map: with windows, theirs are the queries'
        pooled = (other.h, other.w) if other is not None and site.windows == 1 else grid
        met = None if pooled == grid else _tokens(site, pooled)
        return replace(source, grid=grid, tokens=_tokens(site, grid), keys=met)
    return source
