"""What turns queries and keys, as numbers: cosines and sines, or matrices.

Nothing is known of the encoding: each form is a guess, made of its results for simple queries and
kept if it then turns random ones as the encoding does.
"""

from collections.abc import Callable
from itertools import chain
from typing import Literal, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from visionpe.encodings.rotate import turn, turn_in_reals
from visionpe.folding.constants import for_batch, once

Form = Literal["interleaved", "half", "blocks"]


class Turns(NamedTuple):
    """How tokens are turned.

    Attributes:
        form: pairs of neighbours, pairs half a head apart, or blocks of channels.
        table: cosines and sines `#b #heads n pairs 2` of neighbours, `2 #b #heads n pairs` of
            halves; matrices `#b #heads n blocks s s`.
    """

    form: Form
    table: Tensor

    def still(self) -> bool:
        """Whether nothing is turned."""
        if self.form == "blocks":
            return self.table.shape[-1] == 1 and bool((self.table == 1).all())
        cos, sin = self.table.unbind(-1 if self.form == "interleaved" else 0)
        return bool((cos == 1).all()) and not sin.any()


def turns_of(
    turned: Callable[[Tensor], Tensor],
    x: Float[Tensor, "b heads n d"],
    likely: Turns | None = None,
) -> Turns | None:
    """The turns of an encoding; None: it does not turn each token by its place alone.

    Args:
        turned: the encoding.
        x: tokens like those that it is given, in float32 or better.
        likely: a first guess.

    >>> def turned(x):
    ...     return torch.stack([x[..., 1], -x[..., 0]], -1)
    >>> quarter = turns_of(turned, torch.ones(1, 1, 1, 2))
    >>> quarter.form, quarter.table.flatten().tolist()
    ('interleaved', [0.0, -1.0])
    """
    sample = torch.randn_like(x)
    wanted = turned(sample)
    width = x.shape[-1]
    for found in chain(
        [] if likely is None else [likely],
        (guess(turned, x) for guess in (_neighbours, _halves) if width % 2 == 0),
        (_blocks(turned, x, size) for size in range(1, width + 1) if width % size == 0),
    ):
        if _close(apply_turns(sample, found), wanted):
            return found
    return None


def apply_turns(x: Float[Tensor, "b heads n d"], turns: Turns) -> Float[Tensor, "b heads n d"]:
    """The turned tokens, in the dtype of `x`."""
    form, table = turns
    if form == "half":
        cos, sin = (for_batch(part, x.shape[0]) for part in table)
        return turn_in_reals(x, cos, sin, "half")
    table = for_batch(table, x.shape[0])
    if form == "interleaved":
        if torch.compiler.is_compiling():
            return turn_in_reals(x, table[..., 0], table[..., 1], "interleaved")
        return turn(x, torch.view_as_complex(table))
    blocks = x.to(table.dtype).unflatten(-1, (-1, table.shape[-1]))  # b heads n blocks s
    batch = "b" if table.shape[0] > 1 else "z"  # not repeated: samples are rows of one product
    return torch.einsum(f"bhnks,{batch}hnkts->bhnkt", blocks, table).flatten(-2).to(x.dtype)


def _neighbours(turned: Callable[[Tensor], Tensor], x: Tensor) -> Turns:
    probe = torch.zeros_like(x)
    probe[..., ::2] = 1
    table = turned(probe).unflatten(-1, (-1, 2))
    return Turns("interleaved", once(once(table), 1).contiguous())


def _halves(turned: Callable[[Tensor], Tensor], x: Tensor) -> Turns:
    probe = torch.zeros_like(x)
    probe[..., : x.shape[-1] // 2] = 1
    table = torch.stack(turned(probe).chunk(2, -1))
    return Turns("half", once(once(table, 1), 2).contiguous())


def _blocks(turned: Callable[[Tensor], Tensor], x: Tensor, size: int) -> Turns:
    """Matrices of blocks of this size: their columns, of all blocks at once."""
    columns = []
    for first in range(size):
        probe = torch.zeros_like(x)
        probe[..., first::size] = 1
        columns.append(turned(probe).unflatten(-1, (-1, size)))
    table = torch.stack(columns, -1)  # b heads n blocks s s
    return Turns("blocks", once(once(table), 1).contiguous())


def _close(a: Tensor, b: Tensor) -> bool:
    return bool((a - b).abs().max() <= 1e-6 * (1 + b.abs().max()))
