"""What a sweep file may say: plain values under dotted keys, values that differ, names of files."""

from collections.abc import Iterable
from typing import Any

from visionpe.errors import ConfigError

_PLAIN = str | int | float | None  # bool is an int


def require_overrides(where: str, overrides: dict[Any, Any]) -> None:
    """Refuses keys that are no text, and values that are not plain.

    Args:
        where: the file and the key that hold them, for messages.

    >>> require_overrides("s.yaml: `fixed`", {4: 1})
    Traceback (most recent call last):
        ...
    visionpe.errors.ConfigError: s.yaml: `fixed` must have dotted keys, but has the key 4.
    """
    for key, value in overrides.items():
        if not isinstance(key, str):
            raise ConfigError(f"{where} must have dotted keys, but has the key {key!r}.")
        require_plain(where, value, key)


def require_plain(where: str, value: Any, key: str = "") -> None:
    """Refuses what JSON cannot hold: a date, for instance, which YAML makes of `2026-01-31`.

    Args:
        where: the file and the key that hold it, for messages.
        key: the dotted key of the value.
    """
    if isinstance(value, list):
        for each in value:
            require_plain(where, each, key)
    elif isinstance(value, dict):
        if not any(all(isinstance(k, kind) for k in value) for kind in (str, int | float)):
            raise ConfigError(
                f"{where}: the keys of `{key}` must be text, but are {list(value)}. "
                "Put them in quotes."
            )
        for inner, each in value.items():
            require_plain(where, each, f"{key}.{inner}" if key else str(inner))
    elif not isinstance(value, _PLAIN):
        raise ConfigError(
            f"{where}: `{key}` must be text, a number, true, false, null, a list or a mapping, but "
            f"is {value!r}. Text is put in quotes."
        )


def require_apart(where: str, values: Iterable[Any], *, numbers: bool = True) -> None:
    """Refuses values that are the same, or that have the same label.

    Args:
        where: the file and the axis that hold them, for messages.
        numbers: compare numbers as numbers, and text that says one too: YAML takes `1e-3`, which
            has no point, for text.

    >>> require_apart("s.yaml: the axis `rate`", [0.001, "1e-3"])
    Traceback (most recent call last):
        ...
    visionpe.errors.ConfigError: s.yaml: the axis `rate` must have each value once, but has 0.001 \
and '1e-3'.
    """
    seen: dict[Any, Any] = {}
    for value in values:
        for key in {str(value), _number(value)} if numbers else {str(value)}:
            if key in seen:
                raise ConfigError(
                    f"{where} must have each value once, but has {seen[key]!r} and {value!r}."
                )
        seen |= {str(value): value, _number(value): value}


def require_file_name(where: str, name: str) -> None:
    """Refuses a name that would lead out of the folder it is for, or to none.

    >>> require_file_name("s.yaml: `name`", "../x")
    Traceback (most recent call last):
        ...
    visionpe.errors.ConfigError: s.yaml: `name` must be a file's name, but is '../x'. Leave out `/`.
    """
    if "/" in name:
        raise ConfigError(f"{where} must be a file's name, but is {name!r}. Leave out `/`.")
    if name in ("", ".", "..") or not name.isprintable():
        raise ConfigError(f"{where} must be a file's name, but is {name!r}.")


def _number(value: Any) -> Any:
    """The number that a value is or says; of any other, its label."""
    if isinstance(value, str):
        for kind in (int, float):
            try:
                return kind(value)
            except ValueError:
                continue
    return value if isinstance(value, int | float) and not isinstance(value, bool) else str(value)
