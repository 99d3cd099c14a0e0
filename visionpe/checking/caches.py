"""Caches: what a call leaves behind must change no later call, and must not grow."""

import copy
import random

import torch
from torch import Tensor, nn

from visionpe.checking.held import alive, held
from visionpe.checking.result import Verdict, failed, ok, skipped
from visionpe.checking.subject import Subject, flat, numbers, reason, run, same, seen, short

_CALLS = 120
_WARM = 40
_PAIRS = (
    (torch.float32, torch.bfloat16),
    (torch.float16, torch.float32),
    (torch.float32, torch.float64),
    (torch.bfloat16, torch.float32),
)


def stale_dtype(subject: Subject) -> Verdict:
    """A call after one in another dtype gives what a fresh module gives, bit for bit."""
    faults, tried = [], 0
    for first, second in _PAIRS:
        for cast in (False, True):

            def prepare(module: nn.Module, dtype: torch.dtype, cast: bool = cast) -> nn.Module:
                return module.to(dtype) if cast else module

            try:
                wanted = run(prepare(subject.fresh(), second), subject.args(dtype=second))
                module = prepare(subject.fresh(), first)
                run(module, subject.args(dtype=first))
            except (RuntimeError, TypeError, ValueError):
                continue  # mixed dtypes are refused: there is no second call to be wrong
            if cast:  # weights that went through a smaller dtype are not the fresh ones
                module.to(second).load_state_dict(prepare(subject.fresh(), second).state_dict())
            tried += 1
            got = run(module, subject.args(dtype=second))
            if not same(got, wanted):
                how = "the module cast" if cast else "the same module"
                faults.append(
                    f"{short(second)} after {short(first)} ({how}) gives {seen(got)}"
                    + (", other values" if seen(got) == seen(wanted) else f", not {seen(wanted)}")
                )
    if faults:
        return failed("; ".join(faults), faults=len(faults), sequences=tried)
    return ok(f"{tried} sequences as of fresh modules", sequences=tried)


def stale_device(subject: Subject) -> Verdict:
    """A call on another device gives a result there, whatever was called before."""
    module = subject.fresh()
    run(module, subject.args())
    away = subject.args(device="meta")
    for name, used, fresh in (
        ("inputs", module, subject.fresh()),
        ("module and inputs", copy.deepcopy(module).to("meta"), subject.fresh().to("meta")),
    ):
        wanted, got = _attempt(fresh, away), _attempt(used, away)
        if got != wanted:
            return failed(f"{name} moved to meta after a call on cpu: {got}, fresh: {wanted}")
        if name != "inputs" and got != "meta":
            return failed(f"a module on meta gives {got}")
    return ok("results follow the device")


def stale_size(subject: Subject) -> Verdict:
    """Calls at changing sizes and batches give what fresh modules give, bit for bit."""
    sizes = subject.several(4)
    steps = [(size, 2) for size in [*sizes, *sizes[::-1]]] + [(sizes[0], 5), (sizes[0], 1)]
    module = subject.fresh()
    for index, (size, batch) in enumerate(steps):
        got = run(module, subject.args(size, batch=batch))
        if not same(got, run(subject.fresh(), subject.args(size, batch=batch))):
            return failed(
                f"call {index + 1}, {size[0]}x{size[1]} and batch {batch}, is not as of "
                "a fresh module",
                calls=index + 1,
            )
    return ok(f"{len(steps)} calls as of fresh modules", calls=len(steps))


def stale_state(subject: Subject) -> Verdict:
    """When weights or frequencies change, by loading or in place, the next call uses them."""
    module, other = subject.fresh(), subject.fresh(seed=1)
    state = {
        name: value * 0.75 if value.is_floating_point() else value
        for name, value in other.state_dict().items()
    }
    if not any(value.is_floating_point() for value in state.values()):
        return skipped("has no state")
    args = subject.args()
    before = run(module, args)
    other.load_state_dict(state)
    module.load_state_dict(state)
    wanted, got = run(other, args), run(module, args)
    if not same(got, wanted):
        still = ", but still the old ones" if same(got, before) else ""
        return failed(f"after new values are loaded, a call does not use them{still}")
    with torch.no_grad():
        for both in zip(module.parameters(), other.parameters(), strict=True):
            for parameter in both:
                parameter.mul_(0.5)
    if not same(run(module, args), run(other, args)):
        return failed("after parameters change in place, a call does not use them")
    return ok("new values are used")


