"""Gradients: no parameter is dead."""

import torch
from torch import Tensor, nn

from visionpe.checking.result import Verdict, failed, ok, skipped
from visionpe.checking.subject import Subject, flat, numbers, own_name


def gradients(subject: Subject) -> Verdict:
    """Every trainable parameter gets a gradient in an ordinary call, nonzero by the second step."""
    module = subject.fresh(awake=False).train()
    trained = {own_name(n): p for n, p in module.named_parameters() if p.requires_grad}
    if not trained:
        return skipped("has no trainable parameters")
    moved: set[str] = set()
    for step in range(2):
        _backward(module, subject, step)
        for name, parameter in trained.items():
            grad = parameter.grad
            if grad is None:
                continue
            if not grad.isfinite().all():
                return failed(f"the gradient of {name} is not finite")
            if bool((grad != 0).any()):
                moved.add(name)
        unused = [n for n, p in trained.items() if p.grad is None and n not in subject.no_grad]
        if unused:
            numbers = sum(trained[n].numel() for n in unused)
            total = sum(p.numel() for p in trained.values())
            return failed(
                f"no gradient reaches {', '.join(unused)}: "
                f"{numbers} of {total} parameters are dead",
                dead=numbers,
                parameters=total,
            )
        with torch.no_grad():
            for parameter in trained.values():
                if parameter.grad is not None:
                    parameter.sub_(0.1 * parameter.grad)
        module.zero_grad()
    still = [name for name in trained if name not in moved and name not in subject.no_grad]
    if still:
        return failed(f"the gradient of {', '.join(still)} is zero in two steps", dead=len(still))
    return ok(f"{len(trained)} parameters get gradients", parameters=len(trained))


def _backward(module: nn.Module, subject: Subject, step: int) -> None:
    """A loss that no symmetry can hide a parameter from: random weights on every value."""
    outs = [out for out in numbers(flat(module(*subject.args(seed=step)))) if out.requires_grad]
    source = torch.Generator().manual_seed(step)
    losses: list[Tensor] = [
        (out * torch.randn(out.shape, generator=source).to(out)).sum() for out in outs
    ]
    if losses:
        torch.stack(losses).sum().backward()
