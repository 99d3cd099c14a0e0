"""An encoding as it is written on a command line: a public name, or a call of one.

Read as data, never run: `RelativeBias(6, (14, 14))` is parsed, its name is looked up among the
public names, and its arguments must be plain values or such calls themselves. What a class must be
given and is not (heads, widths, channels, rows and columns) is filled in from the site.
"""

import ast
import inspect
import math
from collections.abc import Callable
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

import visionpe
from visionpe.errors import ConfigError

if TYPE_CHECKING:
    from visionpe.tracing.sites import Site

_KNOWN = ("heads", "head_dim", "channels", "window", "cells")  # what a site says


def parse_encoding(text: str) -> Any:
    """What `visionpe.attach` takes: an encoding, `CoordConv`, or a function of a site.

    Raises:
        ConfigError: if it is no such call, names nothing public, or the arguments are wrong.

    >>> parse_encoding("Sinusoidal2d(temperature=100.0)")
    Sinusoidal2d(temperature=100.0, cells=None)
    >>> parse_encoding("Learned2d(__import__('os'), 3)")
    Traceback (most recent call last):
        ...
    visionpe.errors.ConfigError: ENCODING must have plain values as arguments, but has \
`__import__('os')`. For instance `RelativeBias(6, (14, 14))`.
    """
    try:
        node = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError) as error:
        raise ConfigError(
            f"ENCODING must be a name or a call, but is {text!r}. For instance `RelativeBias` or "
            '`"RelativeBias(6, (14, 14))"`, in quotes for the shell.'
        ) from error
    kind = _named(node.func if isinstance(node, ast.Call) else node, text, encoding=True)
    args, keywords = _arguments(node) if isinstance(node, ast.Call) else ([], {})
    signature = inspect.signature(kind)
    try:
        given = signature.bind_partial(*args, **keywords).arguments
    except TypeError as error:
        raise ConfigError(f"ENCODING {kind.__name__}{signature} cannot take these: {error}.") from (
            error
        )
    missing = [
        name
        for name, parameter in signature.parameters.items()
        if parameter.default is parameter.empty and name not in given
    ]
    unknown = [name for name in missing if name not in _KNOWN]
    if unknown:
        raise ConfigError(
            f"ENCODING {kind.__name__} must be given `{unknown[0]}`, which no site says. Write a "
            f"call: {kind.__name__}{signature}."
        )
    if not missing:
        return _made(kind, args, keywords)
    return _maker(kind, args, keywords, missing)


def _maker(
    kind: type, args: list[Any], keywords: dict[str, Any], missing: list[str]
) -> Callable[["Site"], Any]:
    def make(site: "Site") -> Any:
        filled = {name: _of_site(name, site, kind) for name in missing}
        return kind(*args, **keywords, **filled)

    return make


def _of_site(name: str, site: "Site", kind: type) -> Any:
    """An argument that the site says.

    Raises:
        ValueError: if it does not.
    """
    value: Any = None
    match name:
        case "heads" | "head_dim":
            value = getattr(site, name)
        case "channels":
            value = site.shape[1] if site.layout in ("NCHW", "NCL") else site.shape[-1]
        case "cells" if site.lattice is not None:
            value = (site.lattice.h, site.lattice.w)
        case "window":
            value = offsets(site)
    if value is None:
        raise ValueError(
            f"`{kind.__name__}` must be given `{name}`: `{site.module}` does not say it."
        )
    return value


def offsets(site: "Site") -> tuple[int, int] | None:
    """Rows and columns of a window that holds every offset between the site's places."""
    if site.queries is None or site.keys is None:
        return None
    spans = []
    for axis in range(2):
        points = [p.positions[..., axis] for p in (site.queries, site.keys)]
        low, high = (min(float(p.min()) for p in points), max(float(p.max()) for p in points))
        spans.append(math.ceil(high - low) + 1)
    return spans[0], spans[1]


def _arguments(call: ast.Call) -> tuple[list[Any], dict[str, Any]]:
    if any(keyword.arg is None for keyword in call.keywords):
        raise _no_value(call)
    keywords = {str(keyword.arg): _value(keyword.value) for keyword in call.keywords}
    return [_value(node) for node in call.args], keywords


def _value(node: ast.expr) -> Any:
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and _is_public(node.func.id):
        kind = _named(node.func, ast.unparse(node), encoding=False)
        return _made(kind, *_arguments(node))
    try:
        return ast.literal_eval(node)
    except (ValueError, TypeError, SyntaxError) as error:
        raise _no_value(node) from error


def _no_value(node: ast.expr) -> ConfigError:
    return ConfigError(
        f"ENCODING must have plain values as arguments, but has `{ast.unparse(node)}`. For "
        "instance `RelativeBias(6, (14, 14))`."
    )


def _made(kind: type, args: list[Any], keywords: dict[str, Any]) -> Any:
    try:
        return kind(*args, **keywords)
    except (ValueError, TypeError) as error:
        raise ConfigError(f"ENCODING {kind.__name__} cannot be made: {error}") from error


def _named(node: ast.expr, text: str, *, encoding: bool) -> type:
    """The public class of a name."""
    name = ast.unparse(node).removeprefix("visionpe.")
    found = getattr(visionpe, name) if _is_public(name) else None
    if isinstance(found, type) and (not encoding or can_attach(found)):
        return found
    names = [n for n in visionpe.__all__ if _is_public(n) and can_attach(getattr(visionpe, n))]
    near = get_close_matches(name, names, n=1)
    hint = f" Did you mean `{near[0]}`?" if near else ""
    raise ConfigError(
        f"ENCODING must be one that can be attached, but is {name!r}.{hint} "
        "`visionpe list encodings` names them."
    )


def _is_public(name: str) -> bool:
    home = visionpe._HOME.get(name, "")
    return home.startswith("visionpe.encodings.") or name == "CoordConv"


def can_attach(kind: Any) -> bool:
    """Whether a class is one that `visionpe.attach` takes."""
    if not isinstance(kind, type):
        return False
    bases = (visionpe.AttentionEncoding, visionpe.MapEncoding, visionpe.PointEncoding)
    return kind is visionpe.CoordConv or (issubclass(kind, bases[:2]) and kind not in bases)
