"""Derivatives of every encoding, in its input and in every parameter, against differences."""

from typing import Any

import torch
from record import Record, Sample
from records import awake, call, oblong, samples, tensors
from torch import Tensor
from torch.func import functional_call


@samples()
def test_gradients_are_the_limits_of_differences(record: Record, sample: Sample) -> None:
    module = awake(sample)
    state = {name: value.detach() for name, value in module.named_buffers()}
    state |= {name: value.detach() for name, value in module.named_parameters()}
    trained = [name for name, value in module.named_parameters() if value.requires_grad]
    # float64 whatever the module pins: the parameters are replaced for the call, not cast.
    state = {n: v.double() if v.is_floating_point() else v for n, v in state.items()}
    args = call(record, sample, oblong(sample), dtype=torch.float64, batch=1)
    floating = [
        i for i, arg in enumerate(args) if isinstance(arg, Tensor) and arg.is_floating_point()
    ]

    def function(*leaves: Tensor) -> tuple[Tensor, ...]:
        given: list[Any] = list(args)
        for index, leaf in zip(floating, leaves, strict=False):
            given[index] = leaf
        held = dict(zip(trained, leaves[len(floating) :], strict=True))
        torch.manual_seed(0)
        out = tensors(functional_call(module, state | held, tuple(given)))
        assert all(part.dtype == torch.float64 for part in out if part.is_floating_point())
        return tuple(part for part in out if part.is_floating_point())

    leaves = [args[i].clone().requires_grad_() for i in floating]
    leaves += [state[name].clone().requires_grad_() for name in trained]
    assert any(part.requires_grad for part in function(*leaves)), "nothing to differentiate"
    assert torch.autograd.gradcheck(function, leaves, fast_mode=True, atol=1e-5, rtol=1e-3)
