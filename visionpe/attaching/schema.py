"""Whether data from a file is a recipe: its keys and types, before anything is made of it."""

from typing import Any

_CELLS = dict.fromkeys(("prefix", "suffix", "windows", "heads", "head_dim"), int)
_SITE = {
    "module": str,
    "number": int,
    "key": str,
    "cells": {"lattice": [int], **_CELLS},
    "encoding": {"class": str},
}
_ATTACHMENT = {"name": str, "kind": str, "size": [int], "share": bool, "sites": [_SITE]}
RECIPE: dict[Any, Any] = {
    "format": int,
    "visionpe": str,
    "torch": str,
    "model": {"class": str, "shapes": {str: [int]}, "removed": {str: str}},
    "attachments": [_ATTACHMENT],
    "tied": {str: str},
}


def misfit(value: Any, wanted: Any = RECIPE, where: str = "") -> str | None:
    """What is wrong with data, in words; None: nothing.

    Args:
        wanted: a type; a list of one pattern, for a list of any length; a dict of patterns by key,
            or of one by `str`, for any keys.
        where: the data is, in dots.

    >>> misfit({"a": [1, "2"]}, {"a": [int]})
    '`a.1` must be int, but is str'
    """
    kind: type = type(wanted) if isinstance(wanted, dict | list) else wanted
    actual = type(value)
    if actual is not kind:
        at = where.removeprefix(".") or "it"
        return f"`{at}` must be {kind.__name__}, but is {actual.__name__}"
    pairs: list[tuple[Any, Any, Any]] = []
    if isinstance(wanted, list):
        pairs = [(i, each, wanted[0]) for i, each in enumerate(value)]
    if isinstance(wanted, dict):
        lacking = [key for key in wanted if key is not str and key not in value]
        if lacking:
            return f"`{where}.{lacking[0]}` is missing".replace("`.", "`")
        pairs = [
            (key, each, wanted.get(key, wanted.get(str)))
            for key, each in value.items()
            if key in wanted or str in wanted
        ]
    said = (misfit(each, pattern, f"{where}.{key}") for key, each, pattern in pairs)
    return next((one for one in said if one), None)
