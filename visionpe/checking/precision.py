"""Half precision: positions cannot be counted in it, so codes must not be computed in it."""

import copy
import itertools
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from visionpe.checking.result import Figure, Verdict, failed, ok, skipped
from visionpe.checking.subject import (
    FAR,
    Acting,
    Attending,
    Size,
    Subject,
    flat,
    numbers,
    reason,
    run,
    short,
)
from visionpe.places import Places

_LEARNED = 8  # ulps of the largest value, where weights act in the same precision
_ROUNDED = 32  # ulps that rounding the weights alone may cost: more, and they are frequencies


def bfloat16_input(subject: Subject) -> Verdict:
    """bfloat16 activations get the code of float64, rounded, at every position."""
    return _measure(subject, torch.bfloat16)


def float16_input(subject: Subject) -> Verdict:
    """float16 activations get the code of float64, rounded, at every position."""
    return _measure(subject, torch.float16)


def bfloat16_module(subject: Subject) -> Verdict:
    """After `.bfloat16()` the code is that of float64, rounded, at every position."""
    return _measure(subject, torch.bfloat16, cast=True)


def float16_module(subject: Subject) -> Verdict:
    """After `.half()` the code is that of float64, rounded, at every position."""
    return _measure(subject, torch.float16, cast=True)


def autocast(subject: Subject) -> Verdict:
    """Under autocast to bfloat16 the code is that of float64, to bfloat16's precision."""
    return _measure(subject, torch.float32, auto=True)


def _measure(
    subject: Subject, dtype: torch.dtype, *, cast: bool = False, auto: bool = False
) -> Verdict:
    plain = subject.fresh()
    refused = ""
    for length in (FAR, 512, 64, 0) if subject.sizes is None else (0,):
        # What fails in float32 too, as a table of one size does, is too long: no fault.
        too_long = _refusal(subject, plain, length)
        if too_long:
            refused = refused or too_long
            continue
        worst: dict[str, Figure] = {"positions": length, "error": 0.0, "ulps": 0.0}
        wrong = ""
        for size, args, options in _calls(subject, length, dtype):
            module = copy.deepcopy(plain)
            module = _target(module.to(dtype) if cast else module)
            try:
                with torch.autocast("cpu", torch.bfloat16, enabled=auto):
                    got = run(module, args, **options)
            except Exception as error:
                if cast or auto:
                    return failed(f"breaks with {reason(error)}")
                return skipped(f"takes its parameters' dtype alone: {reason(error)}")
            exact = _exact(plain, module, args, options)
            wrong = wrong or _judge(
                subject, size, got, exact, worst, dtype=dtype, auto=auto, weights=_has(plain)
            )
            if cast and _has(plain):
                wrong = wrong or _rounding(exact, _exact(plain, plain, args, options), dtype)
        if wrong:
            return failed(wrong, **worst)
        note = f" (longer is refused: {refused})" if refused else ""
        return ok(
            f"within {float(worst['ulps']):.2g} ulp at {worst['positions']} positions{note}",
            **worst,
        )
    return skipped(f"refuses every length: {refused} (`sizes` says which it takes)")


def _refusal(subject: Subject, plain: nn.Module, length: int) -> str:
    """Why the module does not take a length in float32; the empty string: it does."""
    module = _target(copy.deepcopy(plain))
    try:
        for _, args, options in _calls(subject, length, torch.float32):
            run(module, args, **options)
    except Exception as error:
        return reason(error)
    return ""


def _target(module: nn.Module) -> nn.Module:
    """What to call for the code itself: of attention, the parts rather than the average."""
    return Acting(module) if isinstance(module, Attending) else module


def _calls(
    subject: Subject, length: int, dtype: torch.dtype
) -> list[tuple[Size, tuple[Any, ...], dict[str, Any]]]:
    """Calls that reach a position `length`; 0: at the sizes that the module accepts."""
    if not length:
        return (
            [(s, subject.args(s, batch=1, dtype=dtype), {}) for s in subject.several(3)]
            if (subject.layout != "attention")
            else [
                (s, subject.args(s, batch=1, dtype=dtype), {"places": Places.of(*s)})
                for s in subject.several(3)
            ]
        )
    if subject.layout == "attention":
        points = _probes(length)
        count = len(points)
        args = subject.args((1, count), batch=1, dtype=dtype)
        line = torch.stack([torch.zeros(count), points], -1)
        return [((1, count), args, {"places": Places.at(line, (1, length))})]
    sizes = [(1, length)] if subject.layout in ("bnc", "q", "qk") else [(1, length), (length, 1)]
    return [(size, subject.args(size, batch=1, dtype=dtype), {}) for size in sizes]


