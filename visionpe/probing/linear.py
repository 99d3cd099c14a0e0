"""The linear read-out in closed form: the default of `visionpe.probe`."""

import math
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float, Int
from torch import Tensor

from visionpe.probing.readout import FIT, TEST
from visionpe.probing.ridge import Moments, errors, products, solve, solve_each, windows
from visionpe.probing.targets import Target

_ALPHAS = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0, 100.0)
_MOST = 2 * 2**30  # bytes of normal equations of one layer


@final
@dataclass(frozen=True, repr=False)
class Ridge:
    """Reads each cell from the window around it by ridge regression, exactly: no step size.

    Windows lie inside the map: nothing is padded, and cells nearer to the edge than the window
    reaches are not predicted. The penalty is chosen, for each target, on images held out of the
    training part; then all of that part is fitted. One pass over the images fits everything.

    Attributes:
        kernel: side of the window in cells, odd: 1, or 3 as published, or 7.
        alphas: penalties to choose from, as of `visionpe.probing.ridge.solve`.
        project: read this many random projections (Gaussian, the same for all layers) instead of
            all features of a window: for windows of many features, whose normal equations are too
            large. What it finds is then a lower bound.

    Raises:
        ValueError: if `kernel` is even or below 1, a penalty is not positive, or `project` below 1.

    >>> Ridge(kernel=3).begin(8, 4, 6, outputs=1, splits=3).required
    10
    """

    kernel: int = 1
    alphas: tuple[float, ...] = _ALPHAS
    project: int | None = None

    def __post_init__(self) -> None:
        if self.kernel < 1 or self.kernel % 2 == 0:
            raise ValueError(f"`kernel` must be odd and positive, but is {self.kernel}.")
        if not self.alphas or min(self.alphas) <= 0:
            raise ValueError(f"`alphas` must be positive, but are {self.alphas}.")
        if self.project is not None and self.project < 1:
            raise ValueError(f"`project` must be at least 1, but is {self.project}.")

    def __repr__(self) -> str:
        """The call that makes it."""
        parts = [f"kernel={self.kernel}"]
        if self.alphas != _ALPHAS:
            parts.append(f"alphas={self.alphas}")
        if self.project is not None:
            parts.append(f"project={self.project}")
        return f"Ridge({', '.join(parts)})"

    def begin(
        self,
        channels: int,
        h: int,
        w: int,
        *,
        outputs: int,
        splits: int,
        together: int | None = None,
    ) -> "RidgeFitting":
        """Read-outs, not yet fitted: see `Readout`. Each output is alone, whatever `together`."""
        return RidgeFitting(self, channels, h, w, outputs=outputs, splits=splits)


@final
class RidgeFitting:
    """Normal equations of every split, accumulated over batches: see `Fitting`.

    Raises:
        ValueError: if the window does not fit into the map, or the normal equations into 2 GiB.
    """

    passes = 1

    def __init__(
        self, ridge: Ridge, channels: int, h: int, w: int, *, outputs: int, splits: int
    ) -> None:
        self.ridge = ridge
        self.size = (h, w)
        self.cells = (h - ridge.kernel + 1, w - ridge.kernel + 1)
        if min(self.cells) < 1:
            raise ValueError(
                f"`kernel` must be at most {min(h, w)} at maps of {h} x {w}, but is "
                f"{ridge.kernel}. Give larger images or a smaller window."
            )
        window = channels * ridge.kernel**2
        self.projection = _projection(window, ridge.project)
        p = window if self.projection is None else self.projection.shape[1]
        self.required = math.ceil((p + 1) / math.prod(self.cells))
        self.memory = (2 * splits + 2) * 8 * (p + outputs + 1) ** 2
        if self.memory > _MOST:
            raise ValueError(
                f"`readout` must keep at most 2 GiB, but the normal equations of {p} features, "
                f"{splits} splits, take {self.memory / 2**30:.1f}. Give a smaller `kernel`, or "
                "Ridge(project=2048)."
            )
        self.fit = [Moments(p, outputs) for _ in range(splits)]
        self.held = [Moments(p, outputs) for _ in range(splits)]
        self.origin: Tensor | None = None  # of the products: near the features' means
        self.solutions: list[tuple[Tensor, Tensor]] = []

    def truth(self, target: Target) -> Float[Tensor, "i j"]:
        """The target on the map's cells, without those that no window is centred at."""
        cut = self.ridge.kernel // 2
        h, w = self.size
        return target(h, w)[cut : h - cut, cut : w - cut]

    def update(
        self,
        maps: Float[Tensor, "b c h w"],
        truth: Float[Tensor, "b q i j"],
        roles: Int[Tensor, "s b"],
    ) -> None:
        """Adds a batch; images with the same roles in all splits are multiplied out once."""
        kinds, kind = roles.unique(dim=1, return_inverse=True)
        for number, column in enumerate(kinds.T.tolist()):
            if all(role == TEST for role in column):
                continue
            here = (kind == number).to(maps.device)
            sums, n, origin = self._products(maps[here], truth.to(maps.device)[here])
            for split, role in enumerate(column):
                if role != TEST:
                    part = (self.fit if role == FIT else self.held)[split]
                    part.merge(sums, n, origin)

    def finish(self) -> bool:
        """Solves every split; one pass is enough."""
        for fit, held in zip(self.fit, self.held, strict=True):
            found = errors(held, solve(fit, self.ridge.alphas))
            best = [self.ridge.alphas[i] for i in found.argmin(0).tolist()]
            self.solutions.append(solve_each(fit.plus(held), best))
        self.fit, self.held = [], []
        return True

    def predict(self, maps: Float[Tensor, "b c h w"]) -> Float[Tensor, "s b q i j"]:
        """The predictions of each split's read-out."""
        weight = torch.cat([w for w, _ in self.solutions], 1)
        intercept = torch.cat([i for _, i in self.solutions])
        rows = torch.cat(
            [
                self._features(rows).double() @ weight + intercept
                for _, rows in windows(maps, self.ridge.kernel)
            ]
        )
        predicted: Tensor = rows.unflatten(1, (len(self.solutions), -1))
        predicted = predicted.unflatten(0, (-1, *self.cells))
        return predicted.permute(3, 0, 4, 1, 2)  # b i j s q -> s b q i j

    def _products(self, maps: Tensor, truth: Tensor) -> tuple[Tensor, int, Tensor]:
        total: Tensor | None = None
        n = 0
        for part, rows in windows(maps, self.ridge.kernel):
            x = self._features(rows)
            y = truth[part].flatten(2).mT.flatten(0, 1)  # b q i j -> n q
            if self.origin is None:
                self.origin = x.double().mean(0)
            sums = products(x, y, self.origin)
            total = sums if total is None else total.add_(sums)
            n += len(x)
        assert total is not None
        assert self.origin is not None
        return total, n, self.origin

    def _features(self, rows: Float[Tensor, "n p"]) -> Float[Tensor, "n m"]:
        return rows if self.projection is None else rows @ self.projection.to(rows)


def _projection(window: int, project: int | None) -> Float[Tensor, "p m"] | None:
    """Gaussian directions of about unit length; None: as many features or fewer."""
    if project is None or project >= window:
        return None
    generator = torch.Generator().manual_seed(0)
    directions = torch.randn(window, project, generator=generator)
    return directions.div_(window**0.5)