def modes(subject: Subject) -> Verdict:
    """Training works after calls under `no_grad` and `inference_mode`, with the same numbers."""
    args = subject.args()
    wanted = _learn(subject.fresh(), args)
    for before in (False, True):
        words = "train, eval, inference, train" if before else "inference, train"
        module = subject.fresh()
        try:
            if before:
                _learn(module, args)
                run(module.eval(), args)
            with torch.inference_mode():
                module.eval()(*args)
            module.load_state_dict(subject.fresh().state_dict())  # running statistics
            again = _learn(module, args)
        except RuntimeError as error:
            return failed(f"{words}: {reason(error)}")
        if not same(again, wanted):
            return failed(f"{words}: the last step is not that of a fresh module")
    return ok("the same step before and after")


def growth(subject: Subject) -> Verdict:
    """Over many sizes, the tensors held do not grow in number."""
    module = subject.fresh()
    chance = random.Random(0)
    counts, everywhere = [], []
    for index in range(_CALLS):
        if subject.sizes is None:
            size = (chance.randint(2, 16), chance.randint(2, 16))
        else:
            size = chance.choice(subject.sizes)
        run(module, subject.args(size, batch=1, seed=index))
        if index + 1 in (_WARM, _CALLS):
            counts.append(held(module))
            everywhere.append(alive())
    more = len(counts[1]) - len(counts[0])
    leaked = everywhere[1] - everywhere[0]
    size_held = sum(counts[1].values())
    figures = {"calls": _CALLS, "more held": more, "more alive": leaked, "bytes held": size_held}
    if max(more, leaked) >= (_CALLS - _WARM) // 10:
        where = (
            "the module holds"
            if more >= leaked / 2
            else "somewhere, perhaps in a function's cache, are"
        )
        return failed(
            f"from call {_WARM} to {_CALLS}, {where} {max(more, leaked)} more tensors", **figures
        )
    return ok(f"no growth over {_CALLS} sizes; {size_held} bytes held", **figures)


def batch_copies(subject: Subject) -> Verdict:
    """What a call leaves behind does not grow with the number of samples."""
    sizes = []
    for batch in (1, 16):
        module = subject.fresh()
        before = sum(held(module).values())
        run(module, subject.args(batch=batch))
        sizes.append(sum(held(module).values()) - before)
    one, many = sizes
    figures = {"bytes of 1 sample": one, "bytes of 16": many}
    if many > 1.5 * max(one, 256):
        return failed(
            f"holds {one} bytes after 1 sample and {many} after 16: a copy for each", **figures
        )
    return ok(f"holds {many} bytes after a call", **figures)


def _attempt(module: nn.Module, args: tuple[object, ...]) -> str:
    """The device of the result, or that it raises."""
    try:
        outs = run(module, args)
    except Exception:
        return "an error"
    return ", ".join(sorted({out.device.type for out in outs}))


def _learn(module: nn.Module, args: tuple[object, ...]) -> list[Tensor]:
    """The output and the gradients of a training step; its output is saved for the gradient."""
    torch.manual_seed(0)
    outs = numbers(flat(module.train()(*args)))
    weight = torch.ones((), requires_grad=True)
    sum(((out.float() * weight).square().sum() for out in outs), torch.zeros(())).backward()
    grads = [p.grad for p in module.parameters() if p.grad is not None]
    result = [*(out.detach().clone() for out in outs), *(g.clone() for g in grads)]
    module.zero_grad()
    return result
