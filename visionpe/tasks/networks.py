"""The network of a task: a backbone with its weights, less what is replaced, plus encodings."""

from typing import Any

from torch import nn

import visionpe
from visionpe.tasks.backbones import Subject, make_backbone
from visionpe.tasks.recipes import Lines, recipes
from visionpe.tasks.weights import load_weights


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

    The lines of `encodings` are looked at first: a misspelt one costs no download.
    """
    found = recipes(encodings)
    network = make_backbone(backbone, subject, backbone_args, pretrained=pretrained)
    if weights is not None:
        left_out = load_weights(network, weights, num_classes=subject.num_classes)
        if left_out:
            print(f"{weights}: {', '.join(left_out)} of another number of classes, left out")
    if replace:
        for kind in [replace] if isinstance(replace, str) else replace:
            visionpe.remove(network, kind)
    for recipe in found:
        recipe.attach(network, subject.image_size)
    return network


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
            raise ValueError(f"`{name}` must be given, since the data does not say it.")
        if value is not None and told.get(name) not in (None, value):
            raise ValueError(
                f"`{name}` must be the data's, {told[name]}, but is {value}. Leave it out."
            )
        given[name] = told[name] if value is None else value
    return Subject(**given)  # type: ignore[arg-type] # checked above
