"""A bias for each offset from a small network of its logarithm: Swin-V2, arXiv 2111.09883.

The paper's form, `16 sigmoid(f)`, starts at 8 for every pair of tokens with a place. Among such
tokens alone the softmax does not see the 8; a token without a place, whose bias is 0, would be
seen `e^8` times less. So by default the 8 is taken off: `16 sigmoid(f) - 8`, the same attention
in windows without such tokens, and no change at all while `f` is 0.
"""

import math
from functools import reduce
from typing import final

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from typing_extensions import override

from visionpe.encodings._offsets import (
    distinct_samples,
    heads_second,
    require_positive,
    require_std,
    require_window,
    start,
)
from visionpe.encodings._unwatched import transformed
from visionpe.encodings.attention import AttentionEncoding, pad_logits
from visionpe.encodings.precision import exactly, wide_dtype
from visionpe.encodings.relative import lattice_bias
from visionpe.places import Places

_UNITS = 16  # hidden units at a time, for pairs: never all of them for all pairs


def log_offset(offset: Float[Tensor, "*s 2"], window: tuple[int, int]) -> Float[Tensor, "*s 2"]:
    """Offsets on Swin-V2's scale: `sign(d) log2(1 + 8 |d| / (window - 1)) / log2(8)`.

    Args:
        offset: `(dy, dx)`, query minus key, in cells.
        window: `(h, w)` whose largest offsets are mapped to `log2(9) / 3`, about 1.06.

    >>> log_offset(torch.tensor([[0.0, 7.0], [-8.0, 0.0]]), (9, 9)).tolist()
    [[0.0, 1.0], [-1.0566416...0.0]]
    """
    require_window(window)
    # One cell has no offset but 0: nothing to scale.
    last = torch.stack([offset.new_tensor(float(max(n - 1, 1))) for n in window])
    return offset.sign() * torch.log2(1 + 8 * offset.abs() / last) / 3


def log_cpb(
    offset: Float[Tensor, "*s 2"],
    weight: Float[Tensor, "hidden 2"],
    shift: Float[Tensor, " hidden"],
    out: Float[Tensor, "heads hidden"],
    window: tuple[int, int],
    *,
    baseline: float = 8.0,
) -> Float[Tensor, "heads *s"]:
    """The bias of offsets: `16 sigmoid(out relu(weight log_offset + shift)) - baseline`.

    Args:
        offset: `(dy, dx)`, query minus key, in cells, whole or not.
        weight, shift, out: of the network.
        window: as of `log_offset`.
        baseline: what is taken off; 0: the paper's form.

    >>> zeros = torch.zeros(1, 1)
    >>> log_cpb(torch.ones(3, 2), torch.ones(1, 2), zeros[0], zeros, (4, 4)).tolist()
    [[0.0, 0.0, 0.0]]
    """
    logits = _units(log_offset(offset, window), weight, shift, out)
    return (16 * logits.sigmoid() - baseline).movedim(-1, 0)


def log_cpb_pairs(
    offset: Float[Tensor, "*b n m 2"],
    weight: Float[Tensor, "hidden 2"],
    shift: Float[Tensor, " hidden"],
    out: Float[Tensor, "heads hidden"],
    window: tuple[int, int],
    *,
    baseline: float = 8.0,
) -> Float[Tensor, "heads *b n m"]:
    """`log_cpb` for very many offsets: a few hidden units at a time, recomputed for the gradient.

    >>> weights = torch.randn(20, 2), torch.randn(20), torch.randn(3, 20)
    >>> few, many = (f(torch.ones(4, 5, 2), *weights, (4, 4)) for f in (log_cpb, log_cpb_pairs))
    >>> torch.allclose(few, many, atol=1e-4)
    True
    """
    points = log_offset(offset, window)
    again = torch.is_grad_enabled() and not transformed()
    terms = []
    for part in range(0, weight.shape[0], _UNITS):
        units = slice(part, part + _UNITS)
        some = (points, weight[units], shift[units], out[:, units])
        terms.append(checkpoint(_units, *some, use_reentrant=False) if again else _units(*some))
    logits = reduce(torch.add, terms)
    return (16 * logits.sigmoid() - baseline).movedim(-1, 0)


