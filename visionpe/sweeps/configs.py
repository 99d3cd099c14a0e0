"""Configurations of `visionpe fit` as plain data: read, joined, overridden, known by a digest."""

import hashlib
import json
from copy import deepcopy
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import yaml

from visionpe.errors import ConfigError
from visionpe.yaml_text import fault, load

Overrides = dict[str, Any]  # dotted keys of a `fit` configuration, and their values


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a file.

    Raises:
        ConfigError: if it is missing, no YAML, gives a key twice, or is no mapping.
    """
    try:
        content = load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        beside = [found.name for found in path.parent.glob("*.y*ml")]
        near = get_close_matches(path.name, beside, n=1)
        hint = f" Did you mean `{path.with_name(near[0])}`?" if near else ""
        raise ConfigError(f"The file {path} does not exist.{hint}") from error
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"The file {path} cannot be read: {error}.") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"The file {path} {fault(error)}.") from error
    if not isinstance(content, dict):
        raise ConfigError(f"The file {path} must be a mapping, but is {type(content).__name__}.")
    return content


def merged(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """Mappings joined key by key; of another class, `init_args` begin anew."""
    if "class_path" in above and above["class_path"] != below.get("class_path"):
        return deepcopy(above)
    result = dict(below)
    for key, value in above.items():
        before = result.get(key)
        both = isinstance(before, dict) and isinstance(value, dict)
        result[key] = merged(before, value) if both else deepcopy(value)  # type: ignore[arg-type]
    return result


def override(config: dict[str, Any], overrides: Overrides) -> dict[str, Any]:
    """A configuration with dotted keys set.

    >>> override({"a": {"b": 1}}, {"a.c": 2})
    {'a': {'b': 1, 'c': 2}}
    """
    config = deepcopy(config)
    for key, value in overrides.items():
        _set(config, key, value)
    return config


def digest(config: dict[str, Any]) -> str:
    """Twelve hexadecimal digits of a configuration, however its keys are ordered.

    >>> digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1})
    True
    """
    return hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()[:12]


def _set(config: dict[str, Any], key: str, value: Any) -> None:
    """Sets a dotted key; mappings on the way are made."""
    *way, last = key.split(".")
    for part in way:
        inner = config.setdefault(part, {})
        if not isinstance(inner, dict):
            raise ConfigError(
                f"`{key}` must name a key inside mappings, but `{part}` is {inner!r} in the base."
            )
        config = inner
    config[last] = deepcopy(value)
