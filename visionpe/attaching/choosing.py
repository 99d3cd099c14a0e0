"""`at`: which sites of a trace an encoding is attached to."""

from collections.abc import Callable, Sequence
from difflib import get_close_matches
from fnmatch import fnmatchcase

from torch import nn

from visionpe.attaching.plan import Kind
from visionpe.tracing.run import Trace
from visionpe.tracing.sites import Site

At = str | Sequence[str] | Callable[[Site], bool] | None
Chosen = tuple[list[Site], list[tuple[Site, str]]]
MODEL = "(model)"  # what messages call the model itself, whose name is empty


def choose(found: Trace, model: nn.Module, kind: Kind, at: At) -> Chosen:
    """The sites that `at` names, and those of them that cannot take encodings, with the reason.

    Raises:
        TypeError: if `at` is nothing that names sites.
        ValueError: if nothing is named that can take encodings.
    """
    sites = candidates(found, kind)
    if not sites:
        raise ValueError(
            f"`encoding` must act on {_WHAT[kind]}, but {found.model} has none. "
            f"It has {len(candidates(found, 'attention'))} attention, "
            f"{len(candidates(found, 'map'))} map and {len(candidates(found, 'conv'))} "
            "convolution sites: see visionpe.trace."
        )
    if at is None:
        at = "all" if kind == "attention" else "first"
    named = _named(found, sites, kind, at)
    reasons = [(site, _unable(site, model, found)) for site in named]
    able = [site for site, why in reasons if why is None]
    skipped = [(site, why) for site, why in reasons if why is not None]
    if not able:
        site, why = skipped[0]
        raise ValueError(
            f"`at` must name sites that can take encodings, but `{site.module}` cannot: {why}"
        )
    return (able[:1], []) if at == "first" else (able, skipped)


def candidates(found: Trace, kind: Kind) -> list[Site]:
    """All sites of a kind."""
    if kind == "attention":
        return found.attention
    return found.convs if kind == "conv" else found.outputs


_WHAT = {"attention": "attention", "map": "maps or tokens", "conv": "convolutions"}


def _named(found: Trace, sites: list[Site], kind: Kind, at: At) -> list[Site]:
    if callable(at):
        named = [site for site in sites if at(site)]
        if not named:
            raise ValueError(
                f"`at` must choose at least one of {_listed(sites)}, but is False for all."
            )
        return named
    if at == "first":
        return sites if kind != "map" else _stem(found)
    if at == "all":
        if kind == "map":
            raise ValueError(
                '`at` must be "first", modules or a predicate for an encoding of maps, but is '
                f'"all". There are {_listed(sites)}.'
            )
        return sites
    patterns = [at] if isinstance(at, str) else at
    if not isinstance(patterns, Sequence) or not all(isinstance(p, str) for p in patterns):
        raise TypeError(
            '`at` must be "all", "first", a module\'s name or pattern, a list of them, or a '
            f"predicate of a Site, but is {type(at).__name__}."
        )
    for pattern in patterns:
        if not any(_matches(site, pattern, kind) for site in sites):
            near = get_close_matches(pattern, [site.module for site in sites], n=1, cutoff=0.5)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise ValueError(
                f"`at` must name modules with {_WHAT[kind]}, but {pattern!r} matches none.{hint} "
                f"There are {_listed(sites)}."
            )
    return [site for site in sites if any(_matches(site, p, kind) for p in patterns)]


def _matches(site: Site, pattern: str, kind: Kind) -> bool:
    """Attention and convolutions are also named by a module that they are part of."""
    if fnmatchcase(site.module, "" if pattern == MODEL else pattern):
        return True
    return kind != "map" and fnmatchcase(site.module, f"{pattern}.*")


def _stem(found: Trace) -> list[Site]:
    """Where a model's tokens or maps begin: what its blocks of attention are first given.

    The outermost module around the first attention that is given tokens or maps as far apart as
    those it attends between; without attention, the first convolution's output.
    """
    outputs = found.outputs
    for attention in found.attention:
        if attention.lattice is None:
            continue
        parts = attention.module.split(".")
        for end in range(1, len(parts) + 1):
            part = ".".join(parts[:end])
            inside = [s.module == part or s.module.startswith(f"{part}.") for s in outputs]
            before = outputs[: inside.index(True) if True in inside else 0]
            held = [
                s for s in before if s.lattice and s.lattice.spacing == attention.lattice.spacing
            ]
            usable = [s for s in held if _layout(s) is None and _once(s, outputs)]
            if usable:
                return usable[-1:]
    convs = {site.module for site in found.convs}
    return [s for s in outputs if s.module in convs and _once(s, outputs)] or outputs


def _once(site: Site, outputs: list[Site]) -> bool:
    return [other.module for other in outputs].count(site.module) == 1


def _unable(site: Site, model: nn.Module, found: Trace) -> str | None:
    """Why a site cannot take encodings; None: it can."""
    if site.kind == "attention":
        if site.queries is None or site.keys is None:
            return "its queries have no place (class attention, pooling)."
        if site.call == "softmax" and site.product is None:
            return "its logits were not made in the same module."
        return None
    if site.kind == "conv":
        conv = model.get_submodule(site.module)
        if not isinstance(conv, nn.Conv2d):
            return f"it is a {type(conv).__name__}, no nn.Conv2d."
        # Branches that are shifted against each other meet in no layout, and still in whole maps.
        size = site.lattice and (site.lattice.h, site.lattice.w)
        whole = site.layout == "NCHW" or (site.layout is None and size == site.shape[-2:])
        return None if whole and site.windows == 1 else "it runs on parts of a map."
    runs = [s for s in found.outputs if s.module == site.module]
    alike = {(s.shape[1:], s.layout, s.lattice, s.scattered) for s in runs}
    return "it runs several times, on different maps." if len(alike) > 1 else _layout(site)


def _layout(site: Site) -> str | None:
    if site.layout is None or site.windows != 1 or (site.layout == "NLC" and len(site.shape) != 3):
        return "it holds windows, or no whole map."
    if site.kind == "tokens" and site.lattice is None and site.scattered is None:
        return "its tokens are no lattice."
    return None


def _listed(sites: list[Site]) -> str:
    names = list(dict.fromkeys(site.module or MODEL for site in sites))
    shown = names if len(names) <= 8 else [*names[:4], "...", *names[-2:]]
    return f"{len(names)} modules: {', '.join(shown)}"
