"""A trained `Classification`, made anew from its checkpoint alone."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from visionpe.errors import CheckpointError

if TYPE_CHECKING:
    from visionpe.tasks.classification import Classification

_NAMES = tuple(
    f"{home}Classification" for home in ("", "visionpe.tasks.", "visionpe.tasks.classification.")
)


class OtherTaskError(CheckpointError):
    """A checkpoint is of another task.

    Attributes:
        file: the checkpoint.
        task: the class path that it names; None: it names none.
    """

    def __init__(self, file: Path, task: str | None) -> None:
        super().__init__(
            f"The checkpoint {file} must be of visionpe.tasks.Classification, but is of {task}."
        )
        self.file, self.task = file, task


def load(file: Path) -> "tuple[Classification, dict[str, Any]]":
    """The task in eval mode with the weights of a checkpoint, and all that the checkpoint holds.

    The state of the random numbers is left as it was; no pretrained weights are fetched, and
    nothing is compiled.

    Raises:
        OtherTaskError: if the checkpoint is not of a `Classification`.
        CheckpointError: if there is none, it is damaged, or its task cannot be made.
    """
    import torch
    from jsonargparse import ArgumentError, ArgumentParser

    from visionpe.cli import checkpoints, kept, noise
    from visionpe.tasks.classification import Classification

    checkpoint = checkpoints.read(file)
    said = kept.model_of(file)
    if said.get("class_path") not in _NAMES:
        raise OtherTaskError(file, said.get("class_path"))
    # The hyperparameters hold what the data said, too.
    noted = checkpoint.get("hyper_parameters") or {}
    arguments = {
        **said["init_args"],
        **{key: value for key, value in noted.items() if not key.startswith("_")},
        **Classification.superseded,
        "compile": False,
    }
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(Classification, "model")
    try:
        # Making a network draws its first weights; the noise is of jsonargparse's old names.
        with torch.random.fork_rng(devices=[]), noise.quiet(scoring=True):
            made = parser.instantiate_classes(parser.parse_object({"model": arguments}))
    except (ArgumentError, ValueError, TypeError) as error:
        first = str(error).strip().splitlines()[0]
        raise CheckpointError(
            f"The model of the checkpoint {file} cannot be made: {first}"
        ) from error
    task: Classification = made.model
    try:
        task.load_state_dict(checkpoint["state_dict"])
    except RuntimeError as error:
        raise checkpoints.misfit(file, str(error)) from error
    return task.eval(), checkpoint
