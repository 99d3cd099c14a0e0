"""Random numbers that depend on seed, epoch and sample alone."""

import random

import numpy as np
import torch
from scipy import stats

from visionpe.data.draws import kept, reseed, splitmix, uniforms


def test_the_generator_is_splitmix64() -> None:
    """The first outputs for the seed 1234567, as published with the algorithm's ports."""
    golden = torch.tensor(-0x61C8864680B583EB)
    states = torch.tensor(1234567) + torch.arange(1, 4) * golden
    outputs = [int(value) % 2**64 for value in splitmix(states).tolist()]
    assert outputs == [6457827717110365317, 3203168211198807973, 9817491932198370423]


def test_a_samples_numbers_do_not_depend_on_its_batch() -> None:
    rows = torch.randperm(1000)[:37]
    batch = uniforms(rows, 5, seed=3, epoch=2)
    for i, row in enumerate(rows):
        assert torch.equal(batch[i], uniforms(row[None], 5, seed=3, epoch=2)[0])
    assert torch.equal(batch[:, :2], uniforms(rows, 2, seed=3, epoch=2))


def test_other_seeds_epochs_and_samples_have_other_numbers() -> None:
    rows = torch.arange(50)
    tables = [uniforms(rows, 4, seed=s, epoch=e) for s in range(3) for e in range(3)]
    numbers = torch.cat([table.flatten() for table in tables])
    assert len(numbers.unique()) > 0.99 * len(numbers)


def test_numbers_are_uniform_and_columns_and_neighbours_independent() -> None:
    table = uniforms(torch.arange(20_000), 3, seed=0, epoch=0).double().numpy()
    assert table.min() >= 0
    assert table.max() < 1
    for column in table.T:
        assert stats.kstest(column, "uniform").pvalue > 1e-3
        assert abs(np.corrcoef(column[:-1], column[1:])[0, 1]) < 0.03
    assert np.abs(np.corrcoef(table.T) - np.eye(3)).max() < 0.03


def test_seeding_for_a_while_leaves_no_trace_and_decides_all_three_generators() -> None:
    def draw() -> tuple[float, float, float]:
        return torch.rand(()).item(), np.random.rand(), random.random()

    torch.manual_seed(5)
    np.random.seed(5)
    random.seed(5)
    expected = draw()
    torch.manual_seed(5)
    np.random.seed(5)
    random.seed(5)
    with kept():
        reseed(1, 2, 3)
        first = draw()
        reseed(1, 2, 3)
        assert draw() == first
        reseed(1, 2, 4)
        assert not {*draw()} & {*first}
    assert draw() == expected
