"""A plan carried out: encodings registered, hooks set."""

from collections.abc import Callable
from functools import partial

from torch import nn

from visionpe.attaching.attached import CHILD, Attached, Held, attached_to
from visionpe.attaching.fitting import looks_at_places_only
from visionpe.attaching.ground import Ground
from visionpe.attaching.heads import Heads
from visionpe.attaching.in_attention import InAttention, Point
from visionpe.attaching.in_convs import CoordTerm, InConv
from visionpe.attaching.in_maps import InMap
from visionpe.attaching.plan import Entry, Plan
from visionpe.attaching.scores import Acting
from visionpe.encodings.attention import AttentionEncoding
from visionpe.encodings.base import MapEncoding
from visionpe.tracing.sites import Site


def put(model: nn.Module, plan: Plan, share: bool) -> None:
    """Attaches what a plan says.

    Args:
        share: the sites have one encoding.
    """
    attached = attached_to(model)
    if attached is None:
        attached = Attached(model)
        model._modules[CHILD] = attached
    group = nn.Module()
    attached._modules[plan.name] = group
    attached.plans[plan.name] = plan
    removals: list[Callable[[], None]] = []
    attached.removals[plan.name] = removals
    for entry in plan.entries:
        held = Held(group, "shared" if share else _key(entry.site, group))
        if held.key not in group._modules:
            group._modules[held.key] = entry.encoding
        module = model.get_submodule(entry.site.module)
        if isinstance(entry.encoding, AttentionEncoding):
            removals.append(_put_inside(module, attached, plan, entry, held))
        elif isinstance(entry.encoding, CoordTerm):
            hook = module.register_forward_hook(InConv(held, attached), with_kwargs=True)
            removals.append(hook.remove)
        elif isinstance(entry.encoding, MapEncoding):
            act = InMap(held, entry.site, plan.size, attached)
            removals.append(module.register_forward_hook(act).remove)
    attached.end_last(model)


def _put_inside(
    module: nn.Module, attached: Attached, plan: Plan, entry: Entry, held: Held
) -> Callable[[], None]:
    inside = InAttention.of(module, attached)
    site = entry.site
    assert site.call is not None
    assert isinstance(entry.encoding, AttentionEncoding)
    mha = site.call == "mha"  # opened, its queries are `b heads n d`
    heads = Heads(site.heads or 1, -3 if mha else site.head_axis, 4 if mha else len(site.shape) + 1)
    point = Point(site.call, site.number, site.product, heads)
    of_places = looks_at_places_only(entry.encoding, site, plan.size)
    acting = Acting(entry.encoding, Ground(site, plan.size), of_places, held)
    inside.acting.setdefault(plan.name, []).append((point, acting))
    return partial(inside.leave, plan.name)


def _key(site: Site, group: nn.Module) -> str:
    """A site's module as one part of a key; with its call, if it calls attention in two ways."""
    key = (site.module.replace(".", "-") or "model") + (f"-{site.number}" if site.number else "")
    return f"{key}-{site.call}" if key in group._modules else key
