"""A module made on meta starts as one made here, once `reset_parameters` was called all over it."""

import pytest
import torch
from record import Record, Sample
from records import samples
from torch import Tensor, nn

from visionpe import FlowEmbedding, FourierInput
from visionpe.attaching.in_convs import CoordConv
from visionpe.models.synthesis import AdaIN, FirstBlock

OTHERS = [
    lambda: CoordConv(radius=True).term(nn.Conv2d(3, 4, 3)),
    lambda: FirstBlock(4, latent=3),
    lambda: FourierInput(4, 3, 5, latent=6),
    lambda: FlowEmbedding(3, 4, width=5),
    lambda: AdaIN(3, 4),
]


def made(make: type, seed: int) -> dict[str, Tensor]:
    torch.manual_seed(seed)
    return dict(make().state_dict())


def reset(make: type, *, backwards: bool) -> dict[str, Tensor]:
    """The state after `meta`, `to_empty` and the resets of all modules, parents first or last."""
    with torch.device("meta"):
        module: nn.Module = make()
    module.to_empty(device="cpu")
    for tensor in (*module.parameters(), *module.buffers()):
        if tensor.is_floating_point():
            tensor.data.fill_(float("nan"))
    parts = list(module.modules())
    for part in reversed(parts) if backwards else parts:
        again = getattr(part, "reset_parameters", None)
        if callable(again):
            again()
    return dict(module.state_dict())


def agree(make: type) -> None:
    first, second = made(make, 0), made(make, 1)
    for backwards in (False, True):
        again = reset(make, backwards=backwards)
        assert again.keys() == first.keys()
        for name, value in again.items():
            assert value.isfinite().all(), name
            if torch.equal(first[name], second[name]):  # nothing is drawn
                assert torch.equal(value, first[name]), name
            else:
                assert bool((value != 0).any()), name


@samples()
@pytest.mark.usefixtures("unchecked")
def test_a_reset_in_any_order_gives_the_start_of_a_fresh_module(
    record: Record, sample: Sample
) -> None:
    agree(sample.make)  # type: ignore[arg-type] # it makes a module, as a class does


@pytest.mark.parametrize("make", OTHERS)
def test_so_it_does_for_parts_that_start_as_the_identity(make: type) -> None:
    agree(make)
