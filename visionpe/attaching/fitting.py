"""Whether an encoding fits a site: tried on zeros before anything is changed."""

from copy import deepcopy

import torch
from torch import Tensor, nn

from visionpe.attaching.calling import Call
from visionpe.attaching.cells import Size
from visionpe.attaching.errors import AttachError
from visionpe.attaching.ground import Ground
from visionpe.attaching.in_convs import CoordTerm
from visionpe.attaching.in_maps import InMap
from visionpe.attaching.scores import Acting, bias_of, turn
from visionpe.encodings.attention import AttentionEncoding
from visionpe.encodings.base import MapEncoding
from visionpe.tracing.sites import Site


def require_fit(encoding: nn.Module, site: Site, size: Size) -> None:
    """Refuses an encoding that cannot act at a site.

    Raises:
        ValueError: if it is made for other heads, channels or places.
    """
    if isinstance(encoding, CoordTerm):
        return
    said = _misfit(encoding, site, size)
    if said is not None:
        what = f"{site.cells or 'irregular'} cells"
        if site.kind == "attention":
            what = f"{site.heads} heads of width {site.head_dim}, {what}"
        raise ValueError(
            f"`encoding` must fit `{site.module}` ({what}), but {type(encoding).__name__} does "
            f"not: {said} Name the sites that it fits, `at=`, or give a function that makes one "
            "for each `visionpe.Site`."
        )


def _misfit(encoding: nn.Module, site: Site, size: Size) -> str | None:
    """What is wrong, in words."""
    if isinstance(encoding, AttentionEncoding):
        for name, own, wanted in (
            ("heads", encoding.heads, site.heads),
            ("head_dim", encoding.head_dim, site.head_dim),
        ):
            if own is not None and wanted is not None and own != wanted:
                return f"its `{name}` is {own}."
    one = deepcopy(encoding).to("cpu", torch.float32)
    try:
        if isinstance(one, AttentionEncoding):
            _try_attention(one, site, size)
        elif isinstance(one, MapEncoding):
            channels = site.shape[{"NCHW": 1, "NCL": 1}.get(site.layout or "", -1)]
            if one.out_channels(channels) != channels:
                return f"it makes {one.out_channels(channels)} channels of {channels}."
            with torch.no_grad():
                InMap(one, site, size).encoded(torch.zeros(site.shape), Call())
    except (ValueError, TypeError, AttachError) as error:
        return " ".join(str(error).split())
    return None


def looks_at_places_only(encoding: AttentionEncoding, site: Site, size: Size) -> bool:
    """Whether the bias of an encoding is a function of the places, not of queries and keys."""
    one = deepcopy(encoding).to("cpu", torch.float32)
    bias = _try_attention(one, site, size, torch.nan)  # 0 * NaN is NaN: a zero table tells, too
    return bias is None or not bool(bias.isnan().any())


def _try_attention(
    encoding: AttentionEncoding, site: Site, size: Size, value: float = 0.0
) -> Tensor | None:
    """The bias for queries and keys of one value."""
    assert site.queries is not None
    assert site.keys is not None
    windows = max(len(p.positions) for p in (site.queries, site.keys))

    def constant(tokens: int) -> Tensor:
        return torch.full((windows, site.heads or 1, tokens, site.head_dim or 1), value)

    with torch.no_grad():
        q, k = constant(site.queries.tokens), constant(site.keys.tokens)
        acting = [Acting(encoding, Ground(site, size))]
        turned = turn(q, k, acting, Call())
        if encoding.acts_on_values:
            weights = q.new_zeros(*q.shape[:-1], k.shape[-2])
            encoding.values(weights, *turned.placed[0][1:])
        return bias_of(turned, acting, Call(), 1.0)