def _probes(length: int) -> Tensor:
    """Positions over the whole length, the first that half precision cannot count among them."""
    near = [0, 1, 2, 57, 58, 255, 256, 257, 259, 511, 513, 1023, 1025, 2047, 2048, 2049, 2051]
    spread = torch.linspace(0, length - 1, 16).round().long().tolist()
    return torch.tensor(sorted({p for p in [*near, *spread] if p < length})).float()


def _has(module: nn.Module) -> bool:
    """Whether it has weights that are trained."""
    return any(p.requires_grad for p in module.parameters())


def _exact(
    plain: nn.Module, weights: nn.Module, args: Sequence[Any], options: dict[str, Any]
) -> list[Tensor]:
    """The result in float64, with the trained weights as `weights` holds them."""
    module = copy.deepcopy(plain)
    held = dict((weights.attending if isinstance(weights, Acting) else weights).named_parameters())
    state = {}
    for name, value in itertools.chain(module.named_parameters(), module.named_buffers()):
        if value.is_floating_point():
            source = held[name] if value.requires_grad else value
            state[name] = source.detach().double()
    wide = tuple(a.double() if isinstance(a, Tensor) and a.is_floating_point() else a for a in args)
    with torch.no_grad():
        if isinstance(module, Attending):
            named = {f"attending.{name}": value for name, value in state.items()}
            return flat(functional_call(Acting(module), named, wide, options))
        return flat(functional_call(module, state, wide, options))


def _judge(
    subject: Subject,
    size: Size,
    got: Sequence[Tensor],
    exact: Sequence[Tensor],
    worst: dict[str, Figure],
    *,
    dtype: torch.dtype,
    auto: bool,
    weights: bool,
) -> str:
    """The fault, or the empty string; the figures go into `worst`."""
    allowed = {dtype, torch.bfloat16} if auto else {dtype}
    if subject.layout == "inputs" and weights:  # what it is given may be no activations
        allowed |= {torch.float32}
    ulp = torch.finfo(torch.bfloat16 if auto else dtype).eps
    for out in got:
        if out.is_floating_point() and out.dtype not in allowed:
            return f"gives {short(out.dtype)} for {short(dtype)}"
    for ours, wanted in zip(numbers(got), numbers(exact), strict=True):
        if not ours.isfinite().all() and wanted.to(ours.dtype).isfinite().all():
            return "gives values that are not finite"
        scale = wanted.abs().clamp(min=1)
        if weights or auto:
            scale = scale.max()
        # What float32 itself loses at so many positions is granted.
        granted = ulp * (_LEARNED if weights else 1) * scale + FAR * 2.0**-24 * scale
        error = torch.where(wanted.to(ours.dtype) == ours, 0.0, (ours.double() - wanted).abs())
        largest = float(error.max()) if error.numel() else 0.0
        if largest > float(worst["error"]):
            worst["error"] = largest
            worst["ulps"] = float((error / (ulp * scale)).max())
        if bool((error > granted).any()):
            line = subject.as_line(error, size)
            beyond = subject.as_line((error > granted).double(), size)
            where = ""
            if line is not None and beyond is not None:
                first = _first(subject, beyond > 0, worst)
                gross = _first(subject, line > 0.1, worst)
                worst["first position"] = first
                where = f", from position {first}"
                if gross >= 0:
                    worst["first beyond 0.1"] = gross
                    where += f" (beyond 0.1 from position {gross})"
            return f"off by {largest:.3g}, {float(worst['ulps']):.0f} ulp{where}"
    return ""


def _first(subject: Subject, wrong: Tensor, worst: dict[str, Figure]) -> int:
    """The first position with a wrong value; -1: none."""
    rows = wrong.flatten(1).any(1).nonzero().flatten()
    if not len(rows):
        return -1
    if subject.layout == "attention" and int(worst["positions"]):
        return int(_probes(int(worst["positions"]))[rows[0]])
    return int(rows[0])


def _rounding(rounded: Sequence[Tensor], exact: Sequence[Tensor], dtype: torch.dtype) -> str:
    """Weights that lose far more by rounding than values do are frequencies."""
    ulp = torch.finfo(dtype).eps
    for ours, wanted in zip(numbers(rounded), numbers(exact), strict=True):
        if not wanted.numel():
            continue
        error = float((ours - wanted).abs().max() / wanted.abs().max().clamp(min=1))
        if error > _ROUNDED * ulp:
            return (
                f"rounding its weights alone changes the result by {error:.3g}, "
                f"{error / ulp:.0f} ulp: learned frequencies must stay float32"
            )
    return ""
