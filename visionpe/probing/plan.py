"""The conditions of a probe, one after the other."""

import time
from collections.abc import Callable, Sequence
from typing import final

from jaxtyping import Int
from torch import Tensor

from visionpe.probing.contents import constant_images
from visionpe.probing.controls import MODEL, Condition
from visionpe.probing.errors import FeatureError
from visionpe.probing.images import Images, Survey
from visionpe.probing.measured import Measured
from visionpe.probing.measuring import Group, Measuring
from visionpe.probing.readout import FIT, TEST, Fitting, Readout
from visionpe.probing.splits import least
from visionpe.probing.targets import Target

Progress = Callable[[int, int, str], None]
Found = dict[str, Measured]

_MOST = 4 * 2**30  # bytes of all layers' read-outs


@final
class Plan:
    """What is read, how, from which images; `run` reads it from one network after the other.

    Args:
        groups: layers.
        readout: how they are read.
        targets: what is read, by name.
        splits: `s n`, the roles of the images.
        images: the images.
        known: what they are.
    """

    def __init__(
        self,
        groups: Sequence[Group],
        readout: Readout,
        targets: dict[str, Target],
        splits: Int[Tensor, "s n"],
        images: Images,
        known: Survey,
    ) -> None:
        self.groups = groups
        self.readout = readout
        self.targets = targets
        self.splits = splits
        self.images = images
        self.known = known
        self.passes = 0

    @property
    def trained(self) -> list[int]:
        """How many images each split's read-outs are fitted to, those they choose by included."""
        return [int(n) for n in (self.splits != TEST).sum(1)]

    def begin(self, *, nulls: bool) -> dict[str, Fitting]:
        """Read-outs of each layer, not yet fitted.

        Args:
            nulls: predict the targets' nulls too.
        """
        together = len(self.targets)
        outputs = together * (2 + len(self.splits) if nulls else 1)
        found = {}
        for group in self.groups:
            try:
                found[group.name] = self.readout.begin(
                    *group.size,
                    outputs=outputs,
                    splits=len(self.splits),
                    together=together,
                )
            except ValueError as error:
                raise ValueError(f"Layer {group.name!r} cannot be read: {error}") from error
        return found

    def require_enough(self) -> None:
        """Refuses too few images, and read-outs that are too large.

        Raises:
            ValueError: saying how many images are needed.
        """
        fittings = self.begin(nulls=True)
        kinds = len(self.known.groups.unique())
        if kinds < least(2) <= self.known.n:
            raise ValueError(
                f"`groups` must be at least {least(2)}, to fit to some and to test on others, but "
                f"are {kinds}. Give crops of more photographs."
            )
        fit = int((self.splits == FIT).sum(1).min())
        for group in self.groups:
            required = fittings[group.name].required
            if fit < required or self.known.n < least(2):
                c, h, w = group.size
                raise ValueError(
                    f"`images` must be at least {least(max(2, required))} to read layer "
                    f"{group.name!r}, {c} channels at {h} x {w} cells, by {self.readout}, but are "
                    f"{self.known.n}. Give more images, larger ones, or a smaller read-out."
                )
        memory = sum(fitting.memory for fitting in fittings.values())
        if memory > _MOST:
            raise ValueError(
                f"`layers` must need read-outs of at most 4 GiB, but these {len(self.groups)} need "
                f"{memory / 2**30:.1f}. Give fewer at a time, or a smaller read-out."
            )

    def run(
        self, conditions: Sequence[Condition], progress: Progress | None
    ) -> tuple[Found, dict[str, float], list[str]]:
        """What was measured and the processor time, by condition; and notes of what failed.

        Raises:
            ValueError, ProbeError: if the model itself cannot be measured, or images change.
        """
        found: Found = {}
        seconds: dict[str, float] = {}
        failed: list[str] = []
        passes = 1 + max(fitting.passes for fitting in self.begin(nulls=False).values())
        each = passes * self.known.batches
        for number, condition in enumerate(conditions):
            begun = time.process_time()
            tick = _ticks(progress, number * each, len(conditions) * each, condition.name)
            try:
                here = self._measure(condition, tick, failed)
            except (ValueError, FeatureError) as error:
                if condition.name == MODEL:
                    raise
                failed.append(f"There is no result for {condition.name!r}: {error}")
                continue
            spent = time.process_time() - begun
            found |= here
            seconds |= dict.fromkeys(here, spent)
        if progress is not None:
            progress(len(conditions) * each, len(conditions) * each, "done")
        return found, seconds, failed

    def _measure(self, condition: Condition, tick: Callable[[], None], failed: list[str]) -> Found:
        """Of the model, with its read-outs tested on constant images; or of another condition."""
        of_model = condition.name == MODEL
        network = condition.make()
        measuring = Measuring(
            network, self.groups, self.begin(nulls=of_model), self.targets, self.splits, of_model
        )
        found = {condition.name: measuring.run(self.images, self.known, condition.change, tick)}
        if of_model:
            known = self.known
            plain = constant_images(known.low, known.high, known.h, known.w)
            for name, images in plain.items():
                try:
                    found[name] = measuring.predict(images)
                except FeatureError as error:
                    failed.append(f"There is no result for {name!r}: {error}")
        return found


def _ticks(progress: Progress | None, begun: int, total: int, what: str) -> Callable[[], None]:
    """Counts on from where a condition begins."""
    done = begun

    def tick() -> None:
        nonlocal done
        done += 1
        if progress is not None:
            progress(done, total, what)

    return tick
