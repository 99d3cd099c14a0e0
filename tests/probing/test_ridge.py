"""Ridge: scikit-learn's, from any batches in any order, and windows as convolutions have them."""

import pytest
import torch
import torch.nn.functional as F
from sklearn.linear_model import LinearRegression
from sklearn.linear_model import Ridge as Theirs
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from visionpe.probing.linear import Ridge, RidgeFitting
from visionpe.probing.readout import FIT, HELD, TEST
from visionpe.probing.ridge import Moments, errors, ridge, solve, solve_each, windows


def rows(n: int = 300, p: int = 12, q: int = 3) -> tuple[Tensor, Tensor]:
    """Correlated features of large means, and targets that they tell a part of."""
    x = torch.randn(n, p) @ torch.randn(p, p) * torch.logspace(-2, 2, p) + 1000
    return x, torch.randn(n, q) + (x - 1000)[:, :q]


@pytest.mark.parametrize("alpha", [1e-6, 1e-2, 1.0, 100.0])
def test_ridge_is_scikit_learns(alpha: float) -> None:
    x, y = rows()
    weight, intercept = ridge(x, y, alpha)
    theirs = make_pipeline(StandardScaler(), Theirs(alpha=alpha * len(x)))
    wanted = theirs.fit(x.double().numpy(), y.double().numpy()).predict(x.double().numpy())
    ours = x.double() @ weight + intercept
    torch.testing.assert_close(ours, torch.from_numpy(wanted), atol=1e-6, rtol=1e-6)


def test_ridge_without_a_penalty_is_least_squares() -> None:
    x, y = rows()
    weight, intercept = ridge(x, y, 1e-13)
    wanted = LinearRegression().fit(x.double().numpy(), y.double().numpy())
    ours = x.double() @ weight + intercept
    theirs = torch.from_numpy(wanted.predict(x.double().numpy()))
    torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=1e-6)


def test_streamed_rows_give_what_all_rows_at_once_give_in_any_order() -> None:
    x, y = rows()
    at_once = ridge(x, y, 1e-3)
    for order in (torch.arange(300), torch.randperm(300)):
        moments = Moments(12, 3)
        for part in order.split(37):
            moments.add(x[part], y[part])
        streamed = solve(moments, [1e-3])[0]
        for a, b in zip(streamed, at_once, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)


def test_the_solution_for_each_penalty_is_the_one_for_that_alone() -> None:
    x, y = rows()
    moments = Moments(12, 3)
    moments.add(x, y)
    alphas = [1e-4, 1e-1, 10.0]
    path = solve(moments, alphas)
    each = solve_each(moments, alphas)
    for i, alpha in enumerate(alphas):
        alone = ridge(x, y, alpha)
        for found, wanted in zip(path[i], alone, strict=True):
            torch.testing.assert_close(found, wanted)
        torch.testing.assert_close(each[0][:, i], alone[0][:, i])
        torch.testing.assert_close(each[1][i], alone[1][i])


def test_errors_from_moments_are_those_of_the_predictions() -> None:
    x, y = rows()
    fit, held = Moments(12, 3), Moments(12, 3)
    fit.add(x[:200], y[:200])
    held.origin = fit.origin
    assert held.origin is not None
    held.merge(_products(x[200:], y[200:], held.origin), 100, held.origin)
    solutions = solve(fit, [1e-3, 1.0])
    wanted = torch.stack(
        [(x[200:].double() @ w + i - y[200:]).square().mean(0) for w, i in solutions]
    )
    torch.testing.assert_close(errors(held, solutions), wanted, rtol=1e-6, atol=1e-9)


def _products(x: Tensor, y: Tensor, origin: Tensor) -> Tensor:
    z = torch.cat([x.double() - origin, y.double(), torch.ones(len(x), 1).double()], 1)
    return torch.einsum("np,nq->pq", z, z)


def test_features_that_are_constant_but_for_rounding_get_no_weight() -> None:
    x, y = rows()
    x[:, 4] = 0
    x[:, 5] = 7 + 1e-7 * y[:, 0]
    weight, _ = ridge(x, y, 1e-6)
    assert not weight[4:6].any()
    assert weight[:4].all()


@pytest.mark.parametrize("kernel", [1, 3, 7])
def test_windows_are_what_a_convolution_without_padding_sees(kernel: int) -> None:
    maps = torch.randn(5, 4, 8, 11).double()
    weight = torch.randn(2, 4, kernel, kernel).double()
    parts = [r @ weight.flatten(1).T for _, r in windows(maps, kernel)]
    wanted = F.conv2d(maps, weight).permute(0, 2, 3, 1).flatten(0, 2)
    torch.testing.assert_close(torch.cat(parts), wanted)


def test_many_windows_come_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("visionpe.probing.ridge._CHUNK", 2000)
    maps = torch.randn(5, 4, 8, 11)
    parts = list(windows(maps, 3))
    assert len(parts) == 5
    assert torch.equal(torch.cat([r for _, r in parts]), F.unfold(maps, 3).mT.flatten(0, 1))


