"""Scores: scipy's and scikit-learn's, and defined where those are not."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from sklearn.metrics import mean_absolute_error, r2_score

from visionpe.probing.readout import TEST
from visionpe.probing.scores import bootstrap, mae, r2, ranks, spearman
from visionpe.probing.splits import split


def some(seed: int, *shape: int, levels: int = 0) -> torch.Tensor:
    values = torch.rand(*shape, generator=torch.Generator().manual_seed(seed))
    return (values * levels).floor() if levels else values


@pytest.mark.parametrize("levels", [0, 2, 5])
def test_ranks_and_spearman_are_those_of_scipy(levels: int) -> None:
    a, b = some(0, 3, 4, 41, levels=levels), some(1, 3, 4, 41, levels=levels)
    np.testing.assert_allclose(ranks(a).numpy(), stats.rankdata(a.numpy(), axis=-1))
    ours = spearman(a, b).flatten()
    pairs = zip(a.flatten(0, 1).numpy(), b.flatten(0, 1).numpy(), strict=True)
    np.testing.assert_allclose(ours, [stats.spearmanr(*pair)[0] for pair in pairs], atol=1e-12)


def test_spearman_is_not_pearson() -> None:
    truth = torch.linspace(0, 1, 11)
    assert spearman(truth.exp() ** 5, truth) == pytest.approx(1)
    assert stats.pearsonr((truth.exp() ** 5).numpy(), truth.numpy())[0] < 0.9


def test_spearman_of_a_monotone_function_is_the_same() -> None:
    a, b = some(0, 50), some(1, 50)
    assert spearman(a.exp(), b) == spearman(a, b)
    assert spearman(-a, b) == pytest.approx(-float(spearman(a, b)))


def test_mae_and_r2_are_those_of_scikit_learn() -> None:
    a, b = some(0, 60), some(1, 60)
    assert mae(a, b) == pytest.approx(mean_absolute_error(b, a))
    assert r2(a, b) == pytest.approx(r2_score(b.double(), a.double()))
    assert r2(b.mean().expand(60), b) == pytest.approx(0, abs=1e-6)


def test_constant_maps_have_scores() -> None:
    flat, ramp = torch.full((9,), 0.3), torch.linspace(0, 1, 9)
    assert spearman(flat, ramp) == 0
    assert spearman(ramp, flat) == 0
    assert r2(flat, flat) == 1
    assert r2(ramp, flat) == 0
    assert mae(flat, flat) == 0


def test_order_in_the_rounding_is_no_order() -> None:
    ramp = torch.linspace(0, 1, 9)
    assert spearman(0.5 + 1e-6 * ramp, ramp) == 0
    assert spearman(0.5 + 1e-3 * ramp, ramp) == pytest.approx(1)


def test_bootstrap_intervals_cover_as_often_as_they_say() -> None:
    generator = torch.Generator().manual_seed(0)
    hits = 0
    for trial in range(200):
        low, high = bootstrap([torch.rand(40, generator=generator)], seed=trial, draws=300)
        hits += low <= 0.5 <= high
    assert 178 <= hits <= 199  # 95 % of 200, within three standard deviations and the bootstrap's


def test_bootstrap_intervals_are_those_of_scipy() -> None:
    values = some(3, 60)
    theirs = stats.bootstrap(
        (values.double().numpy(),), np.mean, method="percentile", n_resamples=20_000,
        rng=np.random.default_rng(0),
    ).confidence_interval  # fmt: skip
    ours = bootstrap([values], draws=20_000)
    assert ours == pytest.approx(tuple(theirs), abs=0.003)


def test_seeds_that_differ_widen_the_interval() -> None:
    together = bootstrap([some(0, 40), some(1, 40)])
    apart = bootstrap([some(0, 40), some(1, 40) + 1])
    assert apart[1] - apart[0] > 3 * (together[1] - together[0])


@pytest.mark.usefixtures("unchecked")
def test_scores_of_maps_that_do_not_fit_are_refused() -> None:
    with pytest.raises(
        ValueError,
        match=r"^`predicted` must have as many cells as `truth`, 3, at least one, but has 2\.$",
    ):
        mae(torch.zeros(2), torch.zeros(3))
    with pytest.raises(
        ValueError, match=r"^`scores` must hold scores for each seed, but has none for one\.$"
    ):
        bootstrap([torch.zeros(0)])


@pytest.mark.parametrize("score", [spearman, mae, r2])
def test_a_prediction_that_is_not_finite_has_no_score(score: Any) -> None:
    truth = torch.rand(3, 9)
    predicted = truth.clone()
    predicted[1, 4] = torch.nan
    predicted[2] = torch.inf
    found = score(predicted, truth)
    assert found.isnan().tolist() == [False, True, True]


def test_an_image_that_is_tested_in_many_seeds_is_one_image() -> None:
    """Were the tests other images each time, the interval would shrink with their number."""
    tested = [split(20, seed) == TEST for seed in range(30)]
    hits, trials, draw = 0, 150, torch.Generator().manual_seed(1)
    for _ in range(trials):
        each = torch.randn(20, generator=draw)
        scores = [each[here] for here in tested]
        groups = [here.nonzero()[:, 0] for here in tested]
        low, high = bootstrap(scores, groups, draws=300)
        hits += low <= 0 <= high
    assert hits / trials > 0.88  # 95 % less what percentiles of 20 images lack; apart: 0.5


def test_a_group_counts_once_however_many_images_it_has() -> None:
    values = some(0, 8)
    alone = bootstrap([values], draws=4000)
    many = bootstrap([values.repeat(10)], [torch.arange(8).repeat(10)], draws=4000)
    assert many == pytest.approx(alone, abs=0.01)


def test_few_groups_and_scores_that_are_unknown_have_no_interval() -> None:
    few = [torch.rand(40)], [torch.arange(40) % 4]
    for low, high in (bootstrap(*few), bootstrap([torch.rand(4)])):
        assert math.isnan(low)
        assert math.isnan(high)
    assert math.isnan(bootstrap([torch.tensor([0.1, 0.2, 0.3, 0.4, 0.5, torch.nan])])[0])
