"""Queries and keys of any attention, brought to `b heads n d` and back."""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class Heads:
    """Where a module's queries `*lead n d` have their heads.

    Attributes:
        count: how many there are.
        axis: their dimension, from behind; None: they are folded into the first, heads fastest.
        dims: of the queries.
    """

    count: int
    axis: int | None
    dims: int

    def split(self, x: Float[Tensor, "*lead n d"]) -> Float[Tensor, "b heads n d"]:
        """Samples, windows and whatever else there is before, in one dimension.

        >>> import torch
        >>> Heads(2, None, 3).split(torch.zeros(6, 4, 5)).shape
        torch.Size([3, 2, 4, 5])
        """
        if self.axis is None:
            x = x.unflatten(0, (-1, self.count)).movedim(1, -3)
        else:
            x = x.movedim(self.axis, -3)
        return x if x.dim() == 4 else x.flatten(0, -4)

    def join(self, x: Float[Tensor, "b heads n d"], lead: tuple[int, ...]) -> Tensor:
        """The inverse: `*lead n d`."""
        if self.axis is None:
            first = lead[0] // self.count
            return x.reshape(first, *lead[1:], *x.shape[1:]).movedim(-3, 1).flatten(0, 1)
        rest = list(lead)
        del rest[self.axis + 2]  # counted with the two dimensions behind `lead`
        return x.reshape(*rest, *x.shape[1:]).movedim(-3, self.axis)
