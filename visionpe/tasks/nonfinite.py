"""A loss that is no number ends a run, and says where."""

from collections.abc import Sequence
from pathlib import Path

from torch import Tensor, nn

from visionpe.errors import VisionPEError

_SHOWN = 16  # samples named in the message


class NonFiniteError(VisionPEError):
    """The loss or the weights of a run are no longer finite."""


def loss_error(
    loss: float,
    *,
    step: int,
    epoch: int,
    batch: int,
    samples: Sequence[int] | None,
    images_finite: bool,
    checkpoint: Path | None,
) -> NonFiniteError:
    """The error of a loss that is infinite or no number.

    Args:
        loss: its value.
        step: optimiser steps done before.
        epoch: counted from 0.
        batch: its number in the epoch, from 0.
        samples: rows of the training part, without what is held out of it, that made the
            batch, if known.
        images_finite: whether the batch itself is.
        checkpoint: the last one, written before; None: there is none.
    """
    rows = "" if samples is None else f", samples {_listed(samples)} of the training part"
    cause = (
        "Lower the learning rate, lengthen its warm-up, or clip gradients "
        "(`--trainer.gradient_clip_val 1`)."
        if images_finite
        else "The images of this batch hold values that are not finite: mend the data."
    )
    last = (
        "There is no checkpoint yet."
        if checkpoint is None
        else f"The last good checkpoint is {checkpoint}."
    )
    return NonFiniteError(
        f"The loss is {loss} at step {step} (epoch {epoch}, batch {batch}{rows}); the weights were "
        f"not changed by it. {last} {cause}"
    )


def require_finite_weights(network: nn.Module, step: int) -> None:
    """Refuses weights that a checkpoint must not be made of.

    Raises:
        NonFiniteError: with the first parameter or buffer that is not finite.
    """
    for name, value in network.state_dict().items():
        if value.is_floating_point() and not bool(_finite(value)):
            raise NonFiniteError(
                f"`{name}` is not finite after step {step}: the gradients overflowed. The "
                "checkpoint before it is kept. Lower the learning rate, lengthen its warm-up, or "
                "clip gradients (`--trainer.gradient_clip_val 1`)."
            )


def _finite(value: Tensor) -> Tensor:
    return value.detach().isfinite().all()


def _listed(samples: Sequence[int]) -> str:
    shown = ", ".join(map(str, samples[:_SHOWN]))
    return f"{shown} and {len(samples) - _SHOWN} more" if len(samples) > _SHOWN else shown
