"""Encodings as plain data: the call that makes one, as its `repr` says it, and back."""

import ast
from importlib import import_module
from typing import Any

import torch
from torch import nn

from visionpe.attaching.in_convs import CoordConv, CoordTerm
from visionpe.encodings.attention import AttentionEncoding
from visionpe.encodings.base import MapEncoding
from visionpe.encodings.offset_buckets import Buckets

Recipe = dict[str, Any]
_PACKAGE = "visionpe."
_MAY_BE_MADE = (AttentionEncoding, MapEncoding, CoordConv, Buckets)


def recipe_of(encoding: nn.Module) -> Recipe:
    """The class of an encoding, and the arguments that make one of the same parameters.

    Without arguments where these cannot be told: a class that is not visionpe's, or parameters that
    were changed by hand.

    >>> import visionpe
    >>> recipe_of(visionpe.Rotary(theta=50.0))["kwargs"]["theta"]
    50.0
    """
    kind = type(encoding)
    path = f"{kind.__module__}.{kind.__qualname__}"
    if isinstance(encoding, CoordTerm):
        kwargs = {"radius": encoding.radius, "align_corners": encoding.align_corners}
        return {"class": f"{_PACKAGE}CoordConv", "args": [], "kwargs": kwargs}
    try:
        call = ast.parse(" ".join(repr(encoding).split()), mode="eval").body
        recipe = _plain(call)
        made = make(recipe)
    except (ValueError, TypeError, SyntaxError, RuntimeError):
        return {"class": path}
    return recipe if type(made) is kind and shapes(made) == shapes(encoding) else {"class": path}


def make(recipe: Recipe, device: str = "cpu") -> Any:
    """What a recipe makes: one of visionpe's public encodings, or `CoordConv`.

    Without a mark on the state of torch's random numbers.

    Args:
        device: "meta" for its shapes alone.

    Raises:
        ValueError: if it names another class, or arguments that the class does not take.
    """
    cls = _public(recipe["class"])
    args = [_argument(value) for value in recipe["args"]]
    kwargs = {name: _argument(value) for name, value in recipe["kwargs"].items()}
    with torch.random.fork_rng(devices=[]), torch.device(device):
        try:
            return cls(*args, **kwargs)
        except TypeError as error:
            raise ValueError(f"{recipe['class']} does not take these arguments: {error}") from error


def may_be_made(path: str) -> bool:
    """Whether a file may name this class: what a file says is data, never code to import.

    >>> may_be_made("visionpe.Rotary"), may_be_made("visionpe.check"), may_be_made("os.system")
    (True, False, False)
    """
    try:
        _public(path)
    except ValueError:
        return False
    return True


def shapes(module: nn.Module) -> dict[str, tuple[int, ...]]:
    """Of all that a module keeps."""
    return {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}


def package() -> Any:
    """visionpe's public names, by name: nothing below imports what is above."""
    return import_module("visionpe")


def _public(path: str) -> type:
    name, names = path.removeprefix(_PACKAGE), package()
    found = getattr(names, name) if name != path and name in names.__all__ else None
    if not isinstance(found, type) or not issubclass(found, _MAY_BE_MADE):
        raise ValueError(f"{path} is no public encoding of visionpe.")
    return found


def _plain(node: ast.expr) -> Any:
    """A literal, or a call of literals, as JSON holds it."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        return {
            "class": _PACKAGE + node.func.id,
            "args": [_plain(each) for each in node.args],
            "kwargs": {str(each.arg): _plain(each.value) for each in node.keywords},
        }
    if isinstance(node, ast.Tuple | ast.List):
        return [_plain(each) for each in node.elts]
    return ast.literal_eval(node)


def _argument(value: Any) -> Any:
    """What JSON holds, as an argument: lists were tuples."""
    if isinstance(value, dict):
        return make(value)
    return tuple(_argument(each) for each in value) if isinstance(value, list) else value
