"""The sweep file: axes, whose product is a grid of ordinary `fit` configurations."""

import hashlib
import itertools
import json
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass, fields
from difflib import get_close_matches
from pathlib import Path
from typing import Any, final

import yaml

from visionpe.errors import ConfigError

Overrides = dict[str, Any]  # dotted keys of a `fit` configuration, and their values


@final
@dataclass(frozen=True)
class Cell:
    """One run of a sweep.

    Attributes:
        labels: by axis, which of its values.
        config: a complete configuration of `visionpe fit`, but for `run`.
    """

    labels: dict[str, str]
    config: dict[str, Any]

    @property
    def id(self) -> str:
        """Twelve hexadecimal digits: the same for the same configuration, on every machine."""
        text = json.dumps(self.config, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    @property
    def name(self) -> str:
        """What a person calls it.

        >>> Cell({"encoding": "none", "seed": "0"}, {}).name
        'encoding=none,seed=0'
        """
        return ",".join(f"{axis}={label}" for axis, label in self.labels.items())


@final
@dataclass(frozen=True)
class Sweep:
    """What a sweep file says.

    Attributes:
        name: of the sweep, and of its folder.
        base: one or more configurations of `visionpe fit`, later ones on top of earlier ones;
            relative to the sweep file.
        axes: by name, a mapping from labels to overrides (`{none: {model.init_args.x: null}}`), or
            from one dotted key to a list of its values. The axis `seed` may be a list of numbers.
        fixed: overrides in all cells.
        tests: by name, overrides of a `visionpe test` of the last checkpoint of each run.
        stress: whether each run is followed by `visionpe stress`.
        metric: what the report compares; by default the task's own.
        retries: how often a failed cell is run again.
        cpus, gpus: of one run; a run uses as many threads as it has CPUs.
    """

    name: str
    base: list[str]
    axes: dict[str, dict[str, Overrides]]
    fixed: Overrides
    tests: dict[str, Overrides]
    stress: bool
    metric: str | None
    retries: int
    cpus: int
    gpus: int

    def cells(self, folder: Path) -> Iterator[Cell]:
        """All combinations, the last axis fastest.

        Args:
            folder: of the sweep file.

        Raises:
            ConfigError: if a base configuration is missing or no YAML, or an override names
                something inside a value that is no mapping.
        """
        base: dict[str, Any] = {}
        for name in self.base:
            base = _merged(base, _read(folder / name))
        base.pop("run", None)
        for combination in itertools.product(*(axis.items() for axis in self.axes.values())):
            config = override(base, self.fixed)
            for _, overrides in combination:
                config = override(config, overrides)
            labels = (label for label, _ in combination)
            yield Cell(dict(zip(self.axes, labels, strict=True)), config)


def read(path: str | Path) -> Sweep:
    """Reads a sweep file.

    Raises:
        ConfigError: if it is missing, no YAML, or says something that cannot be.
    """
    path = Path(path)
    content = _read(path)
    known = [field.name for field in fields(Sweep)]
    for key in content:
        if key not in known:
            near = get_close_matches(str(key), known, n=1)
            hint = f" Did you mean `{near[0]}`?" if near else f" There are {', '.join(known)}."
            raise ConfigError(f"{path}: `{key}` is no key of a sweep.{hint}")
    base = content.get("base")
    bases = [base] if isinstance(base, str) else base
    if not isinstance(bases, list) or not bases or not all(isinstance(b, str) for b in bases):
        raise ConfigError(f"{path}: `base` must name a configuration of `visionpe fit`.")
    axes = content.get("axes")
    if not isinstance(axes, dict) or not axes:
        raise ConfigError(
            f"{path}: `axes` must map names to values, as `seed: [0, 1, 2]`, but is {axes!r}."
        )
    tests = content.get("tests") or {}
    if not isinstance(tests, dict) or not all(isinstance(t, dict) for t in tests.values()):
        raise ConfigError(
            f"{path}: `tests` must map names to overrides, as `large: {{data.init_args.x: 2}}`, "
            f"but is {tests!r}."
        )
    stress = content.get("stress", False)
    if not isinstance(stress, bool):
        raise ConfigError(f"{path}: `stress` must be true or false, but is {stress!r}.")
    fixed = content.get("fixed") or {}
    if not isinstance(fixed, dict):
        raise ConfigError(f"{path}: `fixed` must map dotted keys to values, but is {fixed!r}.")
    return Sweep(
        name=str(content.get("name") or path.stem),
        base=bases,
        axes={str(name): _axis(path, str(name), axis) for name, axis in axes.items()},
        fixed=fixed,
        tests={str(name): overrides for name, overrides in tests.items()},
        stress=stress,
        metric=content.get("metric"),
        retries=_count(path, content, "retries", 1, least=0),
        cpus=_count(path, content, "cpus", 1, least=1),
        gpus=_count(path, content, "gpus", 0, least=0),
    )


def _axis(path: Path, name: str, axis: Any) -> dict[str, Overrides]:
    if name == "seed" and isinstance(axis, list):
        axis = {"seed_everything": axis}
    if isinstance(axis, dict) and len(axis) == 1:
        ((key, values),) = axis.items()
        if isinstance(values, list) and values:
            return {str(value): {str(key): value} for value in values}
    if (
        not isinstance(axis, dict)
        or not axis
        or not all(isinstance(v, dict) for v in axis.values())
    ):
        raise ConfigError(
            f"{path}: the axis `{name}` must map labels to overrides, as "
            "`none: {model.init_args.encodings: null}`, or one dotted key to a list of values, but "
            f"is {axis!r}."
        )
    return {str(label): overrides for label, overrides in axis.items()}


def _count(path: Path, content: dict[str, Any], key: str, default: int, *, least: int) -> int:
    value = content.get(key, default)
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ConfigError(
            f"{path}: `{key}` must be a whole number of at least {least}, but is {value!r}."
        )
    return value


def _read(path: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        beside = [found.name for found in path.parent.glob("*.y*ml")]
        near = get_close_matches(path.name, beside, n=1)
        hint = f" Did you mean `{path.with_name(near[0])}`?" if near else ""
        raise ConfigError(f"The file {path} does not exist.{hint}") from error
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"The file {path} cannot be read: {error}.") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" at line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise ConfigError(f"The file {path} is not valid YAML{where}.") from error
    if not isinstance(content, dict):
        raise ConfigError(f"The file {path} must be a mapping, but is {type(content).__name__}.")
    return content


def _merged(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """Mappings joined key by key; of another class, `init_args` begin anew."""
    if "class_path" in above and above["class_path"] != below.get("class_path"):
        return deepcopy(above)
    result = dict(below)
    for key, value in above.items():
        before = result.get(key)
        both = isinstance(before, dict) and isinstance(value, dict)
        result[key] = _merged(before, value) if both else deepcopy(value)  # type: ignore[arg-type]
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
