"""Frequencies and phases are made in float32 at least, whatever torch's default dtype is."""

from collections.abc import Iterator

import pytest
import torch
from torch import nn

from visionpe import AddFourierFeatures, ComplexOrder, FourierFeatures, FourierInput
from visionpe.encodings.precision import default_dtype

MAKERS = [
    lambda: FourierFeatures(4, seed=0),
    lambda: FourierFeatures(4, seed=0, trainable=True),
    lambda: AddFourierFeatures(8, 4, seed=0),
    lambda: ComplexOrder(8),
    lambda: FourierInput(8, 4, 4),
]
EXACT = ("matrix", "waves.frequency", "waves.phase", "frequencies", "phases")


@pytest.fixture
def bfloat16_default() -> Iterator[None]:
    torch.set_default_dtype(torch.bfloat16)
    yield
    torch.set_default_dtype(torch.float32)


def exact(module: nn.Module) -> dict[str, torch.Tensor]:
    state = module.state_dict()
    return {name: value for name, value in state.items() if name in EXACT}


@pytest.mark.usefixtures("bfloat16_default")
@pytest.mark.parametrize("make", MAKERS)
def test_frequencies_are_float32_where_bfloat16_is_the_default(make: type[nn.Module]) -> None:
    torch.manual_seed(0)
    made = exact(make())
    assert made
    torch.set_default_dtype(torch.float32)
    torch.manual_seed(0)
    wanted = exact(make())
    for name, value in made.items():
        assert value.dtype == torch.float32
        if "phase" not in name and name != "frequencies":  # drawn after others of another dtype
            assert torch.equal(value, wanted[name])


@pytest.mark.usefixtures("bfloat16_default")
def test_the_default_is_float32_at_least() -> None:
    assert default_dtype() == torch.float32
    torch.set_default_dtype(torch.float64)
    assert default_dtype() == torch.float64
