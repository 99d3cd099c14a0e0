"""Copies of a network that differ in one thing: its padding, its weights, its encodings."""

from copy import deepcopy

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from visionpe.paddings.modes import Mode
from visionpe.paddings.swap import set_padding
from visionpe.probing.features import devices, frozen
from visionpe.removing.verbs import remove


def padding_twin(model: nn.Module, mode: Mode) -> nn.Module:
    """A copy of the same weights that pads otherwise: see `visionpe.set_padding`.

    Raises:
        ValueError: if the model pads nothing.
    """
    twin = deepcopy(model)
    set_padding(twin, mode)
    return twin


def without_positions(model: nn.Module) -> nn.Module:
    """A copy without its position encodings: see `visionpe.remove`.

    Raises:
        ValueError: if it has none.
        RemoveError: if it cannot do without.
    """
    return remove(deepcopy(model), "all")


def random_weights(
    model: nn.Module, images: Float[Tensor, "b c h w"] | None = None, *, seed: int = 0
) -> nn.Module:
    """A copy whose weights are drawn anew, as at the start of training.

    Modules with `reset_parameters` are reset by it. Other parameters are drawn from a normal
    distribution of their own mean and standard deviation, so that what was learned goes and its
    scale stays; one that is constant stays. Batch norms get weight 1, bias 0 and the statistics
    of `images`: with those of the trained weights, or of none, the signal of a deep net dies out.

    Args:
        model: left as it is.
        images: for the batch norms' statistics; None: mean 0, variance 1.
        seed: of the weights.

    >>> net = nn.Conv2d(3, 8, 3)
    >>> bool((random_weights(net).weight == net.weight).all())
    False
    """
    copy = deepcopy(model)
    with torch.random.fork_rng(devices=devices(model)), torch.no_grad():
        torch.manual_seed(seed)
        for module in copy.modules():
            reset = getattr(module, "reset_parameters", None)
            if callable(reset):
                reset()
                continue
            for parameter in module.parameters(recurse=False):
                if parameter.numel() > 1:
                    parameter.normal_(float(parameter.mean()), float(parameter.std()))
    if images is not None:
        estimate_statistics(copy, images)
    return copy


def estimate_statistics(model: nn.Module, images: Float[Tensor, "b c h w"]) -> None:
    """Sets the running statistics of a model's batch norms to those of images, in place."""
    norms = [m for m in model.modules() if isinstance(m, _BatchNorm) and m.track_running_stats]
    if not norms:
        return
    like = next(model.parameters())
    with frozen(model), torch.no_grad():
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None  # the plain mean over batches; put back by `frozen`
            norm.training = True
        model(images.to(like.device, like.dtype))
