"""Every encoding under `torch.func`: many calls as one, gradients of single samples, tangents."""

from typing import Any

import pytest
import torch
from record import Record, Sample
from records import awake, call, oblong, samples, tensors
from torch import Tensor, nn
from torch.func import functional_call, grad, jvp, vmap


class Subject:
    """A module as a function of its floating-point arguments, all else held."""

    def __init__(self, record: Record, sample: Sample) -> None:
        self.module: nn.Module = awake(sample).double()
        self.args = call(record, sample, oblong(sample), dtype=torch.float64)
        self.open = [isinstance(a, Tensor) and a.is_floating_point() for a in self.args]
        self.given = tuple(a for a, is_open in zip(self.args, self.open, strict=True) if is_open)
        self.parameters: dict[str, Tensor] = dict(self.module.named_parameters())

    def __call__(self, *given: Tensor) -> Tensor:
        return self.with_parameters(self.parameters, *given)

    def with_parameters(self, parameters: dict[str, Tensor], *given: Tensor) -> Tensor:
        """The first result."""
        rest = iter(given)
        args: tuple[Any, ...] = tuple(
            next(rest) if is_open else a for a, is_open in zip(self.args, self.open, strict=True)
        )
        return tensors(functional_call(self.module, parameters, args))[0]

    def loss(self, parameters: dict[str, Tensor], *given: Tensor) -> Tensor:
        """A number that every parameter changes."""
        return self.with_parameters(parameters, *given).square().sum()


def several(given: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Three calls' arguments."""
    return tuple(torch.stack([t, torch.randn_like(t), torch.randn_like(t)]) for t in given)


WITH_INPUTS = samples(lambda r, s: r.name != "StepEmbedding")  # its steps are whole numbers


@WITH_INPUTS
def test_calls_as_one_are_the_calls_one_by_one(record: Record, sample: Sample) -> None:
    subject = Subject(record, sample)
    given = several(subject.given)
    with torch.no_grad():
        together = vmap(subject)(*given)
        for n, out in enumerate(together):
            torch.testing.assert_close(out, subject(*(t[n] for t in given)))


@WITH_INPUTS
def test_gradients_of_single_samples_are_those_of_calls_one_by_one(
    record: Record, sample: Sample
) -> None:
    subject = Subject(record, sample)
    given = several(subject.given)
    everything = tuple(range(1 + len(given)))
    found = vmap(lambda *g: grad(subject.loss, everything)(subject.parameters, *g))(*given)
    for n in range(3):
        leaves = [t[n].clone().requires_grad_() for t in given]
        loss = subject.loss(subject.parameters, *leaves)
        sources = [*subject.parameters.values(), *leaves]
        wanted = torch.autograd.grad(loss, sources, allow_unused=True)
        for ours, theirs in zip([*found[0].values(), *found[1:]], wanted, strict=True):
            expected = torch.zeros_like(ours[n]) if theirs is None else theirs
            torch.testing.assert_close(ours[n], expected)


@WITH_INPUTS
@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")  # torch's own first tangent
def test_tangents_are_the_derivative(record: Record, sample: Sample) -> None:
    subject = Subject(record, sample)
    tangents = tuple(torch.randn_like(t) for t in subject.given)
    tangent = jvp(subject, subject.given, tangents)[1]
    step = 1e-6
    ahead, behind = (
        subject(*(t + sign * step * d for t, d in zip(subject.given, tangents, strict=True)))
        for sign in (1, -1)
    )
    torch.testing.assert_close(tangent, (ahead - behind) / (2 * step), atol=1e-6, rtol=1e-6)
