import math

import pytest
import torch

from visionpe.models.sampled_softmax import CellSampler


def test_the_estimated_partition_sum_is_unbiased() -> None:
    """Over many draws, sum(exp(logit) / rate) is the sum of exp(logit) over the whole canvas."""
    h, w, n = 17, 23, 20_000
    logits = torch.randn(h * w, dtype=torch.float64)
    for point in ([8.0, 11.0], [0.0, 22.0]):  # in the middle, and in a corner where draws get lost
        points = torch.tensor([point]).expand(n, 2)
        cells, log_rate = CellSampler(near=6, sigma=2.0, anywhere=8)(points, h, w)
        estimates = (logits[cells] - log_rate.double()).exp().sum(-1)
        error = estimates.std() / math.sqrt(n)
        assert error < 0.01 * estimates.mean()
        assert abs(estimates.mean() - logits.exp().sum()) < 5 * error


def test_the_target_comes_first_and_its_neighbours_are_always_there_once() -> None:
    cells, log_rate = CellSampler(near=50, sigma=1.5, anywhere=20)(torch.tensor([[5.0, 7.0]]), 9, 9)
    assert cells[0, 0] == 5 * 9 + 7
    block = {(5 + a) * 9 + 7 + b for a in (-1, 0, 1) for b in (-1, 0, 1)}
    counted = cells[0, log_rate[0].isfinite()]
    assert set(cells[0, :9].tolist()) == block
    assert not log_rate[0, :9].any()
    assert not block & set(counted[9:].tolist())


def test_draws_off_the_canvas_do_not_count_but_are_cells() -> None:
    sampler = CellSampler(near=200, sigma=6.0, anywhere=1)
    cells, log_rate = sampler(torch.tensor([[0.0, 0.0], [8.0, 12.0]]), 9, 13)
    assert cells.min() >= 0
    assert cells.max() < 9 * 13
    assert log_rate.isinf().sum() > 100


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"near": -1}, "`near` must be at least 0 cells, but is -1."),
        (
            {"anywhere": 0},
            "`anywhere` must be at least 1 cell, but is 0; otherwise far cells never count.",
        ),
        ({"sigma": 0.0}, "`sigma` must be positive, but is 0.0."),
    ],
)
def test_bad_input_is_refused_in_one_sentence(arguments: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the whole message is compared
        CellSampler(**arguments)
    assert str(caught.value) == message
