"""What a score must be compared with before it says anything about a model.

shuffled        the target's cells, anew for each image: the null, nobody can know; must be 0
control task    the target's cells, once for all images of a split: what the read-out can memorise
                (Hewitt & Liang, arXiv:1909.03368); high where every cell is marked
random weights  the weights: what the architecture knows untrained
permuted        the image's patches: what does not come from where things are in photographs
padding=...     the padding of the same network: what padding tells
positions removed                   its position encodings: what these tell
random weights, padding=circular, positions removed
                all that applies: a network that cannot know; 0 where images have no seam
black, white, noise                 the test images: what is left without content

`selectivity` is the score less that of the control task.
"""

from collections.abc import Callable, Sequence
from copy import deepcopy
from functools import partial
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from visionpe.paddings.modes import Mode
from visionpe.paddings.swap import set_padding
from visionpe.probing.contents import permute_patches
from visionpe.probing.errors import FeatureError
from visionpe.probing.features import Maps, record
from visionpe.probing.layers import Layer, find_layers
from visionpe.probing.twins import padding_twin, random_weights, without_positions
from visionpe.removing.errors import RemoveError
from visionpe.tracing.run import trace

MODEL = "model"
SHUFFLED = "shuffled"
CONTROL_TASK = "control task"
RANDOM = "random weights"
PERMUTED = "permuted"
CIRCULAR = "padding=circular"
POSITIONLESS = "positions removed"
_TWINS: tuple[Mode, ...] = ("none", "reflect", "replicate", "circular", "zeros")

Change = Callable[[Float[Tensor, "b c h w"], int], Float[Tensor, "b c h w"]]


class Condition(NamedTuple):
    """A network and its images, to which read-outs are fitted anew.

    Attributes:
        name: such as "model" or "padding=reflect".
        make: gives the network: the model itself, or a changed copy.
        change: what becomes of a batch, given the number of its first image.
    """

    name: str
    make: Callable[[], nn.Module]
    change: Change


def conditions(
    model: nn.Module,
    images: Float[Tensor, "b c h w"],
    layers: Sequence[Layer] | None = None,
) -> tuple[list[Condition], list[str]]:
    """The model and what it is compared with; and notes of what cannot be made.

    Args:
        model: left as it is: twins are copies, made when they are needed.
        images: a few: for the statistics of batch norms with random weights, and to see whether
            padding matters.
        layers: that are read; None: the stages. A twin that does not change their maps is none.

    Raises:
        FeatureError: if the model's maps are not finite.
    """
    found = [
        Condition(MODEL, lambda: model, _unchanged),
        Condition(RANDOM, lambda: random_weights(model, images), _unchanged),
        Condition(PERMUTED, lambda: model, permute_patches),
    ]
    notes = []
    if layers is None:
        c, h, w = images.shape[1:]
        layers = find_layers(trace(model, h, w, channels=c), model)
    few = images[:2]
    maps = _maps(model, few, layers)
    for mode in _TWINS:
        missing = _no_twin(model, mode, few, layers, maps)
        if missing is None:
            twin = partial(padding_twin, model, mode)
            found.append(Condition(f"padding={mode}", twin, _unchanged))
        elif missing and mode != "zeros":
            notes.append(f"There is no twin with padding {mode!r}: {missing}")
    try:
        without_positions(model)
    except RemoveError as error:
        notes.append(f"There is no twin without position encodings: {error}")
    except ValueError:
        notes.append("There is no twin without position encodings: the model has none.")
    else:
        found.append(Condition(POSITIONLESS, partial(without_positions, model), _unchanged))
    ignorant = [c.name for c in found if c.name in (CIRCULAR, POSITIONLESS)]
    if ignorant:
        make = partial(_ignorant, model, images, ignorant)
        found.append(Condition(", ".join([RANDOM, *ignorant]), make, _unchanged))
    return found, list(dict.fromkeys(notes))


def _ignorant(model: nn.Module, images: Float[Tensor, "b c h w"], without: list[str]) -> nn.Module:
    """A copy of random weights without what tells position."""
    twin = padding_twin(model, "circular") if CIRCULAR in without else model
    if POSITIONLESS in without:
        twin = without_positions(twin)
    return random_weights(twin, images)


def _no_twin(
    model: nn.Module,
    mode: Mode,
    images: Float[Tensor, "b c h w"],
    layers: Sequence[Layer],
    maps: Maps,
) -> str | None:
    """Why there is no such twin; "": the model is one; None: there is.

    Not the outputs are compared but the maps: a decision may be the same, and an output any object.
    """
    twin = deepcopy(model)
    try:
        if not len(set_padding(twin, mode)):
            return ""
        others = _maps(twin, images, layers)
        if all(torch.equal(maps[name], others[name]) for name in maps):
            return "the layers that are read do not depend on it at images of this size."
    except (ValueError, FeatureError) as error:
        return str(error)
    return None


def _maps(model: nn.Module, images: Float[Tensor, "b c h w"], layers: Sequence[Layer]) -> Maps:
    with record(model, layers) as maps_of:
        return maps_of(images)


def _unchanged(batch: Tensor, first: int) -> Tensor:
    return batch
