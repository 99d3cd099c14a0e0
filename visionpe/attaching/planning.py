"""Which sites take an encoding, and with which encoding each."""

from collections.abc import Callable
from copy import deepcopy

import torch
from torch import nn

from visionpe.attaching.choosing import At, candidates, choose
from visionpe.attaching.fitting import require_fit
from visionpe.attaching.in_convs import CoordConv, CoordTerm
from visionpe.attaching.plan import Entry, Kind, Plan
from visionpe.encodings.attention import AttentionEncoding
from visionpe.encodings.base import MapEncoding
from visionpe.tracing.run import Trace
from visionpe.tracing.sites import Site

Encoding = AttentionEncoding | MapEncoding
Maker = Callable[[Site], Encoding]


def make_plan(
    found: Trace,
    model: nn.Module,
    encoding: Encoding | CoordConv | Maker,
    *,
    at: At,
    name: str | None,
    share: bool,
) -> Plan:
    """The plan, with an encoding made for each site; the model is not changed.

    Raises:
        TypeError: if a function makes anything else.
        ValueError: if no site is named, or one cannot take its encoding.
    """
    kind = _kind(encoding, found)
    sites, skipped = choose(found, model, kind, at)
    size = (found.h, found.w)
    entries: list[Entry] = []
    for site in _one_each(sites):
        made = entries[0].encoding if share and entries else _made(encoding, site, model, kind)
        require_fit(made, site, size)
        place(made, model, site)
        entries.append(Entry(site, made))
    if name is None:
        first = entries[0].encoding
        name = "CoordConv" if isinstance(first, CoordTerm) else type(first).__name__
    return Plan(found.model, name, kind, size, entries, skipped)


def _kind(encoding: Encoding | CoordConv | Maker, found: Trace) -> Kind:
    """How an encoding acts; of a function, what it makes of the first site that it can."""
    if isinstance(encoding, CoordConv):
        return "conv"
    if isinstance(encoding, MapEncoding):
        return "map"
    if isinstance(encoding, AttentionEncoding):
        return "attention"
    error: Exception | None = None
    for kind, wanted in (("attention", AttentionEncoding), ("map", MapEncoding)):
        sites = [s for s in candidates(found, kind) if s.lattice]  # type: ignore[arg-type]
        sites.sort(key=lambda s: s.queries is None or s.keys is None)  # those that cannot, last
        try:
            made = encoding(sites[0]) if sites else None
        except Exception as failure:
            error = failure
            continue
        if isinstance(made, wanted):
            return kind  # type: ignore[return-value]
        if made is not None and not isinstance(made, Encoding):
            raise TypeError(
                f"`encoding` must make map or attention encodings, but makes a "
                f"{type(made).__name__}."
            )
    raise ValueError(
        f"`encoding` must make an encoding for one of the {len(found.attention)} attention and "
        f"{len(found.outputs)} map sites of {found.model}, but makes none"
        + (f": {type(error).__name__}: {error}" if error else ".")
    ) from error


def _made(
    encoding: Encoding | CoordConv | Maker, site: Site, model: nn.Module, kind: Kind
) -> nn.Module:
    if isinstance(encoding, CoordConv):
        conv = model.get_submodule(site.module)
        assert isinstance(conv, nn.Conv2d)
        return encoding.term(conv)
    if isinstance(encoding, nn.Module):
        return deepcopy(encoding)
    made = encoding(site)
    wanted = AttentionEncoding if kind == "attention" else MapEncoding
    if not isinstance(made, wanted):
        raise TypeError(
            f"`encoding` must make one kind of encoding, {wanted.__name__}, but makes a "
            f"{type(made).__name__} for `{site.module}`."
        )
    return made


def place(encoding: nn.Module, model: nn.Module, site: Site) -> None:
    """Puts an encoding on the device, in the dtype and in the mode of what it is attached to."""
    module = model.get_submodule(site.module)
    tensors = [*module.parameters(), *model.parameters()]
    like = next((t for t in tensors if t.is_floating_point()), torch.zeros(()))
    encoding.to(like.device, like.dtype).train(module.training)


def _one_each(sites: list[Site]) -> list[Site]:
    """One site for each place in the code; modules that run on one map or another are refused."""
    kept: dict[tuple[object, ...], Site] = {}
    for site in sites:
        key = (site.module, site.call, site.number)
        first = kept.setdefault(key, site)
        same = (first.shape[1:], first.layout, first.lattice) == (
            (site.shape[1:], site.layout, site.lattice)
        )
        if not same and first.layout not in ("NCHW", "NHWC"):
            raise ValueError(
                f"`at` must name modules that run on one map, but `{site.module}` runs on "
                f"{first.lattice} and on {site.lattice}."
            )
    return list(kept.values())
