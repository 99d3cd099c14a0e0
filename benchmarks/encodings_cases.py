"""What `benchmarks/encodings.py` compares: sides that must give the same result."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

Modes = Sequence[str]
BOTH = ("forward", "train")


def same(x: Tensor) -> Tensor:
    """A result as it is."""
    return x


class Side(NamedTuple):
    """One of the things compared.

    Attributes:
        run: makes the result: a tensor, or several.
        leaves: what gets a gradient.
        view: brings a result of this side into the layout of visionpe's.
        compared: False for a plain operation whose result is another one.
        compiles: False for one that `torch.compile` gets wrong.
    """

    run: Callable[[], Tensor | tuple[Tensor, ...]]
    leaves: Sequence[Tensor] = ()
    view: Callable[[Tensor], Tensor] = same
    compared: bool = True
    compiles: bool = True

    def results(self) -> tuple[Tensor, ...]:
        """The results, several or one."""
        out = self.run()
        return out if isinstance(out, tuple) else (out,)


class Case(NamedTuple):
    """What is compared, at one size.

    Attributes:
        encoding: its name, and the operation.
        size: of the lattice and the tensors.
        build: makes the sides and draws their numbers; the first is visionpe's.
        targets: by the other sides, the largest ratio wanted of visionpe's time to theirs.
        modes: "forward" without gradients, "train" forward and backward.
        atol: how far results and gradients may lie apart, in units of the largest of them.
        note: what is worth saying about the sides in a mode.
        forward: the targets of "forward" that are others, or none.
    """

    encoding: str
    size: str
    build: Callable[[], dict[str, Side]]
    targets: dict[str, float]
    modes: Modes = BOTH
    atol: float = 1e-5
    note: Callable[[dict[str, Side], str], str] = lambda sides, mode: ""
    forward: dict[str, float | None] = {}  # noqa: RUF012 - a named tuple's default, never changed

    def target(self, against: str, mode: str) -> float | None:
        """The largest ratio wanted, if any."""
        if mode == "forward" and against in self.forward:
            return self.forward[against]
        return self.targets.get(against)


def require_same(case: Case, sides: dict[str, Side]) -> None:
    """Refuses to compare sides whose results or gradients differ.

    Parameters have another layout on another side, so their gradients are compared as sorted
    numbers.

    Raises:
        AssertionError: if they differ.
    """
    found = {}
    for name, side in sides.items():
        if not side.compared:
            continue
        parts = [side.view(part) for part in side.results()]
        gradients: Sequence[Tensor] = ()
        if side.leaves and "train" in case.modes:
            generator = torch.Generator().manual_seed(0)
            outer = [torch.randn(part.shape, generator=generator) for part in parts]
            gradients = torch.autograd.grad(parts, list(side.leaves), outer)
        found[name] = [p.detach() for p in parts] + [g.flatten().sort()[0] for g in gradients]
    ours, *others = found.items()
    for name, theirs in others:
        assert len(theirs) == len(ours[1]), f"{case.encoding} {case.size}, {name}: other results"
        for mine, other in zip(ours[1], theirs, strict=True):
            assert mine.shape == other.shape, f"{case.encoding} {case.size}, {name}: shapes"
            apart = float((mine - other).abs().max() / other.abs().max().clamp(min=1e-30))
            message = f"{case.encoding} {case.size}, {name}: {apart:.1e} apart"
            assert apart <= case.atol, message


def calls(sides: dict[str, Side], mode: str) -> dict[str, Callable[[], None]]:
    """What is timed, for each side."""

    def forward(side: Side) -> Callable[[], None]:
        def call() -> None:
            with torch.no_grad():
                side.run()

        return call

    def train(side: Side) -> Callable[[], None]:
        outer = [torch.randn_like(part) for part in side.results()]
        leaves = list(side.leaves)

        def call() -> None:
            torch.autograd.grad(side.results(), leaves, outer)

        return call

    return {name: (train if mode == "train" else forward)(side) for name, side in sides.items()}
