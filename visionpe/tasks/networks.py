"""The network of a task: a backbone with its weights, less what is replaced, plus encodings."""

from pathlib import Path
from typing import Any

from torch import Tensor, nn

import visionpe
from visionpe.attaching.attached import CHILD
from visionpe.tasks.backbones import Subject, make_backbone
from visionpe.tasks.recipes import Lines, recipes
from visionpe.tasks.weights import load_weights, read_state


def make_network(
    backbone: str | dict[str, Any],
    subject: Subject,
    backbone_args: dict[str, Any] | None = None,
    *,
    pretrained: bool = False,
    weights: str | None = None,
    encodings: Lines = None,
    replace: str | list[str] | None = None,
) -> nn.Module:
    """The backbone with its weights, without what is replaced, with its encodings attached.

    The lines of `encodings` are looked at first: a misspelt one costs no download. Weights that
    have those of attached encodings, as our own checkpoints, fill them too.
    """
    found = recipes(encodings)
    network = make_backbone(backbone, subject, backbone_args, pretrained=pretrained)
    whole = weights is not None and bool(found) and _has_encodings(weights)
    if weights is not None and not whole:
        _load(network, weights, subject)
    if replace:
        for kind in [replace] if isinstance(replace, str) else replace:
            visionpe.remove(network, kind)
    for recipe in found:
        recipe.attach(network, subject.image_size)
    if weights is not None and whole:
        _load(network, weights, subject)
    return network


def _has_encodings(weights: str) -> bool:
    """Whether a file of weights has those of attached encodings, in a wrapper or without one."""
    content = read_state(Path(weights))
    states = [content, *(value for value in content.values() if isinstance(value, dict))]
    return any(
        isinstance(value, Tensor) and CHILD in str(key).split(".")
        for state in states
        for key, value in state.items()
    )


def _load(network: nn.Module, weights: str, subject: Subject) -> None:
    """Fills the network; says which weights of a head of other classes are left out."""
    left_out = load_weights(network, weights, num_classes=subject.num_classes)
    if left_out:
        print(f"{weights}: {', '.join(left_out)} of another number of classes, left out")


def subject_of(
    num_classes: int | None,
    channels: int | None,
    image_size: tuple[int, int] | None,
    of_data: dict[str, Any] | None,
) -> Subject:
    """What a backbone is made for, from the arguments and from what the data says.

    Raises:
        ValueError: if both say different things, or neither says one.

    >>> subject_of(None, None, (8, 8), {"num_classes": 3, "channels": 1, "image_size": [8, 8]})
    Subject(num_classes=3, channels=1, image_size=(8, 8))
    """
    size = None if image_size is None else (image_size[0], image_size[1])
    given = {"num_classes": num_classes, "channels": channels, "image_size": size}
    told = dict(of_data or {})
    if "image_size" in told:
        told["image_size"] = tuple(told["image_size"])
    for name, value in given.items():
        if value is None and told.get(name) is None:
            raise ValueError(
                f"`{name}` must be given, since no data says it: give `--data`, or the number."
            )
        if value is not None and told.get(name) not in (None, value):
            raise ValueError(
                f"`{name}` must be the data's, {told[name]}, but is {value}. Leave it out."
            )
        given[name] = told[name] if value is None else value
    return Subject(**given)  # type: ignore[arg-type] # checked above
