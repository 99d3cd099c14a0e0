"""A state as two files: `NAME.safetensors`, the numbers, and `NAME.json`, the recipe.

The recipe holds the SHA-256 of the numbers, of which safetensors itself would take a changed bit.
"""

import hashlib
import json
import os
from contextlib import suppress
from pathlib import Path

from torch import nn

from visionpe.attaching.schema import misfit
from visionpe.attaching.state import FORMAT, State, state
from visionpe.errors import CheckpointError

_COPY = "Use another copy of it."


def save(model: nn.Module, path: str | Path, *, overwrite: bool = False) -> None:
    """Writes what is attached to a model, and nothing else of it, to two files.

    Each is written beside its place and moved there when it is safely on disk. Of a state that is
    overwritten, the numbers stay beside it until the new recipe is in place: `load` finds the old
    state or the new one, whenever the process is killed.

    Args:
        model: to which something is attached.
        path: `NAME`, `NAME.safetensors` or `NAME.json`; folders are made.
        overwrite: replace a state that is there.

    Raises:
        ValueError: if nothing is attached.
        CheckpointError: if there is a file already, or none can be written.
    """
    from safetensors.torch import save as packed

    what = state(model)
    numbers, recipe = files = _files(path)
    there = next((file for file in files if file.exists()), None)
    if there is not None and not overwrite:
        raise CheckpointError(
            f"There is a file {there} already. Give another name, or `overwrite=True`."
        )
    content = packed(what.tensors)
    tensors = {"file": numbers.name, "sha256": _hash(content)}
    text = json.dumps({**what.recipe, "tensors": tensors}, indent=1) + "\n"
    temporary = [file.with_name(f".{file.name}.{os.getpid()}.tmp") for file in files]
    earlier, moved = _earlier(numbers), False
    try:
        numbers.parent.mkdir(parents=True, exist_ok=True)
        for file, data in zip(temporary, (content, text.encode()), strict=True):
            with file.open("wb") as stream:
                stream.write(data)
                stream.flush()
                os.fsync(stream.fileno())
        if _belong(numbers, recipe):  # else those that do may be the earlier ones
            numbers.replace(earlier)
            moved = True
        for file, place in zip(temporary, files, strict=True):
            file.replace(place)
    except OSError as error:
        with suppress(OSError):  # `read` finds the earlier numbers where they are, too
            for file in temporary:
                file.unlink(missing_ok=True)
            if moved and not _belong(numbers, recipe):
                earlier.replace(numbers)
        raise CheckpointError(
            f"The state {recipe.with_suffix('')} cannot be written: {error}."
        ) from error
    with suppress(OSError):  # the state is there; the next one removes what is left
        earlier.unlink(missing_ok=True)


def read(path: str | Path) -> State:
    """What `save` wrote.

    Raises:
        CheckpointError: if it is missing, damaged, or no such state.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load as unpacked

    numbers, recipe = _files(path)
    name = f"The state {recipe.with_suffix('')}"
    try:
        text = recipe.read_text("utf-8")
        there = [file for file in (numbers, _earlier(numbers)) if file.exists()]
        contents = [file.read_bytes() for file in there or [numbers]]
    except FileNotFoundError as error:
        raise CheckpointError(f"{name} is not there: no file {error.filename}.") from error
    except (OSError, UnicodeDecodeError) as error:
        raise CheckpointError(f"{name} cannot be read: {error}.") from error
    try:
        data = json.loads(text)
    except ValueError as error:
        raise CheckpointError(
            f"{name} is damaged: {recipe} is no JSON: {error}. {_COPY}"
        ) from error
    said = misfit(data) or misfit(data.get("tensors"), {"file": str, "sha256": str}, ".tensors")
    newer = isinstance(data, dict) and isinstance(data.get("format"), int) and data["format"]
    if newer and newer != FORMAT:
        raise CheckpointError(
            f"{name} is of format {newer}, but this visionpe reads format {FORMAT}: use the "
            f"visionpe that wrote it, {data.get('visionpe')}."
        )
    if said is not None:
        raise CheckpointError(f"{name} is none of visionpe's: in {recipe}, {said}.")
    content = next((c for c in contents if _hash(c) == data["tensors"]["sha256"]), None)
    if content is None:
        raise CheckpointError(
            f"{name} is damaged: {numbers} is not the file that {recipe.name} was written with "
            f"(SHA-256). {_COPY}"
        )
    try:
        tensors = unpacked(content)
    except (SafetensorError, ValueError, KeyError) as error:
        raise CheckpointError(f"{name} is damaged: {numbers}: {error}. {_COPY}") from error
    del data["tensors"]
    return State(data, tensors)


def _files(path: str | Path) -> tuple[Path, Path]:
    path = Path(path)
    if path.suffix in (".safetensors", ".json"):
        path = path.with_suffix("")
    return path.with_name(f"{path.name}.safetensors"), path.with_name(f"{path.name}.json")


def _earlier(numbers: Path) -> Path:
    """Where the numbers are kept while a state is overwritten."""
    return numbers.with_name(f".{numbers.name}.earlier")


def _belong(numbers: Path, recipe: Path) -> bool:
    """Whether these are the numbers that the recipe was written with."""
    if not (numbers.exists() and recipe.exists()):
        return False
    return _hash(numbers.read_bytes()) in recipe.read_text("utf-8", "replace")


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
