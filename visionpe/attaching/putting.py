"""A plan carried out: encodings registered, hooks set."""

from collections.abc import Callable
from functools import partial

from torch import nn

from visionpe.attaching.attached import CHILD, Attached, attached_to
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
        if not (share and group._modules):
            group._modules["shared" if share else _key(entry.site)] = entry.encoding
        module = model.get_submodule(entry.site.module)
        if isinstance(entry.encoding, AttentionEncoding):
            removals.append(_put_inside(module, attached, plan, entry))
        elif isinstance(entry.encoding, CoordTerm):
            hook = module.register_forward_hook(InConv(entry.encoding, attached))
            removals.append(hook.remove)
        elif isinstance(entry.encoding, MapEncoding):
            act = InMap(entry.encoding, entry.site, plan.size, attached)
            removals.append(module.register_forward_hook(act).remove)


def _put_inside(
    module: nn.Module, attached: Attached, plan: Plan, entry: Entry
) -> Callable[[], None]:
    own = getattr(vars(module).get("forward"), "__self__", None)
    inside = own if isinstance(own, InAttention) else InAttention(module, attached)
    site = entry.site
    assert site.call is not None
    assert isinstance(entry.encoding, AttentionEncoding)
    mha = site.call == "mha"  # opened, its queries are `b heads n d`
    heads = Heads(site.heads or 1, -3 if mha else site.head_axis, 4 if mha else len(site.shape) + 1)
    point = Point(site.call, site.number, site.product, heads)
    inside.acting.setdefault(plan.name, []).append(
        (point, Acting(entry.encoding, Ground(site, plan.size)))
    )
    return partial(inside.leave, plan.name)


def _key(site: Site) -> str:
    """A site's module as one part of a key."""
    return (site.module.replace(".", "-") or "model") + (f"-{site.number}" if site.number else "")
