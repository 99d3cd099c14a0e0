"""Encodings inside a module's own attention: its forward runs as it is, and its calls are met."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from visionpe.attaching.attached import Attached
from visionpe.attaching.calling import Call
from visionpe.attaching.errors import AttachError
from visionpe.attaching.heads import Heads
from visionpe.attaching.mha import multi_head
from visionpe.attaching.products import FOLLOWED, Operands, factor
from visionpe.attaching.scores import Acting, Turned, add_values, attention, bias_of, turn
from visionpe.paddings.forwards import PaddedForward
from visionpe.tracing.calls import PRODUCTS

_CALLS = {
    "scaled_dot_product_attention": "sdpa",
    "multi_head_attention_forward": "mha",
    "softmax": "softmax",
}


class Point(NamedTuple):
    """A call of attention in a module's forward, as `trace` names it."""

    call: str
    number: int
    product: int | None
    heads: Heads


@dataclass
class Logits:
    """Logits on their way from the product that made them to their softmax.

    Attributes:
        turned: queries and keys of the product.
        tensor: what has become of the product so far.
        scale: what it was multiplied by.
    """

    turned: Turned
    tensor: Tensor
    scale: float | Tensor


class InAttention:
    """Runs the forward of one module with encodings in its attention.

    Its `forward` is set on the module itself, above its class's and beneath that of other pads.
    """

    def __init__(self, owner: nn.Module, attached: Attached) -> None:
        self.owner = owner
        self.attached = attached
        self.acting: dict[str, list[tuple[Point, Acting]]] = {}  # by name
        self.inner = _beneath_pads(owner)
        _set_beneath_pads(owner, self.forward)
        # torch's fast path for encoder layers calls no forward, unless there are hooks.
        fast = isinstance(owner, nn.MultiheadAttention)
        self.slow = owner.register_forward_hook(_nothing) if fast else None

    @classmethod
    def of(cls, owner: nn.Module, attached: Attached) -> "InAttention":
        """The one that a module has, or a new one."""
        own = getattr(_beneath_pads(owner), "__self__", None)
        if isinstance(own, InAttention) and own.attached is attached:
            return own
        return cls(owner, attached)

    def leave(self, name: str) -> None:
        """Takes the encodings of a name off; behind the last, the module is as it was."""
        self.acting.pop(name, None)
        if self.acting or _beneath_pads(self.owner) != self.forward:
            return
        _set_beneath_pads(self.owner, self.inner)
        if self.slow is not None:
            self.slow.remove()

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The module's own forward, with the encodings that are on."""
        own = self.inner or partial(type(self.owner).forward, self.owner)
        if not self.attached.active:
            return own(*args, **kwargs)
        points: dict[Point, list[Acting]] = {}
        for pairs in self.acting.values():
            for point, acting in pairs:
                held = acting.held
                now = acting if held is None else acting._replace(encoding=held.now())
                points.setdefault(point, []).append(now)
        meeting = Meeting(points, self.attached.caller.current())
        with meeting:
            result = own(*args, **kwargs)
        meeting.require_all()
        return result


