"""Whether the places of a model are constants: `visionpe.fold`."""

from torch import nn


class Folded:
    """A hook of a folded model.

    Attributes:
        size: `(h, w)` in pixels of the images that the model is folded for.
    """

    def __init__(self, size: tuple[int, int]) -> None:
        self.size = size


def folded_of(model: nn.Module) -> Folded | None:
    """What a model is folded for; None: it is not."""
    owners = (getattr(hook, "__self__", None) for hook in model._forward_pre_hooks.values())
    return next((owner for owner in owners if isinstance(owner, Folded)), None)


def require_unfolded(model: nn.Module) -> None:
    """Refuses a model that is folded.

    Raises:
        ValueError: if it is.
    """
    folded = folded_of(model)
    if folded is not None:
        h, w = folded.size
        raise ValueError(
            f"`model` must not be folded, but {type(model).__name__} is, for images of {h} x {w} "
            "pixels. Call visionpe.unfold(model) first."
        )
