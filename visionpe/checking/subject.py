"""The module under check: how to make it, what to call it with, how to read what it returns."""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from visionpe.encodings.attention import AttentionEncoding
from visionpe.places import Places

Inputs = Callable[[int, int, int, torch.dtype, torch.device], tuple[Any, ...]]
Size = tuple[int, int]

FAR = 4096  # positions along one axis that low precision must get right
_FREE = ((5, 7), (7, 5), (3, 4), (6, 9), (8, 4), (6, 6), (10, 6))  # when any size is accepted


class Calling(nn.Module):
    """A module called by another method than `forward`."""

    def __init__(self, inner: nn.Module, method: str) -> None:
        super().__init__()
        self.inner = inner
        self.method = method

    def forward(self, *args: Any, **options: Any) -> Any:
        """The method's result."""
        return getattr(self.inner, self.method)(*args, **options)


class Attending(nn.Module):
    """Self-attention over the cells of a map: queries, keys and values in one map."""

    def __init__(self, inner: AttentionEncoding, heads: int) -> None:
        super().__init__()
        self.inner = inner
        self.heads = heads

    def forward(self, x: Tensor, places: Places | None = None) -> Tensor:
        """What attention gives, tokens row by row."""
        h, w = x.shape[-2:]
        q, k, v = self.split(x)
        out: Tensor = self.inner(
            q, k, v, Places.of(h, w, device=x.device) if places is None else places
        )
        return out

    def split(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values, each `b heads n d`."""
        tokens = x.flatten(2).unflatten(1, (3, self.heads, -1)).mT  # b 3 heads n d
        q, k, v = tokens.unbind(1)
        return q, k, v


class Acting(nn.Module):
    """What an encoding does inside attention, taken apart: tokens at the places given."""

    def __init__(self, attending: Attending) -> None:
        super().__init__()
        self.attending = attending

    def forward(self, x: Tensor, places: Places) -> tuple[Tensor, ...]:
        """The rotated queries and keys, the bias and the addition to the values."""
        encoding = self.attending.inner
        q, k, _ = self.attending.split(x)
        acts: list[Tensor | None] = [*encoding.rotate(q, k, places, places)]
        scale = q.shape[-1] ** -0.5
        acts += [encoding.bias(q, k, places, places, scale)]
        if encoding.acts_on_values:
            weights = torch.eye(q.shape[2], dtype=q.dtype, device=q.device).expand(
                *q.shape[:3], q.shape[2]
            )
            acts += [encoding.values(weights, places, places)]
        return tuple(act for act in acts if act is not None)


@dataclass(frozen=True)
class Subject:
    """A module under check.

    Attributes:
        make: makes a fresh module.
        layout: `bchw`, `bhwc`, `bnc`, `q`, `qk`, `attention` or `inputs`.
        inputs: makes the arguments of a call.
        channels: of a map or of tokens.
        heads, head_dim: of queries.
        sizes: accepted `(h, w)`; None: any.
        base: a size that works, not square unless the module refuses that.
        takes_frame: whether a call takes `frame=`.
        offset: keyword arguments for "this starts at `(y, x)`", if the caller said how.
        no_grad: parameters that rightly get no gradient, with the reason.
        aspect: whether one axis' code may depend on the other axis' length.
        programs: the exported ones that several checks need, each made once.
    """

    make: Callable[[], nn.Module]
    layout: str
    inputs: Inputs
    channels: int = 8
    heads: int = 2
    head_dim: int = 16
    sizes: tuple[Size, ...] | None = None
    base: Size = (5, 7)
    takes_frame: bool = False
    offset: Callable[[int, int], dict[str, Any]] | None = None
    no_grad: tuple[str, ...] = ()
    aspect: bool = False
    programs: dict[Any, Any] = field(default_factory=dict, init=False, repr=False, compare=False)

    def fresh(self, *, awake: bool = True, seed: int = 0) -> nn.Module:
        """A new module in eval mode; `awake`, nothing in it is still zero-initialised."""
        torch.manual_seed(seed)
        module = self.make().eval()
        if awake:
            source = torch.Generator().manual_seed(seed)
            with torch.no_grad():
                for parameter in module.parameters():
                    if parameter.requires_grad and parameter.device.type != "meta":
                        noise = torch.randn(parameter.shape, generator=source)
                        parameter.add_((0.1 * noise).to(parameter))
        return module

    def args(
        self,
        size: Size | None = None,
        *,
        batch: int = 2,
        dtype: torch.dtype = torch.float32,
        device: str = "cpu",
        seed: int = 0,
    ) -> tuple[Any, ...]:
        """The arguments of a call, the same for the same seed."""
        h, w = size or self.base
        torch.manual_seed(seed)
        return self.inputs(h, w, batch, dtype, torch.device(device))

    def several(self, count: int) -> list[Size]:
        """Up to `count` sizes that the module accepts, the base first, none with a side of 1."""
        known = self.sizes or _FREE
        rest = [size for size in known if size != self.base and min(size) > 1]
        return [self.base, *rest][:count]

    def as_map(self, out: Tensor) -> Tensor | None:
        """A map's result as `b d h w`."""
        if self.layout == "bchw" and out.dim() == 4:
            return out
        if self.layout == "bhwc" and out.dim() == 4:
            return out.permute(0, 3, 1, 2)
        return None

    def as_line(self, out: Tensor, size: Size) -> Tensor | None:
        """The result of a map of one row or column, or of tokens: `position features`."""
        grid = self.as_map(out)
        if grid is not None:
            return grid.flatten(2).permute(2, 0, 1).flatten(1)
        token_axis = {"bnc": 1, "q": 2, "qk": 2, "attention": 2}.get(self.layout)
        if (
            token_axis is None
            or out.dim() <= token_axis
            or out.shape[token_axis] != size[0] * size[1]
        ):
            return None
        return out.movedim(token_axis, 0).flatten(1)


def run(module: Callable[..., Any], args: Sequence[Any], **options: Any) -> list[Tensor]:
    """The tensors that a call returns, without gradients."""
    with torch.no_grad():
        return [out.detach() for out in flat(module(*args, **options))]


def flat(out: Any) -> list[Tensor]:
    """The tensors in a result, in order."""
    if isinstance(out, Tensor):
        return [out]
    if isinstance(out, dict):
        return [tensor for part in out.values() for tensor in flat(part)]
    if isinstance(out, list | tuple):
        return [tensor for part in out for tensor in flat(part)]
    return []


def same(ours: Sequence[Tensor], theirs: Sequence[Tensor]) -> bool:
    """Whether two results are equal to the last bit, dtype and device included."""
    return len(ours) == len(theirs) and all(
        a.dtype == b.dtype
        and a.device == b.device
        and a.shape == b.shape
        and (a.device.type == "meta" or bool(((a == b) | ((a != a) & (b != b))).all()))
        for a, b in zip(ours, theirs, strict=True)
    )


def numbers(outs: Sequence[Tensor]) -> list[Tensor]:
    """The parts of a result that can be off: no masks and indices; complex ones as pairs."""
    return [
        torch.view_as_real(out.resolve_conj()) if out.is_complex() else out
        for out in outs
        if out.is_floating_point() or out.is_complex()
    ]


def distance(ours: Sequence[Tensor], theirs: Sequence[Tensor]) -> float:
    """The largest difference of two results, relative to the largest value where that is over 1.

    Of their `numbers`.
    """
    ours, theirs = numbers(ours), numbers(theirs)
    if [a.shape for a in ours] != [b.shape for b in theirs]:
        return float("inf")
    worst = 0.0
    for a, b in zip(ours, theirs, strict=True):
        if not a.numel():
            continue
        a, b = a.detach().double(), b.detach().double()
        gap = torch.where(a == b, 0.0, (a - b).abs())  # infinities of one sign are equal
        error = float(gap.max() / b.nan_to_num(posinf=0, neginf=0).abs().max().clamp(min=1))
        worst = max(worst, error if error == error else float("inf"))
    return worst


def seen(outs: Sequence[Tensor]) -> str:
    """What a result is, for a message: dtype and shape."""
    return ", ".join(f"{short(out.dtype)} {tuple(out.shape)}" for out in outs) or "no tensor"


def short(dtype: torch.dtype) -> str:
    """`float32` for `torch.float32`."""
    return str(dtype).removeprefix("torch.")


def reason(error: BaseException) -> str:
    """An exception in one line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = lines[0].partition("! For more information, run with")[0].rstrip(".") if lines else ""
    text = text if len(text) <= 160 else f"{text[:157]}..."
    return f"{type(error).__name__}: {text}".rstrip(": ")


def own_name(name: str) -> str:
    """A parameter's name in the user's module, not in our wrapper of it."""
    return name.removeprefix("inner.")


def copied(args: Sequence[Any]) -> tuple[Any, ...]:
    """The same arguments in other memory."""
    return tuple(copy.deepcopy(part) for part in args)
