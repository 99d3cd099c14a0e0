"""What an encoding inside attention is, and attention with any number of them."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from visionpe.encodings._unwatched import captured, transformed
from visionpe.encodings.base import require_tokens
from visionpe.places import Places

Mask = Float[Tensor, "#b #heads #n #m"] | Bool[Tensor, "#b #heads #n #m"]


class AttentionEncoding(nn.Module):
    """Acts inside attention, given the places of queries and keys: in one or more of three ways.

    `rotate` changes queries and keys, `bias` adds to the scaled logits, `values` adds to the
    output; each does nothing unless an encoding says otherwise. Tokens without a place (class,
    registers) are left alone. `forward` is attention with this encoding alone; `attend` takes
    several.

    Attributes:
        heads: the number of heads it is made for; None: any.
        head_dim: the width of a head it is made for; None: any.
        acts_on_values: whether `values` does something, so that the weights must be formed.
    """

    heads: int | None = None
    head_dim: int | None = None
    acts_on_values: bool = False

    def rotate(
        self,
        q: Float[Tensor, "b heads n d"],
        k: Float[Tensor, "b heads m d"],
        places: Places,
        key_places: Places,
    ) -> tuple[Float[Tensor, "b heads n d"], Float[Tensor, "b heads m d"]]:
        """Queries and keys, turned by their places."""
        return q, k

    def bias(
        self,
        q: Float[Tensor, "b heads n d"],
        k: Float[Tensor, "b heads m d"],
        places: Places,
        key_places: Places,
        scale: float,
    ) -> Float[Tensor, "#b heads n m"] | None:
        """What is added to the logits `scale * q . k`, in the dtype of `q`; None: nothing.

        `q` and `k` are as they came, not rotated. An encoding that does not look at them gives
        one bias for all samples (`1 heads n m`) where all samples have the same places. It leaves
        every query a key: hiding keys is the mask's part.
        """
        return None

    def values(
        self, weights: Float[Tensor, "b heads n m"], places: Places, key_places: Places
    ) -> Float[Tensor, "b heads n d"] | None:
        """What is added to the output, given the attention weights; None: nothing."""
        return None

    def forward(
        self,
        q: Float[Tensor, "b heads n d"],
        k: Float[Tensor, "b heads m d"],
        v: Float[Tensor, "b heads m dv"],
        places: Places,
        key_places: Places | None = None,
        *,
        mask: Mask | None = None,
        scale: float | None = None,
    ) -> Float[Tensor, "b heads n dv"]:
        """Attention with this encoding; see `attend`."""
        return attend(q, k, v, [self], places, key_places, mask=mask, scale=scale)


def attend(
    q: Float[Tensor, "b heads n d"],
    k: Float[Tensor, "b heads m d"],
    v: Float[Tensor, "b heads m dv"],
    encodings: Sequence[AttentionEncoding],
    places: Places,
    key_places: Places | None = None,
    *,
    mask: Mask | None = None,
    scale: float | None = None,
    dropout: float = 0.0,
) -> Float[Tensor, "b heads n dv"]:
    """Scaled dot-product attention with position encodings.

    Runs torch's own `scaled_dot_product_attention`, the biases as its mask, unless an encoding
    acts on the values, which needs the weights themselves, or `forms_logits`: then all logits are
    formed, `b heads n m`. The result is the same: a query that sees no key gets zeros.

    Args:
        q, k, v: queries, keys and values.
        encodings: what acts, in order; none at all is plain attention.
        places: where the queries sit.
        key_places: where the keys and values sit; by default where the queries do.
        mask: added to the logits, or, if boolean, True where a query may see a key.
        scale: of the logits; `1 / sqrt(d)` by default.
        dropout: probability of dropping a weight.

    Raises:
        ValueError: if places and tokens differ in number, or an encoding is made for another
            number of heads, another width, or another width of the values it acts on.

    >>> q = torch.ones(1, 1, 2, 4)
    >>> attend(q, q, torch.tensor([[[[0.0], [1.0]]]]), [], Places.of(1, 2)).flatten().tolist()
    [0.5, 0.5]
    """
    key_places = places if key_places is None else key_places
    require_tokens("q", q, places)
    require_tokens("k", k, key_places)
    scale = q.shape[-1] ** -0.5 if scale is None else scale
    turned_q, turned_k, added = q, k, mask
    for encoding in encodings:
        require_heads(encoding, q)
        require_values(encoding, v)
        turned_q, turned_k = encoding.rotate(turned_q, turned_k, places, key_places)
        bias = encoding.bias(q, k, places, key_places, scale)
        added = bias if added is None else _join(bias, added)
    acting = [encoding for encoding in encodings if encoding.acts_on_values]
    if not acting and not forms_logits(q, added):
        return F.scaled_dot_product_attention(
            turned_q, turned_k, v, attn_mask=added, dropout_p=dropout, scale=scale
        )
    blind = None if mask is None else _blind(mask)
    if added is not None and blind is not None:
        added = added.masked_fill(blind, 1)  # any number: softmax of nothing but -inf is NaN
    weights = F.dropout(_logits(scale * turned_q, turned_k, added).softmax(-1), dropout)
    out = weights @ v
    for encoding in acting:
        extra = encoding.values(weights, places, key_places)
        out = out if extra is None else out + extra
    return out if blind is None else out.masked_fill(blind, 0)


def forms_logits(q: Float[Tensor, "b heads n d"], mask: Mask | None) -> bool:
    """Whether `attend` forms the logits for the sake of speed, given what is added to them.

    On the CPU torch does so too if the mask requires a gradient, as a learned bias does in
    training, but then looks through all logits for queries that see no key, at a fifth more time;
    here the mask tells. Half precision and graphs that are captured are left to torch; under
    `torch.func` the logits are always formed.

    >>> q, bias = torch.zeros(1, 1, 2, 4), torch.zeros(1, 1, 2, 2)
    >>> forms_logits(q, bias), forms_logits(q, bias.requires_grad_())
    (False, True)
    """
    if captured():
        return False
    if transformed():
        return True  # fused kernels know no batches of calls, no mask's gradient, no tangents
    return (
        mask is not None
        and mask.requires_grad
        and mask.dtype == q.dtype in (torch.float32, torch.float64)
        and q.device.type == "cpu"
        and not torch.is_autocast_enabled("cpu")
    )


def pad_logits(
    bias: Float[Tensor, "*b n m"], places: Places, key_places: Places
) -> Float[Tensor, "*b t s"]:
    """The bias of placed queries and keys with zeros for tokens that have no place."""
    if not (places.prefix or places.suffix or key_places.prefix or key_places.suffix):
        return bias
    return F.pad(bias, (key_places.prefix, key_places.suffix, places.prefix, places.suffix))


def placed(x: Float[Tensor, "*b t d"], places: Places) -> Float[Tensor, "*b n d"]:
    """The tokens that have a place."""
    return x[..., places.prefix : x.shape[-2] - places.suffix, :]


def require_heads(encoding: AttentionEncoding, q: Tensor) -> None:
    """Refuses queries of another number of heads, or another width, than the encoding is made for.

    Raises:
        ValueError: if they differ.
    """
    name = type(encoding).__name__
    if encoding.heads is not None and encoding.heads != q.shape[1]:
        raise ValueError(
            f"`q` must have the {encoding.heads} heads that {name} is made for, "
            f"but has {q.shape[1]}."
        )
    if encoding.head_dim is not None and encoding.head_dim != q.shape[-1]:
        raise ValueError(
            f"`q` must have the head width {encoding.head_dim} that {name} is made for, "
            f"but has {q.shape[-1]}."
        )


def require_values(encoding: AttentionEncoding, v: Tensor) -> None:
    """Refuses values of another width than an encoding that acts on them is made for.

    Raises:
        ValueError: if they differ.
    """
    made_for = encoding.head_dim
    if encoding.acts_on_values and made_for is not None and made_for != v.shape[-1]:
        raise ValueError(
            f"`v` must have the head width {encoding.head_dim} that {type(encoding).__name__} "
            f"is made for, as it acts on values, but has {v.shape[-1]}."
        )


def _logits(q: Tensor, k: Tensor, added: Tensor | None) -> Float[Tensor, "b heads n m"]:
    logits = q @ k.mT
    if added is None:
        return logits
    if added.dtype == torch.bool:
        return logits.masked_fill(~added, -torch.inf)
    return logits + added


def _blind(mask: Mask) -> Bool[Tensor, "#b #heads #n 1"]:
    """Which queries see no key."""
    if mask.dtype == torch.bool:
        return ~mask.any(-1, keepdim=True)
    return (mask == -torch.inf).all(-1, keepdim=True)


def _join(bias: Tensor | None, mask: Tensor) -> Tensor:
    if bias is None:
        return mask
    if mask.dtype == torch.bool:
        return bias.masked_fill(~mask, -torch.inf)
    return bias + mask
