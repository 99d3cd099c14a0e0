"""One network's layers: read-outs fitted pass by pass, then tested image by image."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from visionpe.models.posenet import resize_corners
from visionpe.probing.contents import shuffled
from visionpe.probing.controls import CONTROL_TASK, SHUFFLED, Change
from visionpe.probing.features import Maps, Recorder, record
from visionpe.probing.images import Images, Survey
from visionpe.probing.layers import Layer
from visionpe.probing.measured import Column, Measured, Scores
from visionpe.probing.readout import TEST, Fitting
from visionpe.probing.scores import mae, r2, spearman
from visionpe.probing.targets import Target


class Group(NamedTuple):
    """What one read-out reads: a layer, or several concatenated.

    Attributes:
        name: the layers' names, joined by " + ".
        layers: one or more.
        lattice: rows and columns that their maps are resized to; None: one layer's own.
    """

    name: str
    layers: tuple[Layer, ...]
    lattice: tuple[int, int] | None

    @property
    def size(self) -> tuple[int, int, int]:
        """Channels, rows and columns of the maps."""
        h, w = self.lattice or (self.layers[0].h, self.layers[0].w)
        return sum(layer.channels for layer in self.layers), h, w

    def maps(self, recorded: Maps) -> Float[Tensor, "b c h w"]:
        """The layers' maps as one."""
        parts = [recorded[layer.name] for layer in self.layers]
        if self.lattice is not None:
            parts = [resize_corners(part, self.lattice) for part in parts]
        return torch.cat(parts, 1) if len(parts) > 1 else parts[0]


def layers_of(groups: Sequence[Group]) -> list[Layer]:
    """The layers of groups, each once."""
    return list({layer.name: layer for group in groups for layer in group.layers}.values())


class Measuring:
    """Fits read-outs to the layers of one network and tests them.

    Args:
        model: any module that takes the images.
        groups: what is read.
        fittings: how, by the groups' names.
        targets: by name.
        splits: `s n`: the role of each image in each split.
        nulls: predict the targets' nulls too, which makes `2 + s` times as many outputs.
    """

    def __init__(
        self,
        model: nn.Module,
        groups: Sequence[Group],
        fittings: Mapping[str, Fitting],
        targets: Mapping[str, Target],
        splits: Int[Tensor, "s n"],
        nulls: bool,
    ) -> None:
        self.model = model
        self.groups = groups
        self.fittings = fittings
        self.targets = targets
        self.splits = splits
        self.columns = [Column(name, None, None) for name in targets]
        if nulls:
            self.columns += [Column(name, SHUFFLED, None) for name in targets]
            self.columns += [
                Column(name, CONTROL_TASK, s) for s in range(len(splits)) for name in targets
            ]

    def run(
        self, images: Images, known: Survey, change: Change, tick: Callable[[], None]
    ) -> Measured:
        """All passes over the images.

        Args:
            images: read once for each pass and once to test.
            known: what they must be.
            change: what becomes of a batch before the network sees it.
            tick: called after each batch.

        Raises:
            ProbeError: if the images differ from pass to pass, or features are not finite.
        """
        with record(self.model, layers_of(self.groups)) as maps_of:
            fitting = set(self.fittings)
            while fitting:
                self._fit(images, known, change, tick, maps_of, fitting)
                fitting = {name for name in fitting if not self.fittings[name].finish()}
            return self._test(images, known, change, tick, maps_of)

    def predict(self, images: Float[Tensor, "b c h w"]) -> Measured:
        """The fitted read-outs of every split, tested on images of no split; not on the nulls."""
        measured = Measured()
        with record(self.model, layers_of(self.groups)) as maps_of:
            recorded = maps_of(images)
            for group in self.groups:
                maps = group.maps(recorded)
                tested = torch.ones(len(self.splits), len(maps), dtype=torch.bool)
                truth = self._truth(group, 0, len(maps))
                each = torch.arange(len(maps))
                self._score(measured, group, maps, truth, tested, each, nulls=False)
        return measured

    def _fit(
        self, images: Images, known: Survey, change: Change, tick: Callable[[], None],
        maps_of: Recorder, names: set[str],
    ) -> None:  # fmt: skip
        for first, batch in known.again(images):
            roles = self.splits[:, first : first + len(batch)]
            used = (roles != TEST).any(0)
            if bool(used.any()):
                recorded = maps_of(change(batch, first)[used])
                for group in self.groups:
                    if group.name in names:
                        truth = self._truth(group, first, len(batch))[used]
                        self.fittings[group.name].update(
                            group.maps(recorded), truth, roles[:, used]
                        )
            tick()

    def _test(
        self, images: Images, known: Survey, change: Change, tick: Callable[[], None],
        maps_of: Recorder,
    ) -> Measured:  # fmt: skip
        measured = Measured()
        for first, batch in known.again(images):
            tested = self.splits[:, first : first + len(batch)] == TEST
            used = tested.any(0)
            if bool(used.any()):
                recorded = maps_of(change(batch, first)[used])
                kinds = known.groups[first : first + len(batch)][used]
                for group in self.groups:
                    truth = self._truth(group, first, len(batch))[used]
                    maps = group.maps(recorded)
                    self._score(measured, group, maps, truth, tested[:, used], kinds)
            tick()
        return measured

    def _truth(self, group: Group, first: int, b: int) -> Float[Tensor, "b q i j"]:
        """What is to be predicted for images from number `first`."""
        fitting = self.fittings[group.name]
        plain = torch.stack([fitting.truth(target) for target in self.targets.values()])
        parts = [plain.expand(b, -1, -1, -1)]
        if len(self.columns) > len(plain):
            # Images are shuffled by other seeds than splits are.
            each = [shuffled(plain, len(self.splits) + first + i) for i in range(b)]
            parts.append(torch.stack(each))
            parts += [shuffled(plain, s).expand(b, -1, -1, -1) for s in range(len(self.splits))]
        return torch.cat(parts, 1)

    def _score(
        self,
        measured: Measured,
        group: Group,
        maps: Float[Tensor, "b c h w"],
        truth: Float[Tensor, "b q i j"],
        tested: Bool[Tensor, "s b"],
        kinds: Int[Tensor, " b"],
        *,
        nulls: bool = True,
    ) -> None:
        predicted = self.fittings[group.name].predict(maps).cpu()  # s b q i j
        for name in self.targets:
            measured.truths[group.name, name] = self.fittings[group.name].truth(self.targets[name])
        for s, here in enumerate(tested):
            if not bool(here.any()):
                continue
            chosen = [
                q
                for q, column in enumerate(self.columns)
                if column.split in (None, s) and (nulls or column.null is None)
            ]
            guess, goal = predicted[s, here][:, chosen], truth[here][:, chosen]  # m q i j
            pair = guess.flatten(2), goal.flatten(2)
            scores = spearman(*pair), mae(*pair), r2(*pair)  # m q
            for k, q in enumerate(chosen):
                ordered, far, share = (score[:, k] for score in scores)
                each = Scores(ordered, far, share, kinds[here])
                measured.add(group.name, self.columns[q], s, guess[:, k], each)
