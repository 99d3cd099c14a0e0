"""What a checkpoint says of its model, and how that differs from what the user asks for."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from visionpe.cli.checkpoints import read
from visionpe.cli.folder import Run, deciding
from visionpe.errors import CheckpointError, ConfigError

_OPTIMISER = (
    "optimizer",
    "lr_scheduler",
    "model.init_args.optimizer",
    "model.init_args.schedule",
    "model.init_args.warmup",
)


def model_of(path: str | Path) -> dict[str, Any]:
    """The `class_path` and `init_args` of a checkpoint's model; empty if it does not say.

    Raises:
        CheckpointError: if it cannot be read.
    """
    checkpoint = read(path, mmap=True)
    ours = checkpoint.get("visionpe")
    if isinstance(ours, dict) and isinstance(ours.get("model"), dict):
        return {"init_args": {}, **ours["model"]}
    kept = dict(checkpoint.get("hyper_parameters") or {})
    kept.pop("_instantiator", None)
    class_path = kept.pop("_class_path", None)
    return {"class_path": class_path, "init_args": kept} if class_path else {}


def configuration(folder: Path) -> dict[str, Any] | None:
    """What the `config.yaml` of a run's folder holds; None if it is missing or damaged."""
    try:
        content = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError):
        return None
    return content if isinstance(content, dict) else None


def compare(kept: dict[str, Any], asked: dict[str, Any], path: object) -> list[str]:
    """A line for each argument in which the model asked for differs from the checkpoint's.

    Args:
        kept: `class_path` and `init_args` of the checkpoint's model.
        asked: those that the command line and its configuration come to.
        path: the checkpoint.

    Raises:
        CheckpointError: if the classes differ.
    """
    if asked["class_path"] != kept["class_path"]:
        raise CheckpointError(
            f"The checkpoint {path} must be of the model that is asked for, {asked['class_path']}, "
            f"but is of {kept['class_path']}. Leave out `--model`."
        )
    return [
        f"model.init_args.{key}: {before} in the checkpoint, {now} from the command line is used"
        for key, before, now in differences(kept["init_args"], asked.get("init_args") or {})
    ]


def changes(
    run: Run, path: str | None, now: dict[str, Any], otherwise: dict[str, Any] | None
) -> list[str]:
    """A line for each difference between a run that is named to go on from and the one asked for.

    Args:
        run: its `resume` may be the run's folder.
        path: else, a checkpoint of the run.
        now: the configuration asked for.
        otherwise: the run's, as far as the checkpoint tells, where the run has no `config.yaml`.

    Raises:
        ConfigError: if both are named, or there are differences that are not allowed.
    """
    if run.resume and path:
        raise ConfigError(
            f"`ckpt_path` must not be given with `run.resume`, but is {path!r}: a run goes on from "
            "its own last.ckpt. Leave out `--run.resume` to begin a new run there."
        )
    folder = Path(run.resume) if run.resume else Path(str(path)).resolve().parent.parent
    before = configuration(folder)
    if before is None and (folder / "config.yaml").is_file():
        raise ConfigError(
            f"The configuration {folder / 'config.yaml'} must be YAML, but is damaged. Begin a new "
            "run with `--run.name`."
        )
    before = before or otherwise
    place = folder if run.resume else path
    return require_unchanged(before, now, place, allowed=run.changed) if before else []


def require_unchanged(
    before: dict[str, Any], now: dict[str, Any], path: object, *, allowed: bool
) -> list[str]:
    """A line for each difference between a run's configuration and the one it is to go on with.

    Args:
        before: the run's.
        now: the one asked for.
        path: of the run or its checkpoint, for messages.
        allowed: whether the user allows differences. Those of the optimiser are refused all the
            same: its state in the checkpoint holds its numbers, and would overrule them.

    Raises:
        ConfigError: if there are differences that are not allowed.
    """
    found = differences(deciding(before), deciding(now))
    lines = [f"{key}: {was} in the run, {asked} now" for key, was, asked in found]
    if not found:
        return []
    listed = "".join(f"\n  {line}" for line in lines)
    fixed = [key for key, *_ in found if key.startswith(_OPTIMISER)]
    if fixed and allowed:
        raise ConfigError(
            f"{path} cannot go on with another {', '.join(fixed)}: the optimiser's state in its "
            "checkpoint would overrule it. Begin a new run from its weights, `--model.weights`, "
            f"or leave them as they were:{listed}"
        )
    if not allowed:
        raise ConfigError(
            f"{path} was made with another configuration. Go on with the run's own, or say "
            f"`--run.changed true`:{listed}"
        )
    return lines


def unfinished(folders: Iterable[Path], now: dict[str, Any]) -> list[str]:
    """What to say of the first of some unfinished runs that tells its configuration, if one does.

    Args:
        folders: of runs of the same name.
        now: the configuration asked for.
    """
    for path in folders:
        before = configuration(path)
        if before is None:
            continue
        found = differences(deciding(before), deciding(now))
        listed = "".join(f"\n  {key}: {was} there, {asked} here" for key, was, asked in found)
        said = f"another configuration:{listed}" if found else "the same configuration"
        return [f"unfinished: {path}, of {said}"]
    return []


def differences(before: Any, now: Any, prefix: str = "") -> list[tuple[str, Any, Any]]:
    """The keys, dotted, at which two trees of dictionaries differ, with both values.

    >>> differences({"a": {"b": 1}, "c": 2}, {"a": {"b": 3}, "c": 2})
    [('a.b', 1, 3)]
    """
    if not (isinstance(before, dict) and isinstance(now, dict)):
        return [] if before == now else [(prefix, before, now)]
    found: list[tuple[str, Any, Any]] = []
    for key in [*before, *(key for key in now if key not in before)]:
        path = f"{prefix}.{key}" if prefix else str(key)
        found += differences(before.get(key), now.get(key), path)
    return found
