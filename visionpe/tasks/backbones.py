"""Backbones by name: timm's, torchvision's, or any class by its path."""

import inspect
from collections.abc import Sequence
from difflib import get_close_matches
from importlib import import_module
from typing import Any, NamedTuple

from torch import nn

from visionpe.errors import ConfigError
from visionpe.tasks.parsing import parsed
from visionpe.tasks.weights import fill

_LIBRARIES = ("timm", "torchvision")
# What a constructor of unknown making may call the three.
_CLASSES = ("num_classes", "classes")
_CHANNELS = ("in_chans", "channels", "in_channels")
_SIZES = ("img_size", "image_size")


class Subject(NamedTuple):
    """What a backbone is made for.

    Attributes:
        num_classes: how many logits.
        channels: of an image.
        image_size: `(h, w)` in pixels.
    """

    num_classes: int
    channels: int
    image_size: tuple[int, int]


def make_backbone(
    name: str | dict[str, Any],
    subject: Subject,
    arguments: dict[str, Any] | None = None,
    *,
    pretrained: bool = False,
) -> nn.Module:
    """A backbone with a head of `num_classes` logits.

    Args:
        name: a name of timm or, failing that, of torchvision; `torchvision/NAME` is torchvision's
            in any case. Or the path of a class, or a mapping of `class_path` and `init_args`: it
            is given those of `num_classes` (or `classes`), `channels` (`in_chans`, `in_channels`)
            and `image_size` (`img_size`) that it takes.
        subject: what for. timm's models of one size get it as `img_size`.
        arguments: more of them, handed on.
        pretrained: with the library's weights.

    Raises:
        ValueError: if there is no such backbone, with the nearest names, or its arguments are
            wrong.
        ConfigError: if the library's weights cannot be fetched.

    >>> net = make_backbone("test_vit", Subject(5, 1, (32, 48)), {"embed_dim": 32, "depth": 1})
    >>> net.head.out_features, net.patch_embed.grid_size
    (5, (2, 3))
    """
    given = dict(arguments or {})
    if isinstance(name, dict):
        return _of_class(name, subject, given, pretrained)
    library, _, plain = name.rpartition("/")
    if library and library not in _LIBRARIES:
        raise _unknown(name)
    try:
        if library != "torchvision" and _is_timm(plain):
            return _of_timm(plain, subject, given, pretrained)
        if library != "timm" and plain in _torchvision_names():
            return _of_torchvision(plain, subject, given, pretrained)
    except TypeError as error:
        raise ValueError(
            f"`backbone_args` must be what {name} takes, but: {_last_line(error)}"
        ) from error
    if "." in name and not library:
        return _of_class({"class_path": name}, subject, given, pretrained)
    raise _unknown(name)


def _of_timm(name: str, subject: Subject, given: dict[str, Any], pretrained: bool) -> nn.Module:
    import timm
    from timm.models import get_pretrained_cfg

    config = get_pretrained_cfg(name)
    settings = {"num_classes": subject.num_classes, "in_chans": subject.channels, **given}
    fixed = bool(config and config.fixed_input_size)
    if fixed:  # of one size, unless told
        settings.setdefault("img_size", subject.image_size)
    try:
        made: nn.Module = timm.create_model(name, pretrained=pretrained, **settings)
    except (OSError, RuntimeError) as error:
        if not pretrained:
            raise ValueError(f"{name} cannot be made: {_last_line(error)}") from error
        raise _unfetched(name, error) from error
    except AssertionError as error:
        raise ValueError(f"{name} cannot be made: {_last_line(error)}") from error
    return made


def _of_torchvision(
    name: str, subject: Subject, given: dict[str, Any], pretrained: bool
) -> nn.Module:
    from torchvision.models import get_model, get_model_weights

    if subject.channels != 3:
        raise ValueError(
            f"`channels` must be 3 for torchvision's {name}, but is {subject.channels}. Take a "
            "backbone of timm, which adapts its first layer."
        )
    h, w = subject.image_size
    if name.startswith("vit_") and "image_size" not in given:
        if h != w:
            raise ValueError(
                f"`image_size` must be square for torchvision's {name}, but is {h} x {w}. Take "
                "timm's."
            )
        given["image_size"] = h
    made: nn.Module = get_model(name, weights=None, **{"num_classes": subject.num_classes, **given})
    if pretrained:
        weights = get_model_weights(name).DEFAULT
        try:
            state = weights.get_state_dict(progress=False, check_hash=True)
        except (OSError, RuntimeError) as error:
            raise _unfetched(name, error) from error
        fill(made, state, str(weights), num_classes=subject.num_classes)
    return made


def _of_class(
    spec: dict[str, Any], subject: Subject, given: dict[str, Any], pretrained: bool
) -> nn.Module:
    path = spec.get("class_path")
    if not isinstance(path, str):
        raise ValueError(
            "`backbone` must be a name, or a mapping of `class_path` and `init_args`, "
            f"but is {spec!r}."
        )
    if pretrained:
        raise ValueError(f"`pretrained` must be false for {path}: give its `weights`, a file.")
    module, _, name = path.rpartition(".")
    try:
        kind = getattr(import_module(module), name)
    except (ImportError, AttributeError, ValueError):
        raise _unknown(path) from None
    if not isinstance(kind, type) or not issubclass(kind, nn.Module):
        raise ValueError(f"`backbone` must be a class of modules, but {path} is none.")
    # `--model.backbone.init_args.depth 2` arrives as a key beside `init_args`.
    beside = {key: value for key, value in spec.items() if key not in ("class_path", "init_args")}
    arguments = {**(spec.get("init_args") or {}), **beside, **given}
    parameters = inspect.signature(kind).parameters
    known = (
        (_CLASSES, subject.num_classes),
        (_CHANNELS, subject.channels),
        (_SIZES, subject.image_size),
    )
    for names, value in known:
        for argument in names:
            if argument in parameters:
                arguments.setdefault(argument, value)
    for argument in arguments:
        if argument not in parameters:
            near = get_close_matches(argument, list(parameters), n=1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise ValueError(
                f"`backbone`: {name} has no argument {argument!r}.{hint} "
                f"It has {', '.join(parameters)}."
            )
    try:
        checked = parsed(kind, arguments)
    except Exception as error:  # jsonargparse's own, a page long
        raise ValueError(f"`backbone` ({name}) cannot be made: {_last_line(error)}") from error
    made: nn.Module = kind(**checked())
    return made


def _is_timm(name: str) -> bool:
    from timm.models import is_model

    known: bool = is_model(name.partition(".")[0])
    return known


def _torchvision_names() -> list[str]:
    import torchvision

    names: list[str] = torchvision.models.list_models(module=torchvision.models)
    return names


def _unknown(name: str) -> ValueError:
    import timm

    names: Sequence[str] = [*timm.list_models(), *_torchvision_names()]
    near = list(dict.fromkeys(get_close_matches(name.rpartition("/")[2], names, n=3)))
    hint = f" Did you mean {', '.join(near)}?" if near else ""
    return ValueError(
        f"`backbone` must be a model of timm or torchvision or the path of a class, but there is "
        f"no {name!r}.{hint}"
    )


def _unfetched(name: str, error: Exception) -> ConfigError:
    return ConfigError(
        f"`pretrained` weights of {name} cannot be fetched: {_last_line(error)} Without a network, "
        "give a file that you have: `weights: FILE`."
    )


def _last_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = lines[-1] if lines else type(error).__name__
    return text if text.endswith((".", "!", "?")) else f"{text}."
