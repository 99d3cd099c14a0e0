"""`F.multi_head_attention_forward`, opened: projections, attention, projection."""

from collections.abc import Callable
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from visionpe.attaching.errors import AttachError


def multi_head(
    attend: Callable[..., tuple[Tensor, Tensor]],
    query: Tensor,
    key: Tensor,
    value: Tensor,
    embed_dim_to_check: int,
    num_heads: int,
    in_proj_weight: Tensor | None,
    in_proj_bias: Tensor | None,
    bias_k: Tensor | None,
    bias_v: Tensor | None,
    add_zero_attn: bool,
    dropout_p: float,
    out_proj_weight: Tensor,
    out_proj_bias: Tensor | None,
    training: bool = True,
    key_padding_mask: Tensor | None = None,
    need_weights: bool = True,
    attn_mask: Tensor | None = None,
    use_separate_proj_weight: bool = False,
    q_proj_weight: Tensor | None = None,
    k_proj_weight: Tensor | None = None,
    v_proj_weight: Tensor | None = None,
    static_k: Tensor | None = None,
    static_v: Tensor | None = None,
    average_attn_weights: bool = True,
    is_causal: bool = False,
) -> tuple[Tensor, Tensor | None]:
    """The function's arguments and results; tokens come first, `n b d`, or `n d` without a batch.

    Args:
        attend: attention of `b heads n d`, as `F.scaled_dot_product_attention`; returns the output
            and the weights.

    Raises:
        AttachError: if keys are added or given that have no place.
    """
    if bias_k is not None or add_zero_attn or static_k is not None:
        raise AttachError(
            "Encodings act on keys that are made of the tokens, but this attention is given more: "
            "`bias_k`, `add_zero_attn` or `static_k`. Attach elsewhere: `at=`."
        )
    batched = query.dim() == 3
    if not batched:
        query, key, value = (t[:, None] for t in (query, key, value))
    own = (q_proj_weight, k_proj_weight, v_proj_weight)
    weights = own if in_proj_weight is None else in_proj_weight.chunk(3)
    biases = (None,) * 3 if in_proj_bias is None else in_proj_bias.chunk(3)
    q, k, v = (
        F.linear(x, cast(Tensor, w), b)
        .unflatten(-1, (num_heads, -1))
        .permute(1, 2, 0, 3)  # n b c -> b h n d
        for x, w, b in zip((query, key, value), weights, biases, strict=True)
    )
    mask = _mask(q, attn_mask, key_padding_mask)
    out, shares = attend(q, k, v, attn_mask=mask, dropout_p=dropout_p if training else 0.0)
    out = F.linear(out.permute(2, 0, 1, 3).flatten(2), out_proj_weight, out_proj_bias)
    if average_attn_weights:
        shares = shares.mean(1)
    if not batched:
        out, shares = out[:, 0], shares[0]
    return out, shares if need_weights else None


def _mask(q: Tensor, attn_mask: Tensor | None, padding: Tensor | None) -> Tensor | None:
    """Both masks as one that is added; theirs, if boolean, are True where nothing may be seen."""
    parts: list[Any] = []
    if attn_mask is not None:
        parts.append(attn_mask if attn_mask.dim() == 2 else attn_mask.unflatten(0, q.shape[:2]))
    if padding is not None:
        parts.append(padding[:, None, None])  # b m -> b 1 1 m
    total: Tensor | None = None
    for part in parts:
        if part.dtype == torch.bool:
            part = torch.zeros_like(part, dtype=q.dtype).masked_fill(part, -torch.inf)
        total = part if total is None else total + part
    return total
