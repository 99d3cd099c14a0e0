"""Weights from a local file into a backbone, read without running what is in the file."""

import pickle  # noqa: TID251 # for its exception alone
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from visionpe.errors import CheckpointError

_WRAPPERS = ("state_dict", "model", "model_state_dict", "network")
_PREFIXES = ("module.", "network.", "_orig_mod.")
_SHOWN = 4
State = dict[str, Tensor]


def load_weights(model: nn.Module, path: str | Path, *, num_classes: int) -> list[str]:
    """Loads a file into a model; only a head of another number of classes may be left out.

    The keys are those of the model, or of what timm's own filter for its family makes of them
    (which also resizes tables of positions); wrappers such as `state_dict` and prefixes such as
    `module.` are taken off. Every other difference is an error.

    Args:
        model: the backbone, with nothing attached.
        path: a `.safetensors` file, or one that `torch.save` wrote with tensors and plain data.
        num_classes: of the model's head.

    Returns:
        The keys of the head that were left out: it starts from its random weights.

    Raises:
        CheckpointError: if the file is missing, damaged, holds other objects, or does not fit.
    """
    path = Path(path)
    state = _filtered(model, _unwrapped(path, read_state(path), set(model.state_dict())))
    return fill(model, state, str(path), num_classes=num_classes)


def fill(model: nn.Module, state: State, source: str, *, num_classes: int) -> list[str]:
    """Loads a state into a model, as `load_weights`, which says what `source` is in messages."""
    own = model.state_dict()
    left_out = _head(state, own, num_classes)
    kept = {key: value for key, value in state.items() if key not in left_out}
    problems = [f"{key} is missing" for key in own if key not in kept and key not in left_out]
    problems += [f"{key} is not in the model" for key in kept if key not in own]
    problems += [
        f"{key} has shape {tuple(kept[key].shape)}, not {tuple(own[key].shape)}"
        for key in own
        if key in kept and kept[key].shape != own[key].shape
    ]
    if problems:
        more = f"\n  and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
        listed = "".join(f"\n  {line}" for line in problems[:_SHOWN])
        raise CheckpointError(
            f"The weights {source} do not fit {type(model).__name__}; only a head of another "
            f"number of classes may be left out:{listed}{more}"
        )
    model.load_state_dict(kept, strict=False)
    return left_out


def read_state(path: Path) -> dict[str, Any]:
    """The content of a file of weights.

    Raises:
        CheckpointError: if it is missing, damaged, or holds more than tensors and plain data.
    """
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "does not exist"
        raise CheckpointError(f"The file of weights {path} {what}.")
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return dict(load_file(path))
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"The file of weights {path} holds more than tensors and plain data, or is no file of "
            "torch, and is refused: loading it could run code."
        ) from error
    except Exception as error:  # truncated and random files fail in many ways
        raise CheckpointError(
            f"The file of weights {path} is damaged or of another format: fetch it again."
        ) from error
    if not isinstance(content, dict):
        raise CheckpointError(
            f"The file of weights {path} must hold a dictionary of tensors, but holds a "
            f"{type(content).__name__}."
        )
    return content


def _unwrapped(path: Path, content: dict[str, Any], own: set[str]) -> State:
    """The tensors of a file by the model's own names, as far as wrappers and prefixes hid them."""
    for name in _WRAPPERS:
        if isinstance(content.get(name), dict):
            content = content[name]
            break
    for prefix in _PREFIXES * 2:  # compiled and distributed, in either order
        # A backbone may have a part of that name itself.
        if not own & set(content) and any(str(key).startswith(prefix) for key in content):
            # Of a checkpoint of a task: its backbone alone, without averages and metrics.
            content = {
                key.removeprefix(prefix): value
                for key, value in content.items()
                if key.startswith(prefix)
            }
    state = {key: value for key, value in content.items() if isinstance(value, Tensor)}
    if not state:
        raise CheckpointError(f"The file of weights {path} holds no tensors by name.")
    return state


def _filtered(model: nn.Module, state: State) -> State:
    """What timm's module of the model makes of foreign keys, if it has a filter."""
    own = model.state_dict()
    if all(key in own and own[key].shape == value.shape for key, value in state.items()):
        return state
    module = type(model).__module__
    rule = getattr(import_module(module), "checkpoint_filter_fn", None)
    if rule is None or not module.startswith("timm."):
        return state
    try:
        return dict(rule(state, model))
    except (KeyError, RuntimeError, ValueError):
        return state  # foreign to the filter too: the report says how


def _head(state: State, own: State, num_classes: int) -> list[str]:
    """Keys of the last layer, where the file has another number of classes."""
    return [
        key
        for key, value in state.items()
        if key in own
        and own[key].shape != value.shape
        and own[key].shape[:1] == (num_classes,)
        and own[key].shape[1:] == value.shape[1:]
    ]