class Meeting(TorchFunctionMode):
    """One run of a module's forward: counts its calls and changes those that encodings act in."""

    def __init__(self, points: dict[Point, list[Acting]], call: Call) -> None:
        super().__init__()
        self.points = points
        self.call = call
        self.counts: Counter[str] = Counter()
        self.waiting: dict[Point, Logits] = {}  # logits made, softmax to come
        self.weighed: dict[Point, Turned] = {}  # weights made, product with the values to come
        self.open = set(points)

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """The function, with encodings where it is attention."""
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        if name in PRODUCTS:
            return self._product(name, func, args, kwargs)
        if name not in _CALLS:
            result = func(*args, **kwargs)
            if name in FOLLOWED:
                self._follow(name, args, result)
            return result
        kind = _CALLS[name]
        number = self._count(kind)
        for point, acting in self.points.items():
            if (point.call, point.number) == (kind, number):
                self.open.discard(point)
                if kind == "softmax":
                    return self._softmax(point, func, args, kwargs)
                run: Callable[..., Any] = partial(attention, point.heads, acting, self.call)
                if kind == "sdpa":
                    return run(*args, **kwargs)
                return multi_head(partial(run, weights_too=True), *args, **kwargs)
        return func(*args, **kwargs)

    def require_all(self) -> None:
        """Refuses a forward that took another way than the one that was traced.

        Raises:
            AttachError: if a call of attention was not met.
        """
        missed = [*self.open, *self.weighed]
        if missed:
            site = self.points[missed[0]][0].ground.site
            what = "product with the values" if missed[0] in self.weighed else missed[0].call
            raise AttachError(
                f"`{site.module}` computes attention in another way than when it was traced: its "
                f"{what} number {missed[0].number} was not met. Detach, and attach again while it "
                "runs as it does now."
            )

    def _count(self, kind: str) -> int:
        number = self.counts[kind]
        self.counts[kind] += 1
        return number

    def _product(self, name: str, func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        number = self._count("product")
        for point, turned in self.weighed.items():
            a = args[0] if args else None
            placed = turned.placed[0]
            if isinstance(a, Tensor) and a.shape[-2:] == (placed[1].tokens, placed[2].tokens):
                del self.weighed[point]
                out = func(*args, **kwargs)
                split = point.heads.split(out)
                return point.heads.join(
                    add_values(split, point.heads.split(a), turned.placed), out.shape[:-2]
                )
        for point, acting in self.points.items():
            if point.product == number:
                return self._logits(point, acting, name, func, args, kwargs)
        return func(*args, **kwargs)

    def _logits(
        self, point: Point, acting: list[Acting], name: str, func: Any, args: Any, kwargs: Any
    ) -> Any:
        operands = Operands.of(name, args)
        module = acting[0].ground.site.module
        if operands is None or operands.a.dim() != point.heads.dims:
            raise AttachError(
                f"`{module}` computes its logits by `{name}` of arguments that encodings cannot "
                "act on. Attach elsewhere: `at=`."
            )
        lead = operands.a.shape[:-2]
        q, k = operands.a, operands.b.mT
        k = k.expand(*lead, *k.shape[-2:])
        split_q, split_k = point.heads.split(q), point.heads.split(k)
        turned = turn(split_q, split_k, acting, self.call)
        if turned.q is not split_q or turned.k is not split_k:
            a = point.heads.join(turned.q, lead)
            b = point.heads.join(turned.k, lead).mT
            args = operands.back(a, b)
        made = func(*args, **kwargs)
        self.waiting[point] = Logits(turned, made, float(kwargs.get("alpha", 1.0)))
        return made

    def _follow(self, name: str, args: Any, result: Any) -> None:
        """Logits between their product and their softmax: what they are multiplied by."""
        for point, logits in self.waiting.items():
            if isinstance(result, Tensor) and any(each is logits.tensor for each in args):
                logits.scale = logits.scale * factor(name, args, logits.tensor, point.heads)
                logits.tensor = result

    def _softmax(self, point: Point, func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        logits = args[0] if args else kwargs["input"]
        dim = args[1] if len(args) > 1 else kwargs.get("dim", -1)
        waiting = self.waiting.pop(point)
        turned, acting = waiting.turned, self.points[point]
        site = acting[0].ground.site
        if dim not in (-1, logits.dim() - 1):
            raise AttachError(
                f"`{site.module}` holds its logits with the queries last, which encodings cannot "
                "act on yet. Attach elsewhere: `at=`."
            )
        bias = bias_of(turned, acting, self.call, waiting.scale)
        if bias is not None:
            lead = logits.shape[:-2]
            bias = bias.to(logits.dtype)
            if logits.dim() != 4 or point.heads.axis != -3:
                bias = bias.expand(turned.q.shape[0], -1, -1, -1)
                bias = point.heads.join(bias, lead)
            logits = logits + bias
        if args:
            args = (logits, *args[1:])
        else:
            kwargs = {**kwargs, "input": logits}
        if any(encoding.acts_on_values for encoding, _, _ in turned.placed):
            self.weighed[point] = turned
        return func(*args, **kwargs)


def _nothing(module: nn.Module, args: Any, output: Any) -> None:
    """A hook that is there to be seen."""


def _beneath_pads(owner: nn.Module) -> Any:
    """The forward that a module was given, without that of `visionpe.set_padding`, or None."""
    forward = vars(owner).get("forward")
    return forward.inner if isinstance(forward, PaddedForward) else forward


def _set_beneath_pads(owner: nn.Module, forward: Any) -> None:
    """Gives a module a forward; None: its class's."""
    own = vars(owner)
    outer = own.get("forward")
    if isinstance(outer, PaddedForward):
        outer.inner = forward
    elif forward is None:
        own.pop("forward", None)
    else:
        own["forward"] = forward
