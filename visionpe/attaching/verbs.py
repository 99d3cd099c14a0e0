"""Attaching encodings to a model, in place, and taking them off again."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Literal, TypeVar, overload

from torch import nn

from visionpe.attaching.attached import CHILD, attached_to
from visionpe.attaching.choosing import At
from visionpe.attaching.folded import require_unfolded
from visionpe.attaching.in_convs import CoordConv
from visionpe.attaching.plan import Plan
from visionpe.attaching.planning import Encoding, Maker, make_plan
from visionpe.attaching.putting import put
from visionpe.attaching.refusals import (
    image_channels,
    image_size,
    require_alone,
    require_attached,
    require_encoding,
    require_memory,
    require_names,
    require_new,
    require_one_image,
    require_unsharded,
)
from visionpe.tracing.refusals import require_plain
from visionpe.tracing.run import trace

Model = TypeVar("Model", bound=nn.Module)
Attachable = Encoding | CoordConv | Maker


@overload
def attach(
    model: Model,
    encoding: Attachable | Sequence[Attachable],
    *,
    at: At = None,
    size: tuple[int, int] | None = None,
    name: str | Sequence[str] | None = None,
    share: bool = False,
    dry_run: Literal[False] = False,
) -> Model: ...


@overload
def attach(
    model: nn.Module,
    encoding: Sequence[Attachable],
    *,
    at: At = None,
    size: tuple[int, int] | None = None,
    name: str | Sequence[str] | None = None,
    share: bool = False,
    dry_run: Literal[True],
) -> list[Plan]: ...


@overload
def attach(
    model: nn.Module,
    encoding: Attachable,
    *,
    at: At = None,
    size: tuple[int, int] | None = None,
    name: str | None = None,
    share: bool = False,
    dry_run: Literal[True],
) -> Plan: ...


def attach(
    model: nn.Module,
    encoding: Attachable | Sequence[Attachable],
    *,
    at: At = None,
    size: tuple[int, int] | None = None,
    name: str | Sequence[str] | None = None,
    share: bool = False,
    dry_run: bool = False,
) -> nn.Module | Plan | list[Plan]:
    """Puts an encoding into somebody else's model, in place.

    The model's class, parameters and their keys stay as they are; what is attached is registered
    as one more child, `model.visionpe`. The model then also takes `frame=`, a `visionpe.Frame`
    that says where its images sit in their originals. See `docs/attach.md`.

    Args:
        model: takes a batch of images `b c h w`.
        encoding: one inside attention, one of maps, or `CoordConv`; each site has a copy. Or a
            function of a `visionpe.Site` that makes one, where heads or channels differ. Or a list
            of these: all are attached, or none.
        at: "all" sites; the "first"; a module's name or a pattern such as "stages.*"; a list of
            them; or a function of a Site that says whether. Attention and convolutions are also
            named by a module that they are part of. By default "all" attention, the "first"
            convolution, and for an encoding of maps "first": the tokens or the map that the first
            attention is given, in a model without any the first convolution's output.
        size: `(h, w)` of the images in pixels; by default timm's, from the model's configuration.
        name: of the encoding in the model, or a list of names; by default its class's.
        share: all sites use one encoding.
        dry_run: change nothing, and return the plan.

    Returns:
        The model, or the plan; of a list of encodings, a list of plans.

    Raises:
        TypeError: if an argument is none of these.
        ValueError: if nothing is named, a site cannot take the encoding, the name is taken, or
            the model is wrapped, compiled, scripted or on the meta device, or does not take images
            of this size.
        TraceError: if the model can be run, but not followed.

    >>> import visionpe
    >>> net = nn.Sequential(nn.Conv2d(3, 8, 4, stride=4), nn.ReLU())
    >>> plan = attach(net, visionpe.Learned2d(8, (2, 3)), at="1", size=(8, 12), dry_run=True)
    >>> plan
    <Learned2d at 1 sites of Sequential for 8 x 12>
    """
    require_plain(model)
    several = isinstance(encoding, Sequence)
    encodings: list[Attachable] = list(encoding) if isinstance(encoding, Sequence) else [encoding]
    if not encodings:
        raise ValueError("`encoding` must be one or more encodings, but is an empty list.")
    for each in encodings:
        require_encoding(each)
    names = require_names(name, len(encodings), several=several)
    require_unsharded(model)
    require_memory(model)
    require_alone(model)
    require_unfolded(model)
    require_one_image(model)
    size = image_size(model, size)
    before = attached_to(model)
    with disabled(model) if before else nullcontext():
        found = trace(model, *size, channels=image_channels(model, size))
    plans: list[Plan] = []
    for each, own in zip(encodings, names, strict=True):
        plan = make_plan(found, model, each, at=at, name=own, share=share)
        require_new({**(before.plans if before else {}), **{p.name: p for p in plans}}, plan.name)
        plans.append(plan)
    if dry_run:
        return plans if several else plans[0]
    for plan in plans:
        put(model, plan, share)
    return model


def detach(model: Model, name: str | None = None) -> Model:
    """Takes attached encodings off: the model is as if they had never been there.

    Args:
        model: to which something is attached.
        name: of the encoding; by default all are taken off.

    Raises:
        ValueError: if nothing is attached, or nothing of this name.

    >>> net = attach(nn.Sequential(nn.Conv2d(3, 8, 3)), CoordConv(), size=(5, 7))
    >>> list(detach(net).state_dict())
    ['0.weight', '0.bias']
    """
    attached = require_attached(model)
    require_unfolded(model)
    if name is not None and name not in attached.plans:
        raise ValueError(
            f"`name` must be one of {', '.join(map(repr, attached.plans))}, which are attached, "
            f"but is {name!r}."
        )
    for each in [name] if name is not None else list(attached.plans)[::-1]:
        attached.drop(each)
    if not attached.plans:
        attached.close()
        del model._modules[CHILD]
    return model


@contextmanager
def disabled(model: nn.Module) -> Iterator[None]:
    """Inside, attached encodings do not act: the model computes what it did before.

    Raises:
        ValueError: if nothing is attached.

    >>> import torch
    >>> net = attach(nn.Sequential(nn.Conv2d(3, 8, 3)), CoordConv(), size=(5, 7))
    >>> with disabled(net):
    ...     net(torch.zeros(1, 3, 5, 7)).shape
    torch.Size([1, 8, 3, 5])
    """
    attached = require_attached(model)
    before, attached.active = attached.active, False
    try:
        yield
    finally:
        attached.active = before


def status(model: nn.Module) -> list[Plan]:
    """What is attached to a model: one plan for each name, in order; `print` each for a table.

    >>> status(nn.Sequential(nn.Conv2d(3, 8, 3)))
    []
    """
    attached = attached_to(model)
    return list(attached.plans.values()) if attached else []
