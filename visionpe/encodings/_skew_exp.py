"""The exponential of skew-symmetric matrices: a Taylor polynomial of a part, squared again.

`torch.linalg.matrix_exp` gives the same rotations. Its gradient exponentiates matrices of twice the
side, which takes four times as long as the one of these products, and ONNX has no such operator.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from visionpe.encodings._unwatched import transformed

_NORM = 2.0  # of the part whose polynomial is taken: its remainder is below half a unit of 1
_TERMS = {torch.float32: (4, 4), torch.float64: (4, 6)}  # runs of terms, and terms in a run
_SQUARINGS = 20  # angles up to 2 million: beyond, float32 no longer tells a place from the next
_KEPT = 2**20  # numbers of matrices whose products, a dozen times as many, the gradient may keep


def skew_exp(a: Float[Tensor, "*b s s"]) -> Float[Tensor, "*b s s"]:
    """The rotations `exp(a)` of skew-symmetric matrices in single or double precision.

    Each matrix is halved until its largest angle is 2 at most, and its rotation squared as often:
    what one comes to does not depend on the others. Of many matrices, the products are made again
    for the gradient, not kept.

    >>> skew_exp(torch.tensor([[0.0, -torch.pi], [torch.pi, 0.0]])).round().abs().tolist()
    [[1.0, 0.0], [0.0, 1.0]]
    """
    if a.numel() > _KEPT and torch.is_grad_enabled() and not transformed():
        return checkpoint(_exp, a, use_reentrant=False, preserve_rng_state=False)
    return _exp(a)


def _exp(a: Tensor) -> Tensor:
    # Angles come in pairs, +t and -t, so that the largest is at most the norm by the root of 2.
    largest = torch.linalg.matrix_norm(a.detach()) / math.sqrt(2)
    halvings = (largest / _NORM).log2().ceil().clamp(0, _SQUARINGS)
    out = _polynomial(a * torch.exp2(-halvings)[..., None, None])
    for done in range(_most(halvings)):
        out = torch.where((done < halvings)[..., None, None], out @ out, out)
    return out


def _polynomial(a: Tensor) -> Tensor:
    """`sum a^n / n!`, in runs of powers that share their products (Paterson-Stockmeyer)."""
    runs, width = _TERMS[a.dtype]
    powers = [torch.eye(a.shape[-1], dtype=a.dtype, device=a.device), a]
    while len(powers) <= width:
        powers.append(powers[-1] @ a)
    step = powers.pop()
    out = torch.zeros_like(a)
    for run in reversed(range(runs)):
        out = step @ out if run < runs - 1 else out
        for n, power in enumerate(powers, run * width):
            out = torch.add(out, power, alpha=1 / math.factorial(n))
    return out


def _most(halvings: Tensor) -> int:
    """How many squarings the largest takes; in a graph, which cannot ask, those of any."""
    if transformed() or halvings.is_meta:
        return _SQUARINGS
    return int(halvings.nan_to_num().max()) if halvings.numel() else 0
