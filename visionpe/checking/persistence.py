"""Saving, loading, copying, and modules made without memory."""

import copy
import io

import torch
from torch import Tensor, nn

from visionpe.checking.result import Verdict, failed, ok, skipped
from visionpe.checking.subject import Subject, flat, own_name, reason, run, same


def meta(subject: Subject) -> Verdict:
    """Made on `meta`, given memory, loaded: the module that was saved."""
    return _materialise(subject, used=False)


def meta_after_use(subject: Subject) -> Verdict:
    """The same for a module that was called on `meta`, as to infer shapes."""
    return _materialise(subject, used=True)


def meta_constants(subject: Subject) -> Verdict:
    """Fixed tables come right from `meta` without being loaded: they are not trained, not saved."""
    original, other = subject.fresh(awake=False), subject.fresh(awake=False, seed=1)
    trained = {name for name, p in original.named_parameters() if p.requires_grad}
    state, twin = original.state_dict(), other.state_dict()
    fixed = {  # the same whatever the seed: computed, not drawn
        name
        for name, value in state.items()
        if name not in trained and value.is_floating_point() and torch.equal(value, twin[name])
    }
    if not fixed:
        return ok("stores no fixed table")
    module = _empty(subject)
    for part in module.modules():
        reset = getattr(part, "reset_parameters", None)
        if callable(reset):
            reset()
    drawn = {name: value for name, value in state.items() if name not in fixed}
    module.load_state_dict(drawn, strict=False)
    args = subject.args()
    if not same(run(module, args), run(original, args)):
        names = ", ".join(own_name(name) for name in sorted(fixed))
        return failed(f"garbage unless a state dict is loaded: {names}", tables=len(fixed))
    return ok(f"{len(fixed)} fixed tables come right", tables=len(fixed))


def copies(subject: Subject) -> Verdict:
    """After a training step, a deep copy, a pickle and a loaded state dict give the same result."""
    module, args = subject.fresh(), subject.args()
    flat(module.train()(*args))
    try:
        twin = copy.deepcopy(module).eval()
    except Exception as error:
        return failed(f"cannot be copied after a training step: {reason(error)}")
    wanted = run(module.eval(), args)
    if not same(run(twin, args), wanted):
        return failed("a deep copy gives another result")
    file = io.BytesIO()
    torch.save(module.state_dict(), file)
    file.seek(0)
    loaded = subject.fresh(seed=1)
    try:
        loaded.load_state_dict(torch.load(file, weights_only=True))
    except Exception as error:
        return failed(f"its state dict does not load: {reason(error)}")
    if not same(run(loaded, args), wanted):
        return failed("a module with its state dict loaded gives another result")
    try:
        whole = io.BytesIO()
        torch.save(module, whole)
        whole.seek(0)
        revived = torch.load(whole, weights_only=False)  # our own bytes, of a moment ago
    except Exception as error:
        return failed(f"cannot be pickled: {reason(error)}")
    if not same(run(revived, args), wanted):
        return failed("pickled and read back, it gives another result")
    return ok("copy, pickle and state dict give the same result")


def _materialise(subject: Subject, *, used: bool) -> Verdict:
    original = subject.fresh()
    args = subject.args()
    wanted = run(original, args)
    module = subject.fresh().to("meta") if used else None
    if module is not None:
        try:
            run(module, subject.args(device="meta"))
        except Exception as error:
            return skipped(f"cannot be called on meta: {reason(error)}")
    module = _empty(subject, module)
    try:
        module.load_state_dict(original.state_dict(), strict=True)
        got = run(module, args)
    except Exception as error:
        return failed(f"after to_empty and load_state_dict: {reason(error)}")
    if not same(got, wanted):
        gone = sum(int((~out.isfinite()).sum()) for out in got if out.device.type != "meta")
        return failed(
            "after to_empty and load_state_dict, the result comes from memory that was never "
            "written",
            values=gone,
        )
    return ok("comes back from meta bit for bit")


def _empty(subject: Subject, module: nn.Module | None = None) -> nn.Module:
    """A module of `meta` with memory that holds NaN, as uninitialised memory may."""
    if module is None:
        torch.manual_seed(0)
        try:
            with torch.device("meta"):
                module = subject.make()
        except Exception:
            module = subject.fresh().to("meta")
        if any(part.device.type != "meta" for part in _tensors(module)):
            module = module.to("meta")
    module = module.to_empty(device="cpu").eval()
    with torch.no_grad():
        for part in _tensors(module):
            if part.is_floating_point() or part.is_complex():
                part.fill_(torch.nan)
    return module


def _tensors(module: nn.Module) -> list[Tensor]:
    return [*module.parameters(), *module.buffers()]
