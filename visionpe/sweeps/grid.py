"""The sweep file: axes, whose product is a grid of ordinary `fit` configurations."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, fields
from difflib import get_close_matches
from pathlib import Path
from typing import Any, final

from visionpe.errors import ConfigError
from visionpe.sweeps.checks import (
    require_apart,
    require_file_name,
    require_overrides,
    require_plain,
)
from visionpe.sweeps.configs import Overrides, digest, merged, override, read_yaml


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
        return digest(self.config)

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
            ConfigError: if a base configuration is missing, no YAML or not plain, or an override
                names something inside a value that is no mapping.
        """
        base: dict[str, Any] = {}
        for name in self.base:
            content = read_yaml(folder / name)
            require_plain(str(folder / name), content)
            base = merged(base, content)
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
    content = read_yaml(path)
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
    require_overrides(f"{path}: `fixed`", fixed)
    require_apart(f"{path}: `tests`", tests, numbers=False)
    for test, overrides in tests.items():
        require_file_name(f"{path}: the name of a test", str(test))
        require_overrides(f"{path}: the test `{test}`", overrides)
    name = str(content.get("name") or path.stem)
    require_file_name(f"{path}: `name`", name)
    metric = content.get("metric")
    if metric is not None and not isinstance(metric, str):
        raise ConfigError(f"{path}: `metric` must be the name of a metric, but is {metric!r}.")
    return Sweep(
        name=name,
        base=bases,
        axes={str(name): _axis(path, str(name), axis) for name, axis in axes.items()},
        fixed=fixed,
        tests={str(name): overrides for name, overrides in tests.items()},
        stress=stress,
        metric=metric,
        retries=_count(path, content, "retries", 1, least=0),
        cpus=_count(path, content, "cpus", 1, least=1),
        gpus=_count(path, content, "gpus", 0, least=0),
    )


def _axis(path: Path, name: str, axis: Any) -> dict[str, Overrides]:
    where = f"{path}: the axis `{name}`"
    if name == "seed" and isinstance(axis, list):
        axis = {"seed_everything": axis}
    if isinstance(axis, dict) and len(axis) == 1:
        ((key, values),) = axis.items()
        if isinstance(values, list) and values:
            require_overrides(where, {key: values})
            require_apart(where, values)
            return {str(value): {key: value} for value in values}
    if (
        not isinstance(axis, dict)
        or not axis
        or not all(isinstance(v, dict) for v in axis.values())
    ):
        raise ConfigError(
            f"{where} must map labels to overrides, as "
            "`none: {model.init_args.encodings: null}`, or one dotted key to a list of values, but "
            f"is {axis!r}."
        )
    require_apart(where, axis, numbers=False)
    for overrides in axis.values():
        require_overrides(where, overrides)
    return {str(label): overrides for label, overrides in axis.items()}


def _count(path: Path, content: dict[str, Any], key: str, default: int, *, least: int) -> int:
    value = content.get(key, default)
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ConfigError(
            f"{path}: `{key}` must be a whole number of at least {least}, but is {value!r}."
        )
    return value
