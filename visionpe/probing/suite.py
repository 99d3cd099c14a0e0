"""`visionpe.probe`: how much position the layers of a network encode, beside their controls.

The question and the targets of Islam et al., arXiv:2001.08248; the read-out is linear and exact by
default. The method is contested (arXiv:2206.01202), so what is compared is part of the answer:
there is no way to switch the controls off.
"""

import math
import platform
import time
from collections.abc import Iterable, Sequence
from copy import deepcopy
from importlib.metadata import version
from typing import Any

import torch
from torch import Tensor, nn

from visionpe.attaching.refusals import image_channels, image_size
from visionpe.probing.companions import companions
from visionpe.probing.controls import conditions
from visionpe.probing.gathering import gather
from visionpe.probing.images import Images, Survey, generated, survey
from visionpe.probing.layers import find_layers
from visionpe.probing.linear import Ridge
from visionpe.probing.measuring import Group, layers_of
from visionpe.probing.plan import Plan, Progress
from visionpe.probing.readout import Readout
from visionpe.probing.result import Mean, ProbeResult
from visionpe.probing.scores import FEWEST
from visionpe.probing.splits import split
from visionpe.probing.targets import target
from visionpe.probing.twins import redraw
from visionpe.tracing.refusals import require_plain
from visionpe.tracing.run import trace

_RIDGE = Ridge()
_CONCATENATED = (28, 28)  # as published
_STATISTICS = 32  # images for the statistics of batch norms
_COMPANIONS = 8  # images for receptive fields and shifts
_FEW = 20  # images


def probe(
    model: nn.Module,
    images: Tensor | Iterable[Any] | None = None,
    *,
    layers: Sequence[str | tuple[str, ...]] | None = None,
    size: tuple[int, int] | None = None,
    targets: Sequence[str] = ("H", "V", "G", "HS", "VS"),
    readout: Readout = _RIDGE,
    lattice: tuple[int, int] | None = None,
    seeds: int = 3,
    batch_size: int = 16,
    groups: Tensor | Sequence[int] | None = None,
    progress: Progress | None = None,
) -> ProbeResult:
    """Reads position out of a model's layers, and out of what it must be compared with.

    For each layer and target a read-out is fitted to frozen features of some images and tested on
    others, for several splits of the images; then all again for shuffled targets, random weights,
    permuted images and twins of the network with other padding, and the model's read-outs are
    tested on images without content: see `visionpe.probing.controls`. Features are never kept:
    each condition reads the images twice. The model is left as it was.

    Args:
        model: takes images `b c h w`; on any device.
        images: a tensor `b c h w` as the model expects it (normalised), or an iterable of batches
            that can be read several times, the same each time (a list, a `DataLoader`); None: 64
            generated dead-leaves images.
        layers: names or globs of modules; a tuple of names: their maps concatenated. None: the
            last of the outermost modules at each size of map.
        size: `(h, w)` of generated images; None: what timm's configuration of the model says.
            Given images must have it.
        targets: names: see `visionpe.probing.targets`.
        readout: `Ridge(...)` or `Trained(...)`.
        lattice: rows and columns to resize all maps to, published: (28, 28); None: each layer's
            own, and 28 x 28 for concatenated ones.
        seeds: splits of the images: 30 % for testing.
        batch_size: of a tensor of images.
        groups: a number for each of the given images, alike for images that tell of one another,
            such as crops of one photograph: no read-out is tested on a group that it was fitted
            to, and intervals draw groups. None: each image is alone.
        progress: called with batches done, of how many, and the name of the condition.

    Raises:
        TypeError: if `model` is no module or `images` nothing that holds images.
        ValueError: if a layer or target is unknown, a layer has no spatial map, the model does not
            take such images, or they are none, not finite, too small or too few for the read-out.
        ProbeError: if images cannot be read or change from reading to reading, or features are not
            finite.

    >>> from visionpe import AddCoords
    >>> net = nn.Sequential(AddCoords(), nn.Conv2d(5, 8, 1))
    >>> result = probe(net, torch.randn(8, 3, 6, 9), layers=["1"], targets=["H"])
    >>> round(result.mean("1", "H").r2, 3), round(result.mean("1", "H", "shuffled").r2)
    (1.0, 0)
    """
    begun = time.process_time()
    require_plain(model)
    wanted = {name: target(name) for name in targets}
    if not wanted:
        raise ValueError("`targets` must name at least one target, but is empty.")
    if seeds < 1:
        raise ValueError(f"`seeds` must be at least 1, but is {seeds}.")
    source = _images(model, images, size, batch_size, groups)
    known = survey(source)
    if size is not None and (known.h, known.w) != tuple(size):
        raise ValueError(
            f"`images` must be of `size` {size[0]} x {size[1]}, but are {known.h} x {known.w}. "
            "Resize or crop them."
        )
    read = _read(model, known, layers, lattice)
    splits = torch.stack([split(known.n, seed, known.groups) for seed in range(seeds)])
    plan = Plan(read, readout, wanted, splits, source, known)
    plan.require_enough()
    some = source.first(_STATISTICS)
    listed, notes = conditions(model, some, layers_of(read))
    found, seconds, failed = plan.run(listed, progress)
    single = [group.layers[0] for group in read if len(group.layers) == 1]
    beside = companions(model, some[:_COMPANIONS], single)
    rows, means, maps = gather(found, seconds, plan.trained)
    if images is None:
        notes.insert(0, f"No images were given. These were {source.origin}.")
    notes += [*_of_images(known), *failed, *_diverged(means)]
    meta = {
        "model": type(model).__name__,
        "size": [known.h, known.w],
        "images": known.n,
        "origin": source.origin,
        "readout": repr(readout),
        "lattices": {group.name: list(group.size[1:]) for group in read},
        "channels": {group.name: group.size[0] for group in read},
        "seeds": seeds,
        "random weights": redraw(deepcopy(model)),
        "versions": {
            "visionpe": version("visionpe"),
            "torch": str(torch.__version__),
            "python": platform.python_version(),
        },
        "seconds": time.process_time() - begun,
    }
    return ProbeResult(rows, means, maps, beside, notes, meta)


