"""Arguments from a configuration, as plain data, made into what a class asks for."""

from collections.abc import Callable, Collection
from typing import Any

from jsonargparse import ArgumentParser


def parsed(
    kind: type, arguments: dict[str, Any], *, skip: Collection[str] = ()
) -> Callable[[], dict[str, Any]]:
    """Checks arguments against a class's annotations: pairs from lists, objects from class paths.

    Args:
        kind: the class.
        arguments: plain data.
        skip: parameters that are given elsewhere.

    Returns:
        A function that returns the arguments, its inner objects made anew at each call.

    Raises:
        Exception: jsonargparse's, where an argument is of a wrong type.

    >>> from visionpe import Learned2d
    >>> parsed(Learned2d, {"cells": [2, 3]}, skip=["channels"])()["cells"]
    (2, 3)
    """
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(kind, skip=set(skip), fail_untyped=False)
    values = parser.parse_object(arguments)
    # `instantiate_classes` before jsonargparse 4.49; the old name warns since.
    make: Any = getattr(parser, "instantiate", None) or parser.instantiate_classes
    return lambda: dict(make(values))
