"""A position encoding as one line of a configuration: what it says, and what each site adds.

A line names a class; a mapping says more:

    encodings: visionpe.RelativeBias
    encodings: {class_path: visionpe.Learned2d, init_args: {init_std: 0.02}, at: blocks.0}

Arguments that the line leaves out and that a site of the model knows are taken from the site.
"""

import inspect
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from importlib import import_module
from typing import Any, TypeVar, final

from torch import nn

import visionpe
from visionpe.attaching.in_convs import CoordConv
from visionpe.attaching.verbs import attach
from visionpe.encodings.attention import AttentionEncoding
from visionpe.encodings.base import MapEncoding
from visionpe.tasks.parsing import parsed
from visionpe.tracing.sites import Site

Line = str | dict[str, Any]
Lines = Line | Sequence[Line] | None
Encoding = AttentionEncoding | MapEncoding
Model = TypeVar("Model", bound=nn.Module)

_KEYS = ("class_path", "init_args", "at", "share", "name")
_CHANNELS = {"NCHW": 1, "NCL": 1}  # the dimension that counts them; the last one elsewhere


@final
class Recipe:
    """An encoding for the sites of any model.

    Args:
        line: a class, by its path or its name in `visionpe`; or a mapping with `class_path`,
            `init_args`, and what `visionpe.attach` takes: `at`, `share`, `name`.

    Raises:
        TypeError: if the class is no encoding.
        ValueError: if a key, the class or an argument is unknown, or an argument of a wrong type.

    Attributes:
        kind: the class.
        from_site: arguments that each site fills in.

    >>> recipe = Recipe("RelativeBias")
    >>> recipe.kind.__name__, recipe.from_site
    ('RelativeBias', ['heads', 'window'])
    """

    def __init__(self, line: Line) -> None:
        given: dict[str, Any] = {"class_path": line} if isinstance(line, str) else dict(line)
        if not isinstance(given.get("class_path"), str):
            raise ValueError(
                "`encodings` must name a class, for instance visionpe.RelativeBias, as a word or "
                f"as `class_path`, but is {line!r}."
            )
        self.kind = find(given["class_path"])
        parameters = inspect.signature(self.kind).parameters
        for key in given:
            if key not in _KEYS and key not in parameters:
                raise ValueError(
                    f"`encodings` has no key {key!r}.{_near(key, _KEYS)} "
                    f"There are {', '.join(_KEYS)}; arguments of the class go below `init_args`."
                )
        self.at: str | list[str] | None = given.get("at")
        self.share = bool(given.get("share", False))
        self.name: str | None = given.get("name")
        # `--model.encodings.init_args.std 0.02` arrives as a key beside `init_args`.
        beside = {key: value for key, value in given.items() if key not in _KEYS}
        arguments = {**(given.get("init_args") or {}), **beside}
        for key in arguments:
            if key not in parameters:
                raise ValueError(
                    f"`encodings`: {self.kind.__name__} has no argument {key!r}."
                    f"{_near(key, parameters)} It has {', '.join(parameters)}."
                )
        missing = [
            name
            for name, parameter in parameters.items()
            if parameter.default is parameter.empty and name not in arguments
        ]
        known = _ATTENTION if issubclass(self.kind, AttentionEncoding) else _MAP
        unknown = [name for name in missing if name not in known]
        if unknown:
            raise ValueError(
                f"`encodings` must give {', '.join(f'`{name}`' for name in unknown)} of "
                f"{self.kind.__name__} below `init_args`: no site of a model says it."
            )
        self.from_site = missing
        self._failure: Exception | None = None
        self._arguments = _checked(self.kind, arguments, missing)

    def __call__(self, site: Site) -> Encoding:
        """The encoding for a site.

        Raises:
            ValueError: if the site does not know what is left out.
        """
        inside = issubclass(self.kind, AttentionEncoding)
        if inside != (site.kind == "attention"):
            # `attach` tries both kinds of site to learn which one a recipe is for.
            raise self._failure or ValueError(
                f"{self.kind.__name__} acts {'inside attention' if inside else 'on maps'} only."
            )
        known = _ATTENTION if inside else _MAP
        told = {name: known[name](site) for name in self.from_site}
        for name, value in told.items():
            if value is None:
                self._failure = ValueError(
                    f"`{name}` of {self.kind.__name__} must be given below `init_args`: "
                    f"`{site.module}` does not say it."
                )
                raise self._failure
        try:
            made: Encoding = self.kind(**told, **self._arguments())
        except ValueError as error:
            self._failure = error
            raise
        return made

    def attach(self, model: Model, size: tuple[int, int]) -> Model:
        """Attaches the encoding to a model for images of `size`, `(h, w)`; returns the model.

        Raises:
            ValueError, TypeError, TraceError: as `visionpe.attach`.
        """
        encoding = CoordConv(**self._arguments()) if issubclass(self.kind, CoordConv) else self
        return attach(model, encoding, at=self.at, size=size, share=self.share, name=self.name)


