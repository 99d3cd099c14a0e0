"""What encodings do to the queries, keys, logits and output of one call of attention."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from visionpe.attaching.attached import Held
from visionpe.attaching.calling import Call
from visionpe.attaching.errors import AttachError
from visionpe.attaching.ground import Ground
from visionpe.attaching.heads import Heads
from visionpe.encodings.attention import AttentionEncoding
from visionpe.places import Places


class Acting(NamedTuple):
    """An encoding, and the site at which it acts.

    Attributes:
        of_places: whether its bias looks at places alone, not at queries and keys.
        held: where the encoding is registered.
    """

    encoding: AttentionEncoding
    ground: Ground
    of_places: bool = False
    held: Held | None = None


class Turned(NamedTuple):
    """Queries and keys as they came, and after the encodings.

    Attributes:
        own_q, own_k, q, k: `b heads n d`.
        placed: the encodings, with the places of queries and keys.
    """

    own_q: Tensor
    own_k: Tensor
    q: Tensor
    k: Tensor
    placed: list[tuple[AttentionEncoding, Places, Places]]


def turn(
    q: Float[Tensor, "b heads n d"],
    k: Float[Tensor, "b heads m d"],
    acting: Sequence[Acting],
    call: Call,
) -> Turned:
    """Queries and keys with all encodings, in order."""
    turned_q, turned_k, placed = q, k, []
    for encoding, ground, *_ in acting:
        at = ground.places(call, q.shape[-2], k.shape[-2], q, q.shape[0])
        turned_q, turned_k = encoding.rotate(turned_q, turned_k, *at)
        placed.append((encoding, *at))
    return Turned(q, k, turned_q, turned_k, placed)


def bias_of(
    turned: Turned, acting: Sequence[Acting], call: Call, scale: float | Tensor
) -> Float[Tensor, "#b heads n m"] | None:
    """What all encodings add to the logits.

    Args:
        scale: of the logits; a number, one that is computed, or one for each head, `heads 1 1`.
    """
    q, k = turned.own_q, turned.own_k
    total = None
    for one, (_, *at) in zip(acting, turned.placed, strict=True):
        windows = one.ground.site.windows
        if one.of_places and call.frame is None and windows > 1:
            # Once for each window; samples have the same.
            once = one.ground.places(call, q.shape[-2], k.shape[-2], q)
            bias = _scaled(one, q[:windows], k[:windows], once, scale)
            bias = None if bias is None else one.ground.spread(bias, q.shape[0])
        else:
            bias = _scaled(one, q, k, (at[0], at[1]), scale)
        total = bias if total is None else total if bias is None else total + bias
    return total


def _scaled(
    one: Acting, q: Tensor, k: Tensor, at: tuple[Places, Places], scale: float | Tensor
) -> Tensor | None:
    """The bias of one encoding; it has a part that is scaled, and one that is not."""
    if not isinstance(scale, Tensor):
        return one.encoding.bias(q, k, *at, scale)
    whole = one.encoding.bias(q, k, *at, 1.0)
    plain = whole if one.of_places else one.encoding.bias(q, k, *at, 0.0)
    if whole is plain or whole is None or plain is None:
        return whole
    return plain + scale.to(whole.dtype) * (whole - plain)


def add_values(
    out: Float[Tensor, "b heads n d"],
    weights: Float[Tensor, "b heads n m"],
    placed: Sequence[tuple[AttentionEncoding, Places, Places]],
) -> Float[Tensor, "b heads n d"]:
    """The output of attention with what encodings add to the values."""
    for encoding, queries, keys in placed:
        if encoding.acts_on_values:
            extra = encoding.values(weights, queries, keys)
            if extra is not None and extra.shape[-1] != out.shape[-1]:
                raise AttachError(
                    f"{type(encoding).__name__} adds values of width {extra.shape[-1]}, but this "
                    f"attention has values of {out.shape[-1]}. Attach elsewhere: `at=`."
                )
            out = out if extra is None else out + extra
    return out


def attention(
    heads: Heads,
    acting: Sequence[Acting],
    call: Call,
    query: Float[Tensor, "*lead n d"],
    key: Float[Tensor, "*lead m d"],
    value: Float[Tensor, "*lead m dv"],
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
    *,
    weights_too: bool = False,
) -> Any:
    """`F.scaled_dot_product_attention` with encodings; its arguments, behind our own.

    Args:
        weights_too: return the weights as well, `b heads n m`.
    """
    lead = query.shape[:-2]
    if enable_gqa:
        key, value = (t.repeat_interleave(lead[-1] // t.shape[-3], -3) for t in (key, value))
    key, value = (t.expand(*lead, *t.shape[-2:]) for t in (key, value))
    q, k, v = (heads.split(t) for t in (query, key, value))
    scale = q.shape[-1] ** -0.5 if scale is None else scale
    turned = turn(q, k, acting, call)
    bias = bias_of(turned, acting, call, scale)
    mask = None if attn_mask is None else _split_mask(heads, attn_mask, query, key)
    if is_causal:
        mask = q.new_ones(q.shape[-2], k.shape[-2], dtype=torch.bool).tril()
    mask = _join(bias, mask)
    if weights_too or any(each.encoding.acts_on_values for each in acting):
        logits = scale * (turned.q @ turned.k.mT)
        if mask is not None and mask.dtype == torch.bool:
            logits = logits.masked_fill(~mask, -torch.inf)
        elif mask is not None:
            logits = logits + mask
        weights = F.dropout(logits.softmax(-1), dropout_p)
        out = add_values(weights @ v, weights, turned.placed)
        return (heads.join(out, lead), weights) if weights_too else heads.join(out, lead)
    out = F.scaled_dot_product_attention(
        turned.q, turned.k, v, attn_mask=mask, dropout_p=dropout_p, scale=scale
    )
    return heads.join(out, lead)


def _split_mask(heads: Heads, mask: Tensor, query: Tensor, key: Tensor) -> Tensor:
    if query.dim() == 4 and heads.axis == -3:
        return mask.view(*[1] * (4 - mask.dim()), *mask.shape)
    return heads.split(mask.expand(*query.shape[:-1], key.shape[-2]))


def _join(bias: Tensor | None, mask: Tensor | None) -> Tensor | None:
    if bias is None or mask is None:
        return mask if bias is None else bias
    if mask.dtype == torch.bool:
        return bias.masked_fill(~mask, -torch.inf)
    return bias + mask
