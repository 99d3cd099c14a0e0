"""Which kernel attention runs, for given inputs."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.attention import SDPBackend

from visionpe.encodings.attention import forms_logits


def attention_backend(
    q: Float[Tensor, "b heads n d"],
    k: Float[Tensor, "b heads m d"],
    v: Float[Tensor, "b heads m dv"],
    mask: Float[Tensor, "#b #heads #n #m"] | Bool[Tensor, "#b #heads #n #m"] | None = None,
    *,
    dropout: float = 0.0,
    scale: float | None = None,
) -> str:
    """The name of what `attend` runs: a member of `torch.nn.attention.SDPBackend`, or `EAGER`.

    `MATH`, torch's formula, and `EAGER`, that of `attend`, form all logits, `b heads n m`; the
    others do not. On the CPU a mask that requires a gradient, as a learned bias does in training,
    means `EAGER`, or `MATH` in half precision and in captured graphs; dropout means `MATH`. What
    acts on values is not known here: it means the formula of `attend`. Nothing is computed. Under
    `no_grad` the bias of an encoding requires no gradient, but a parameter that is itself the mask
    still does.

    Args:
        q, k, v: queries, keys and values.
        mask: what `attend` would hand over: the bias, a mask, or both joined.
        dropout: probability of dropping a weight.
        scale: of the logits.

    >>> q = torch.zeros(1, 2, 6, 8)
    >>> bias = torch.zeros(1, 2, 6, 6)
    >>> attention_backend(q, q, q, bias), attention_backend(q, q, q, bias.requires_grad_())
    ('FLASH_ATTENTION', 'EAGER')
    """
    if forms_logits(q, mask):
        return "EAGER"
    choice = torch._fused_sdp_choice(q, k, v, mask, dropout, False, scale=scale)
    return SDPBackend(choice).name