def fitted(kernel: int, maps: Tensor, truth: Tensor, roles: Tensor, step: int) -> RidgeFitting:
    fitting = Ridge(kernel).begin(*maps.shape[1:], outputs=truth.shape[1], splits=len(roles))
    for start in range(0, len(maps), step):
        part = slice(start, start + step)
        fitting.update(maps[part], truth[part], roles[:, part])
    assert fitting.finish()
    return fitting


@pytest.mark.parametrize("kernel", [1, 3])
def test_a_fitting_is_ridge_on_the_training_images_of_each_split(kernel: int) -> None:
    maps = torch.randn(24, 3, 6, 7)
    truth = maps[:, :1, kernel // 2 : 6 - kernel // 2, kernel // 2 : 7 - kernel // 2] * 2 + 1
    truth = torch.cat([truth, torch.randn_like(truth)], 1)
    roles = torch.randint(0, 3, (3, 24))
    fitting = fitted(kernel, maps, truth, roles, 5)
    predicted = fitting.predict(maps)
    for split, role in enumerate(roles):
        best = []
        for q in range(2):
            scored = []
            for alpha in Ridge().alphas:
                guess = _plain(maps, truth, role == FIT, kernel, alpha)
                missed = (guess - truth)[role == HELD][:, q].square().mean()
                scored.append((float(missed), alpha))
            best.append(min(scored)[1])
        for q, alpha in enumerate(best):
            wanted = _plain(maps, truth, role != TEST, kernel, alpha)[:, q]
            torch.testing.assert_close(predicted[split, :, q], wanted, rtol=1e-6, atol=1e-6)
    assert predicted[:, :, 0].sub(truth[:, 0]).abs().max() < 1e-4


def _plain(maps: Tensor, truth: Tensor, seen: Tensor, kernel: int, alpha: float) -> Tensor:
    """Ridge by scikit-learn's on all windows at once, predicted everywhere."""

    def unfolded(images: Tensor) -> Tensor:
        return F.unfold(images, kernel).mT.flatten(0, 1).double()

    y = truth[seen].flatten(2).mT.flatten(0, 1).double()
    x = unfolded(maps[seen])
    model = make_pipeline(StandardScaler(), Theirs(alpha=alpha * len(x))).fit(x.numpy(), y.numpy())
    rows = torch.from_numpy(model.predict(unfolded(maps).numpy()))
    guess: Tensor = rows.unflatten(0, (len(maps), *truth.shape[2:]))
    return guess.permute(0, 3, 1, 2)


def test_the_size_of_batches_changes_nothing() -> None:
    maps, truth = torch.randn(24, 3, 6, 7), torch.rand(24, 2, 6, 7)
    roles = torch.randint(0, 3, (2, 24))
    a, b = (fitted(1, maps, truth, roles, step).predict(maps) for step in (3, 24))
    torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)


def test_random_projections_of_a_window_find_what_few_directions_tell() -> None:
    maps = torch.randn(24, 6, 6, 7)
    truth = maps.mean(1, keepdim=True)
    roles = torch.zeros(1, 24, dtype=torch.long)
    roles[:, 16:20], roles[:, 20:] = HELD, TEST
    exact = _r2(Ridge(), maps, truth, roles)
    assert exact > 0.999
    assert _r2(Ridge(project=6), maps, truth, roles) == pytest.approx(exact)
    assert 0.1 < _r2(Ridge(project=3), maps, truth, roles) < 0.99


def _r2(how: Ridge, maps: Tensor, truth: Tensor, roles: Tensor) -> float:
    fitting = how.begin(*maps.shape[1:], outputs=1, splits=1)
    fitting.update(maps, truth, roles)
    fitting.finish()
    tested = roles[0] == TEST
    missed = (fitting.predict(maps)[0] - truth)[tested].square().mean()
    return float(1 - missed / truth[tested].var())


def test_a_window_that_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="kernel") as refused:
        Ridge(kernel=7).begin(8, 5, 9, outputs=1, splits=1)
    assert str(refused.value) == (
        "`kernel` must be at most 5 at maps of 5 x 9, but is 7. "
        "Give larger images or a smaller window."
    )


def test_normal_equations_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="readout") as refused:
        Ridge(kernel=3).begin(2048, 7, 7, outputs=25, splits=3)
    assert str(refused.value) == (
        "`readout` must keep at most 2 GiB, but the normal equations of 18432 features, 3 splits, "
        "take 20.3. Give a smaller `kernel`, or Ridge(project=2048)."
    )
    fitting = Ridge(kernel=3, project=2048).begin(2048, 7, 7, outputs=25, splits=3)
    assert fitting.memory < 2**30


def test_wrong_options_are_refused() -> None:
    with pytest.raises(ValueError, match=r"^`kernel` must be odd and positive, but is 2\.$"):
        Ridge(kernel=2)
    with pytest.raises(ValueError, match=r"^`alphas` must be positive, but are \(0\.0,\)\.$"):
        Ridge(alphas=(0.0,))
    with pytest.raises(ValueError, match=r"^`project` must be at least 1, but is 0\.$"):
        Ridge(project=0)
    with pytest.raises(ValueError, match=r"^`alphas` must be positive, but are \[-1\.0\]\.$"):
        ridge(*rows(5), -1.0)
    with pytest.raises(ValueError, match=r"^`moments` must hold rows, but is empty\.$"):
        solve(Moments(1, 1), [1.0])
