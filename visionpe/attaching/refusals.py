"""What `attach` and `detach` refuse, and what they read from a model."""

import inspect
from collections.abc import Mapping, Sequence

from torch import nn

from visionpe.attaching.attached import CHILD, Attached, attached_to
from visionpe.attaching.in_convs import CoordConv
from visionpe.attaching.plan import Plan
from visionpe.attaching.planning import Encoding
from visionpe.tracing.refusals import runs


def image_size(model: nn.Module, size: tuple[int, int] | None) -> tuple[int, int]:
    """The size given, or else the one that the model was made for, as timm's models know.

    That of its patches (`create_model(..., img_size=)`), else of its configuration.

    Raises:
        TypeError: if it is no size.
        ValueError: if there is none.
    """
    if size is not None:
        pair: object = size  # whatever it was annotated as
        if not isinstance(pair, tuple | list) or [type(n) for n in pair] != [int, int]:
            raise TypeError(f"`size` must be (h, w) in pixels, but is {size!r}.")
        return size[0], size[1]
    made_for = getattr(getattr(model, "patch_embed", None), "img_size", None)
    if isinstance(made_for, tuple) and [type(n) for n in made_for] == [int, int]:
        return made_for
    for name in ("pretrained_cfg", "default_cfg"):
        config = getattr(model, name, None)
        known = config.get("input_size") if isinstance(config, dict) else None
        if known:
            return known[-2], known[-1]
    raise ValueError(
        f"`size` must be given, (h, w) of the images in pixels: {type(model).__name__} has no "
        "`pretrained_cfg` that says it."
    )


def image_channels(model: nn.Module, size: tuple[int, int] | None = None) -> int:
    """Of the images: what the first convolution takes.

    Args:
        size: of the images; if given and the model fails at so many channels, those that timm's
            configuration says: a stem may begin with another operation.
    """
    convs = (m for m in model.modules() if isinstance(m, nn.Conv2d))
    first = next((conv.in_channels for conv in convs), 3)
    for name in ("pretrained_cfg", "default_cfg"):
        config = getattr(model, name, None)
        known = config.get("input_size") if isinstance(config, dict) else None
        if size and known and known[0] != first and not runs(model, first, size):
            return int(known[0])
    return first


def require_encoding(encoding: object) -> None:
    """Refuses what cannot be attached."""
    if isinstance(encoding, type):
        raise TypeError(f"`encoding` must be an encoding, but is the class {encoding.__name__}.")
    if isinstance(encoding, Encoding | CoordConv):
        return
    if isinstance(encoding, nn.Module) or not callable(encoding):
        raise TypeError(
            "`encoding` must be a map or attention encoding, a CoordConv, or a function of a "
            f"Site that makes one, but is {type(encoding).__name__}."
        )


def require_memory(model: nn.Module) -> None:
    """Refuses a model without numbers."""
    for name, parameter in model.named_parameters():
        if parameter.is_meta:
            raise ValueError(
                f"`model` must have its parameters in memory, but `{name}` is on the meta device. "
                "Call `model.to_empty(device=...)` and load its state first."
            )


def require_alone(model: nn.Module) -> None:
    """Refuses a model of which a part has encodings of its own, or whose parts hide others."""
    for name, module in model.named_modules():
        if isinstance(module, Attached) and name != CHILD:
            part = name.removesuffix(f".{CHILD}")
            raise ValueError(
                f"`model` must not have encodings attached to a part of it, but `{part}` has. "
                f"Attach to `{part}`, or detach from it first."
            )


def require_unsharded(model: nn.Module) -> None:
    """Refuses a model whose parameters `fully_shard` has dealt out."""
    for name, module in model.named_modules():
        if "FSDPModule" in (base.__name__ for base in type(module).__mro__):
            where = f"`{name}`" if name else "it"
            raise ValueError(
                f"`model` must have its parameters whole, but {where} is sharded by `fully_shard`. "
                "Attach first, then shard."
            )


def require_one_image(model: nn.Module) -> None:
    """Refuses a model whose forward needs more than a batch of images."""
    needed = [
        parameter.name
        for parameter in inspect.signature(model.forward).parameters.values()
        if parameter.default is parameter.empty
        and parameter.kind not in (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    ]
    if len(needed) > 1:
        raise ValueError(
            f"`model` must take one batch of images, but {type(model).__name__} also needs "
            f"{', '.join(f'`{name}`' for name in needed[1:])}. Attach to the part of it that looks "
            "at images."
        )


def require_names(
    name: str | Sequence[str] | None, count: int, *, several: bool
) -> list[str] | list[None]:
    """One name, or None, for each encoding."""
    if name is None:
        return [None] * count
    if not several and isinstance(name, str):
        return [name]
    names = [] if isinstance(name, str) else list(name)
    if not several or len(names) != count or not count:
        what = f"a list of {count} names" if several else "a name"
        raise ValueError(f"`name` must be {what}, as `encoding` is, but is {name!r}.")
    return names


def is_name(name: str) -> bool:
    """Whether a module can be registered under it, beside what every module has.

    >>> is_name("my-bias"), is_name("a.b"), is_name("forward")
    (True, False, False)
    """
    return bool(name) and "." not in name and not hasattr(nn.Module(), name)


def require_new(plans: Mapping[str, Plan], name: str) -> None:
    """Refuses a name that is taken, or none."""
    if not is_name(name):
        raise ValueError(f"`name` must be a name without dots, no method's, but is {name!r}.")
    if name in plans:
        raise ValueError(
            f"`encoding` must be attached once under one name, but {name!r} is attached to "
            f"{len(plans[name].entries)} sites already. Detach it first, or give another `name`."
        )


def require_attached(model: nn.Module) -> Attached:
    """What is attached; refuses a model to which nothing is."""
    attached = attached_to(model)
    if attached is None:
        raise ValueError(
            f"`model` must have something attached to it, but {type(model).__name__} has nothing."
        )
    return attached
