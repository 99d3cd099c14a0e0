"""What a probe found: tidy rows, their means with intervals, and the predicted maps."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, final

from jaxtyping import Float
from torch import Tensor

from visionpe.probing.table import table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Interval = tuple[float, float]
TARGET = "target"  # the condition under which `maps` holds the target itself


@final
@dataclass(frozen=True)
class Row:
    """The scores of one layer, target, condition and seed: means over the tested images.

    Attributes:
        layer: name of the module, or several joined by " + " whose maps were concatenated.
        target: such as "H".
        condition: "model", or one of the controls: see `visionpe.probing.controls`.
        seed: of the split into training and test images.
        spearman: rank correlation of prediction and target, -1 to 1.
        mae: mean absolute error; targets are in [0, 1].
        r2: share of the target's variance that is predicted; 1: all; negative: worse than its mean.
        interval: 95 % bootstrap interval of `spearman` over images.
        n_images: tested.
        n_train: that the read-out was fitted to.
        seconds: processor time of the condition, all its targets and seeds together.
    """

    layer: str
    target: str
    condition: str
    seed: int
    spearman: float
    mae: float
    r2: float
    interval: Interval
    n_images: int
    n_train: int
    seconds: float


@final
@dataclass(frozen=True)
class Mean:
    """The scores of one layer, target and condition: means over seeds, bootstrap intervals (95 %).

    Seeds are drawn anew, and the images of each: the intervals hold for both.

    Attributes:
        seeds: how many.
        n_images: tested, all seeds together.
    """

    layer: str
    target: str
    condition: str
    spearman: float
    mae: float
    r2: float
    spearman_interval: Interval
    mae_interval: Interval
    r2_interval: Interval
    seeds: int
    n_images: int


class Companion(NamedTuple):
    """What else leaks position in a layer.

    Attributes:
        field: `h w`, in pixels of the image: share of the centre unit's gradient, sums to 1.
        field_size: side of the square with as much spread as the field, in pixels.
        border: `h w`, cell by cell: relative error of shift equivariance.
        interior_error, border_error: its root mean squares, away from and at the edge (NaN: no such
            cell).
    """

    field: Float[Tensor, "h w"]
    field_size: float
    border: Float[Tensor, "i j"]
    interior_error: float
    border_error: float


@final
@dataclass(frozen=True, repr=False, eq=False)
class ProbeResult:
    """What `visionpe.probe` returns; `print` shows every value beside its controls.

    Attributes:
        rows: one for each layer, target, condition and seed.
        means: one for each layer, target and condition.
        maps: layer -> target -> condition -> the mean predicted map `h w` over tested images and
            seeds; under the condition "target" the target itself.
        companions: layer -> effective receptive field and errors of shift equivariance.
        notes: what a reader must know: images that were generated, twins that could not be made.
        meta: model, size, read-out, lattices, images' origin, versions, seconds, command.
    """

    rows: list[Row]
    means: list[Mean]
    maps: dict[str, dict[str, dict[str, Tensor]]]
    companions: dict[str, Companion] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    meta: Mapping[str, Any] = field(default_factory=dict)

    @property
    def layers(self) -> list[str]:
        """The names of the layers, in the order of the model."""
        return list(dict.fromkeys(mean.layer for mean in self.means))

    @property
    def targets(self) -> list[str]:
        """The names of the targets."""
        return list(dict.fromkeys(mean.target for mean in self.means))

    @property
    def conditions(self) -> list[str]:
        """ "model" and the controls."""
        return list(dict.fromkeys(mean.condition for mean in self.means))

    def mean(self, layer: str, target: str, condition: str = "model") -> Mean:
        """The scores of one layer, target and condition.

        Raises:
            KeyError: if there are none.
        """
        for mean in self.means:
            if (mean.layer, mean.target, mean.condition) == (layer, target, condition):
                return mean
        raise KeyError(
            f"The result must hold {(layer, target, condition)}, but has layers {self.layers}, "
            f"targets {self.targets} and conditions {self.conditions}."
        )

    def selectivity(self, layer: str, target: str) -> float:
        """R^2 of the model minus R^2 of the control task: the target under one shuffle."""
        return self.mean(layer, target).r2 - self.mean(layer, target, "control task").r2

    def table(self, score: str = "spearman") -> str:
        """One score of every layer and target, each beside all its controls.

        Args:
            score: "spearman", "mae" or "r2".
        """
        return table(self, score)

    def __str__(self) -> str:
        """The Spearman table, with its nulls, and the notes."""
        return self.table()

    def __repr__(self) -> str:
        """What was probed."""
        return (
            f"<ProbeResult of {self.meta.get('model', '?')}: {len(self.layers)} layers, "
            f"{len(self.targets)} targets, {len(self.conditions)} conditions>"
        )

    def to_dict(self) -> dict[str, Any]:
        """Everything but the companions' fields, of plain numbers, lists and strings."""
        return {
            "meta": dict(self.meta),
            "notes": list(self.notes),
            "rows": [asdict(row) for row in self.rows],
            "means": [asdict(mean) for mean in self.means],
            "maps": {
                layer: {
                    target: {condition: m.tolist() for condition, m in by_condition.items()}
                    for target, by_condition in by_target.items()
                }
                for layer, by_target in self.maps.items()
            },
            "companions": {
                layer: {
                    "field_size": c.field_size,
                    "border": c.border.tolist(),
                    "interior_error": c.interior_error,
                    "border_error": c.border_error,
                }
                for layer, c in self.companions.items()
            },
        }

    def plot(self) -> "Figure":
        """The scores layer by layer, and the predicted maps beside their targets."""
        from visionpe.probing.pictures import plot

        return plot(self)

    def save(self, folder: str | Path) -> list[Path]:
        """Writes JSON, pictures and the page into a folder; returns the files."""
        from visionpe.probing.page_files import save

        return save(self, folder)

    def to_html(self) -> str:
        """One page that needs no network: for somebody who never saw the paper."""
        from visionpe.probing.page import to_html

        return to_html(self)
