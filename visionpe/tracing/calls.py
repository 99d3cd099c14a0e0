"""The function mode that finds attention: logits that meet a softmax, and torch's own calls."""

from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from visionpe.tracing.codes import is_nowhere, is_pairs, pair, unpair, varies
from visionpe.tracing.moves import collapse
from visionpe.tracing.state import Frame, Run, is_float

Call = Literal["sdpa", "softmax", "mha"]
PRODUCTS = {"matmul", "__matmul__", "__rmatmul__", "bmm", "einsum", "baddbmm"}


class Attended(NamedTuple):
    """A softmax or a call of attention that was met.

    Attributes:
        module: whose forward makes it.
        call: how.
        number: the how-manieth such call of one forward of the module it is, from 0.
        lead: the dimensions before those of the tokens.
        queries: `... n`; None: they have no place.
        keys: `... m`; None: they have no place, and this is no attention to places.
        product: for "softmax", the how-manieth matrix product of that forward made the logits.
        heads: if they are known from the call.
        width: of a head, or None.
    """

    module: str
    call: Call
    number: int
    lead: tuple[int, ...]
    queries: Tensor | None = None
    keys: Tensor | None = None
    product: int | None = None
    heads: int | None = None
    width: int | None = None


class Calls(TorchFunctionMode):
    """Notes each call of attention, and answers torch's own ones with the places of the queries."""

    def __init__(self, run: Run) -> None:
        super().__init__()
        self.run = run

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """The function, watched."""
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        if self.run.paused or not self.run.stack:
            return func(*args, **kwargs)
        if name in PRODUCTS:
            return self._product(func, args, kwargs)
        if name == "softmax":
            return self._softmax(func, *args, **kwargs)
        if name == "scaled_dot_product_attention":
            with self.run.pause():
                return self._sdpa(*args, **kwargs)
        if name == "multi_head_attention_forward":
            with self.run.pause():
                return self._mha(*args, **kwargs)
        return func(*args, **kwargs)

    def _count(self, call: str) -> int:
        """One more of these in every module that is running; returns the owner's number."""
        number = self.run.owner().calls[call]
        for frame in self.run.stack:
            frame.calls[call] += 1
        return number

    def _product(self, func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        before = self.run.logits
        numbers: list[tuple[Frame, int]] = [(f, f.calls["product"]) for f in self.run.stack]
        result = func(*args, **kwargs)
        self._count("product")
        if self.run.logits > before:
            for frame, number in numbers:
                frame.logits = number
        return result

    def _softmax(
        self,
        func: Any,
        input: Tensor,  # noqa: A002 # torch's word
        dim: int | None = None,
        *args: Any,
        **kwargs: Any,
    ) -> Any:
        owner, number = self.run.owner(), self._count("softmax")
        if not is_float(input) or input.dim() < 2:
            return func(input, dim, *args, **kwargs)
        with self.run.pause():
            x = input.transpose(-1 if dim is None else dim, -1)
            found = Attended(owner.name, "softmax", number, tuple(x.shape[:-2]))
            if x.dtype != torch.float64 or is_nowhere(x):
                pass
            elif is_pairs(x):
                (queries, _), (other, keys) = unpair(x.select(-1, 0)), unpair(x.select(-2, 0))
                turned = varies(other, -1) and not varies(keys, -1)  # keys times queries
                if turned:
                    queries, keys = unpair(x.select(-1, 0))[1], other
                if owner.name in self.run.still:
                    parts = self._left(owner, queries)[..., None], keys[..., None, :]
                    x = pair(*(parts[::-1] if turned else parts))
                    input = x.transpose(-1 if dim is None else dim, -1)  # noqa: A001
                found = found._replace(
                    queries=_placed(queries),
                    keys=_placed(keys),
                    product=owner.logits,
                    width=self.run.width,
                )
            elif varies(x, -1):  # weights of places, without a query: a class token, a pooling
                found = found._replace(keys=x.select(-2, 0))
            self._note(found)
        return func(input, dim, *args, **kwargs)

    def _sdpa(self, query: Tensor, key: Tensor, value: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        owner, number = self.run.owner(), self._count("sdpa")
        found = Attended(owner.name, "sdpa", number, tuple(query.shape[:-2]))
        # Features that sit at different places are tokens: that is attention between channels.
        if not (varies(query, -1) or varies(key, -1)):
            found = found._replace(
                queries=self._tokens(query), keys=self._tokens(key), width=query.shape[-1]
            )
        self._note(found)
        shape = (*query.shape[:-1], value.shape[-1])
        if found.queries is None:
            return collapse(value, -2, self.run.extent).expand(shape)
        return self._left(owner, found.queries)[..., None].expand(shape)

    def _mha(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        embed_dim_to_check: int,
        num_heads: int,
        *args: Any,
        **kwargs: Any,
    ) -> tuple[Tensor, Tensor | None]:
        """Tokens come first, or in the second dimension if there is a batch: `n b d`, `n d`."""
        owner, number = self.run.owner(), self._count("mha")
        inner = [x.transpose(0, -2) for x in (query, key, value)]
        queries, keys = (self._tokens(x) for x in inner[:2])
        lead, width = tuple(inner[0].shape[:-2]), query.shape[-1] // num_heads
        self._note(Attended(owner.name, "mha", number, lead, queries, keys, None, num_heads, width))
        if queries is None:
            out = collapse(inner[2], -2, self.run.extent).expand(inner[0].shape)
        else:
            out = self._left(owner, queries)[..., None].expand(inner[0].shape)
        weights = out[..., :1].expand(*out.shape[:-1], len(key))
        return out.transpose(0, -2), weights if kwargs.get("need_weights", True) else None

    def _note(self, found: Attended) -> None:
        self.run.found.append(found)
        self.run.attended[found.module] += found.queries is not None

    def _left(self, owner: Frame, queries: Tensor) -> Tensor:
        """Where attention leaves its queries: where they are, or all that have a place at one."""
        if owner.name not in self.run.still:
            return queries
        return torch.where(queries.isnan(), queries, self.run.extent / 2)

    def _tokens(self, x: Tensor) -> Tensor | None:
        """The places of tokens, without their features."""
        return _placed(collapse(x, -1, self.run.extent)[..., 0])


def _placed(x: Tensor) -> Tensor | None:
    return None if is_nowhere(x) else x
