"""Relative encodings where a lattice is given in unusual ways: shared, listed, one a sample."""

import pytest
import torch
from torch import nn

from visionpe import (
    AttentionEncoding,
    AxisBias,
    BucketBias,
    DecomposedBias,
    IRPEBias,
    IRPEContextual,
    LogCPB,
    Places,
    RelativeBias,
    Shaw,
    TransformerXL,
)

MAKERS = [
    lambda: RelativeBias(2, (6, 6)),
    lambda: AxisBias(2, (6, 6)),
    lambda: BucketBias(2),
    lambda: DecomposedBias(8, (6, 6)),
    lambda: LogCPB(2, (6, 6)),
    lambda: Shaw(8),
    lambda: IRPEBias(2),
    lambda: IRPEContextual(8, on_queries=True, on_values=True),
    lambda: TransformerXL(2, 8),
]
every_one = pytest.mark.parametrize("make", MAKERS)


def awake(module: AttentionEncoding) -> AttentionEncoding:
    torch.manual_seed(0)
    for parameter in module.parameters():
        nn.init.normal_(parameter)
    return module


@every_one
def test_keys_may_share_the_lattices_positions_without_being_one(make: type) -> None:
    module = awake(make())
    q = torch.randn(2, 2, 7, 8)
    places = Places.of(2, 3, prefix=1)
    shared = Places.at(places.positions, (2, 3), prefix=1)
    listed = Places.at(places.positions.clone(), (2, 3), prefix=1)
    torch.testing.assert_close(module(q, q, q, places, shared), module(q, q, q, places, listed))


@every_one
@pytest.mark.parametrize("itself", [True, False])
def test_each_sample_may_have_a_lattice_of_its_own(make: type, itself: bool) -> None:
    module = awake(make())
    q = torch.randn(2, 2, 6, 8)
    points = Places.of(2, 3).positions + torch.tensor([[0.0, 0.0], [1.0, 2.0]])[:, None]
    lattice = Places(points, torch.tensor([[2.0, 3.0], [5.0, 7.0]]), shape=(2, 3))
    listed = lattice._replace(shape=None)
    # Other keys lie further in one sample than in the other.
    apart = points + torch.tensor([[1.0, 0.0], [0.0, 2.0]])[:, None]
    keys = lattice if itself else lattice._replace(positions=apart)
    got = module(q, q, q, lattice, keys)
    wanted = module(q, q, q, listed, keys._replace(shape=None))
    torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-5)