@final
class LogCPB(AttentionEncoding):
    """Adds to the logits what a small network makes of the logarithm of each offset.

    Swin-V2's log-spaced continuous position bias: it takes any offset, whole or not, so that a
    model goes to larger windows without a new table. `(3 + heads) hidden` parameters. For a
    lattice with itself the network sees `(2h-1) (2w-1)` offsets and the rest is
    `RelativeBias`: `4 hidden (2h-1) (2w-1)` bytes besides. For other places, or for keys given
    places of their own, it sees every pair, 16 hidden units at a time: about
    `4 (36 + 3 heads) n m` bytes, and that for each sample whose offsets are its own.

    Args:
        heads: number of heads.
        window: `(h, w)` of the map or window it is (pre)trained on, the unit of offsets; keep it
            when going to another size (Swin-V2's `pretrained_window_size`).
        hidden: units of the network.
        baseline: what is taken off `16 sigmoid(f)`, so that tokens without a place, whose bias is
            0, are on a level with the others. 0: the paper's form.
        std: of the truncated normal distribution that the network's weights start from; the
            paper's code has 0.02. By default the last weights are zero, which with a baseline of
            8 changes nothing, and the first ones uniform.

    Raises:
        ValueError: if `heads`, `window`, `hidden` or `std` is too small.

    >>> layer = LogCPB(2, (4, 4))
    >>> q = torch.ones(1, 2, 6, 8)
    >>> layer.bias(q, q, Places.of(2, 3), Places.of(2, 3), 1.0).abs().max().item()
    0.0
    """

    def __init__(
        self,
        heads: int,
        window: tuple[int, int],
        *,
        hidden: int = 512,
        baseline: float = 8.0,
        std: float = 0.0,
    ) -> None:
        super().__init__()
        require_positive("heads", heads)
        require_positive("hidden", hidden)
        require_window(window)
        require_std(std)
        self.heads: int = heads
        self.window = (window[0], window[1])
        self.hidden = hidden
        self.baseline = baseline
        self.std = std
        self.weight = nn.Parameter(torch.empty(hidden, 2))
        self.shift = nn.Parameter(torch.empty(hidden))
        self.out = nn.Parameter(torch.empty(heads, hidden))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """The network as it starts."""
        if self.std:
            start(self.weight, self.std)
            nn.init.zeros_(self.shift)
        else:
            nn.init.uniform_(self.weight, -math.sqrt(0.5), math.sqrt(0.5))  # as a linear layer's
            nn.init.uniform_(self.shift, -math.sqrt(0.5), math.sqrt(0.5))
        start(self.out, self.std)

    @override
    def bias(
        self,
        q: Float[Tensor, "b heads n d"],
        k: Float[Tensor, "b heads m d"],
        places: Places,
        key_places: Places,
        scale: float,
    ) -> Float[Tensor, "#b heads n m"]:
        """The bias; it looks at the places alone."""
        same = places.positions is key_places.positions and places.positions.dim() == 2
        places, key_places = places.to(q.device), key_places.to(q.device)
        precise = wide_dtype(q)
        weight, shift, out = (part.to(precise) for part in (self.weight, self.shift, self.out))
        with exactly(q.device):  # neither F.linear nor a matmul of coordinates in less than float32
            if same and places.shape is not None and key_places.shape is not None:
                h, w = places.shape
                offset = _lattice_offsets(places, h, w).to(precise)
                table = log_cpb(offset, weight, shift, out, self.window, baseline=self.baseline)
                bias = lattice_bias(table.to(q.dtype), h, w)[None]
                return pad_logits(bias, places, key_places)
            q_at, k_at = places.positions.to(precise), key_places.positions.to(precise)
            q_at, k_at, sample = distinct_samples(q_at, k_at)
            offset = q_at[..., :, None, :] - k_at[..., None, :, :]  # *b n m 2
            bias = log_cpb_pairs(offset, weight, shift, out, self.window, baseline=self.baseline)
        bias = heads_second(bias).to(q.dtype)
        bias = bias if sample is None else bias.index_select(0, sample)
        return pad_logits(bias, places, key_places)

    def __repr__(self) -> str:
        return (
            f"LogCPB({self.heads}, {self.window}, hidden={self.hidden}, "
            f"baseline={self.baseline}, std={self.std})"
        )


def _lattice_offsets(places: Places, h: int, w: int) -> Float[Tensor, "t 2"]:
    """The distinct offsets of an `h x w` lattice, in the order of a table of relative biases."""
    points = places.positions.unflatten(0, (h, w))
    # Rows are equally far apart, and so are columns.
    dy, dx = _spread(points[:, 0, 0]), _spread(points[0, :, 1])
    return torch.stack(torch.meshgrid(dy, dx, indexing="ij"), -1).flatten(0, 1)


def _units(points: Tensor, weight: Tensor, shift: Tensor, out: Tensor) -> Float[Tensor, "*s heads"]:
    return F.linear(points, weight, shift).relu_() @ out.mT


def _spread(line: Float[Tensor, " n"]) -> Float[Tensor, " t"]:
    """All offsets of equally spaced numbers, from the lowest: `2n - 1` of them."""
    steps = torch.arange(1 - line.shape[0], line.shape[0], device=line.device)
    return steps.sign() * (line.index_select(0, steps.abs()) - line[0])