def recipes(lines: Lines) -> list[Recipe]:
    """The recipes of no line, one, or several."""
    if lines is None:
        return []
    return [Recipe(line) for line in ([lines] if isinstance(lines, str | dict) else lines)]


def find(path: str) -> type[Any]:
    """The class of an encoding, by its path or its name in `visionpe`.

    Raises:
        ValueError: if there is none, with the nearest name.
        TypeError: if it is no encoding.
    """
    module, _, name = path.rpartition(".")
    try:
        found: Any = getattr(import_module(module or "visionpe"), name)
    except (ImportError, AttributeError, ValueError):
        raise ValueError(
            f"`encodings` must name a class, but there is no {path!r}.{_near(name, _names())} "
            "`visionpe list encodings` names them."
        ) from None
    if not isinstance(found, type) or not issubclass(found, Encoding | CoordConv):
        raise TypeError(
            f"`encodings` must name encodings of maps or of attention, or CoordConv, but {path} is "
            f"none.{_near(name, _names())}"
        )
    return found


def _checked(
    kind: type, arguments: dict[str, Any], skip: list[str]
) -> Callable[[], dict[str, Any]]:
    """The arguments, or one sentence on the one that is of a wrong type."""
    try:
        return parsed(kind, arguments, skip=skip)
    except Exception as error:  # jsonargparse's own, a page long
        for name, value in arguments.items():
            try:
                parsed(kind, {name: value}, skip=set(inspect.signature(kind).parameters) - {name})
            except Exception:
                wanted = inspect.signature(kind).parameters[name].annotation
                wanted = getattr(wanted, "__name__", None) or str(wanted)
                raise ValueError(
                    f"`{name}` of {kind.__name__} must be {wanted}, but is {value!r}."
                ) from error
        raise


def _heads(site: Site) -> int | None:
    return site.heads


def _head_dim(site: Site) -> int | None:
    return site.head_dim


def _cells(site: Site) -> tuple[int, int] | None:
    return None if site.lattice is None else (site.lattice.h, site.lattice.w)


def _channels(site: Site) -> int | None:
    return site.shape[_CHANNELS.get(site.layout or "", -1)] if site.kind != "attention" else None


# What a site knows, by the names that encodings use.
_ATTENTION: dict[str, Callable[[Site], Any]] = {
    "heads": _heads,
    "head_dim": _head_dim,
    "window": _cells,
}
_MAP: dict[str, Callable[[Site], Any]] = {"channels": _channels, "cells": _cells}


def _names() -> list[str]:
    homes = ("visionpe.encodings.", "visionpe.attaching.in_convs")
    names = [name for name in visionpe.__all__ if visionpe._HOME[name].startswith(homes)]
    kinds = {name: getattr(visionpe, name) for name in names}
    return [
        name
        for name, kind in kinds.items()
        if isinstance(kind, type) and issubclass(kind, Encoding | CoordConv)
    ]


def _near(name: str, names: Any) -> str:
    found = get_close_matches(name, list(names), n=2, cutoff=0.5)
    return f" Did you mean {' or '.join(map(repr, found))}?" if found else ""
