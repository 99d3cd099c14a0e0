"""What an encoding does inside attention, as numbers."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from visionpe.encodings.precision import wide_dtype
from visionpe.folding.constants import Constants, for_batch, once
from visionpe.folding.turns import Form, Turns, apply_turns, turns_of
from visionpe.places import Places


class FoldedBias(Constants):
    """Stands for `AttentionEncoding.bias` where it looks at no query and no key."""

    what = "bias"

    def bake(
        self, own: Callable[..., Any], q: Tensor, k: Tensor, *rest: Any, **options: Any
    ) -> str | None:
        """Keeps the bias, or None where it is zero."""
        with torch.enable_grad():
            q, k = (torch.randn_like(x).requires_grad_() for x in (q, k))
            bias = own(q, k, *rest, **options)
            if bias is not None and bias.requires_grad:
                ways = torch.autograd.grad(bias.sum(), (q, k), allow_unused=True)
                if any(way is not None for way in ways):
                    return "its bias depends on queries or keys"
        return self.keep(_size(q, k), bias=once(bias) if bias is not None and bias.any() else None)

    def act(
        self, q: Tensor, k: Tensor, places: Places, key_places: Places, scale: float
    ) -> Tensor | None:
        """What is added to the logits."""
        (bias,) = self.find(_size(q, k), "bias")
        return None if bias is None else for_batch(bias, q.shape[0]).to(q.dtype)


class FoldedTurns(Constants):
    """Stands for `AttentionEncoding.rotate`.

    Attributes:
        forms: of the turns of queries and of keys, by size; None: they are not turned.
    """

    what = "turns"

    def __init__(self, encoding: Any) -> None:
        super().__init__(encoding)
        self.forms: dict[str, tuple[Form | None, Form | None]] = {}

    def bake(
        self, own: Callable[..., Any], q: Tensor, k: Tensor, *rest: Any, **options: Any
    ) -> str | None:
        """Keeps the turns of queries and of keys."""
        q, k = (x.to(wide_dtype(x)) for x in (q, k))
        of_q = turns_of(lambda x: own(x, k, *rest, **options)[0], q)
        of_k = turns_of(
            lambda x: own(q, x, *rest, **options)[1], k, of_q if q.shape == k.shape else None
        )
        if of_q is None or of_k is None:
            return "it does more to queries and keys than to turn them"
        forms = _form(of_q), _form(of_k)
        size = _size(q, k)
        if self.forms.setdefault(size, forms) != forms:
            return f"it runs on different places with {size}"
        return self.keep(
            size, q=of_q.table if forms[0] else None, k=of_k.table if forms[1] else None
        )

    def act(
        self, q: Tensor, k: Tensor, places: Places, key_places: Places
    ) -> tuple[Tensor, Tensor]:
        """The turned queries and keys."""
        size = _size(q, k)
        tables = self.find(size, "q", "k")
        forms = self.forms[size]
        return _turned(q, forms[0], tables[0]), _turned(k, forms[1], tables[1])


class Values(Constants):
    """Says that `AttentionEncoding.values` cannot be folded."""

    what = "values"

    def bake(self, own: Callable[..., Any], *args: Any, **options: Any) -> str | None:
        """Why not."""
        return "what it adds to the values depends on the attention's weights"

    def act(self, *args: Any, **options: Any) -> Any:
        """Never called: nothing is kept."""
        raise AssertionError("values are not folded")


def _size(q: Tensor, k: Tensor) -> str:
    return f"{q.shape[-2]} queries and {k.shape[-2]} keys"


def _form(turns: Turns) -> Form | None:
    return None if turns.still() else turns.form


def _turned(x: Tensor, form: Form | None, table: Tensor | None) -> Tensor:
    return x if form is None or table is None else apply_turns(x, Turns(form, table))