def _images(
    model: nn.Module,
    images: Any,
    size: tuple[int, int] | None,
    batch_size: int,
    groups: Tensor | Sequence[int] | None,
) -> Images:
    if images is not None:
        return Images(images, batch_size=batch_size, groups=groups)
    if groups is not None:
        raise ValueError("`groups` must be of given images, but `images` is None. Leave it out.")
    h, w = image_size(model, size)
    return generated(h, w, channels=image_channels(model, (h, w)), batch_size=batch_size)


def _read(
    model: nn.Module,
    known: Survey,
    layers: Sequence[str | tuple[str, ...]] | None,
    lattice: tuple[int, int] | None,
) -> list[Group]:
    """What is read: each layer alone, and tuples of layers together."""
    found = trace(model, known.h, known.w, channels=known.channels)
    if isinstance(layers, str):
        layers = [layers]
    alone = None if layers is None else [name for name in layers if isinstance(name, str)]
    groups: dict[str, Group] = {}
    if alone is None or alone:
        single = find_layers(found, model, alone)
        groups = {at.name: Group(at.name, (at,), lattice) for at in single}
    for names in layers or ():
        if not isinstance(names, str):
            parts = tuple(find_layers(found, model, names))
            name = " + ".join(part.name for part in parts)
            groups.setdefault(name, Group(name, parts, lattice or _CONCATENATED))
    if not groups:
        raise ValueError("`layers` must name at least one layer, but is empty.")
    return list(groups.values())


def _of_images(known: Survey) -> list[str]:
    """What a reader must know of how many images there are."""
    kinds = len(known.groups.unique())
    notes = []
    if kinds < known.n:
        notes.append(
            f"The {known.n} images are of {kinds} groups, such as photographs: splits and "
            "intervals are drawn by group."
        )
    if kinds < _FEW:
        notes.append(
            f"{kinds} {'images' if kinds == known.n else 'groups'} are few: intervals hold less "
            f"often than they say below {_FEW}, and there are none with fewer than {FEWEST} to "
            "test on."
        )
    return notes


def _diverged(means: Sequence[Mean]) -> list[str]:
    """Read-outs that gave no finite prediction."""
    found = {(m.layer, m.condition): None for m in means if math.isnan(m.spearman)}
    return [
        f"The read-out of layer {layer!r} under {condition!r} diverged: its predictions are not "
        "finite, and its scores NaN. Take a smaller step size."
        for layer, condition in found
    ]
