"""Copies of a network that differ in one thing: its padding, its weights, its encodings."""

import inspect
from copy import deepcopy

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.parametrizations import _SpectralNorm
from torch.nn.utils.parametrize import ParametrizationList
from torch.nn.utils.spectral_norm import SpectralNorm

from visionpe.paddings.modes import Mode
from visionpe.paddings.swap import set_padding
from visionpe.probing.features import devices, frozen
from visionpe.removing.verbs import remove

_SEED = 0x1217  # the numbers of `torch.manual_seed(0)` may have made the model itself
_SETTLING = 30  # power iterations


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
    """A copy whose weights are drawn anew, as at the start of training: see `redraw`.

    Batch norms get weight 1, bias 0 and the statistics of `images`: with those of the trained
    weights, or of none, the signal of a deep net dies out.

    Args:
        model: left as it is.
        images: for the batch norms' statistics; None: mean 0, variance 1.
        seed: of the weights; they are not those of `torch.manual_seed` of the same number.

    >>> net = nn.Conv2d(3, 8, 3)
    >>> bool((random_weights(net).weight == net.weight).all())
    False
    """
    copy = deepcopy(model)
    redraw(copy, seed=seed)
    if images is not None:
        estimate_statistics(copy, images)
    return copy


def redraw(model: nn.Module, *, seed: int = 0) -> str:
    """Draws the weights of a model anew, in place; returns what drew them, in words.

    First every module that has a `reset_parameters` without arguments is reset by it. Then the
    outermost modules that have an `init_weights` without arguments draw as they do when they are
    made; batch norms keep weight 1 and bias 0, for where such a start sets them to 0 it switches
    branches of the architecture off. What is left of the weights as it was is drawn from a normal
    distribution of its own mean and standard deviation: what was learned goes, its scale stays;
    what is constant stays.
    """
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    with torch.random.fork_rng(devices=devices(model)), torch.no_grad():
        torch.manual_seed(_SEED + seed)
        for module in model.modules():
            _call(module, "reset_parameters")
        drawn_by = _own_start(model)
        for name, parameter in model.named_parameters():
            if parameter.numel() > 1 and torch.equal(parameter, before[name]):
                parameter.normal_(float(parameter.mean()), float(parameter.std()))
        _settle(model)
    return drawn_by


def _own_start(model: nn.Module) -> str:
    """Calls the outermost `init_weights`, where there are; what drew the weights, in words."""
    said: list[str] = []
    done: tuple[str, ...] = ()
    for name, module in model.named_modules():
        if done and name.startswith(done):
            continue
        kind = type(module).__name__
        try:
            if not _call(module, "init_weights"):
                continue
        except Exception as error:  # foreign code, and there is another way
            said.append(f"{kind}.init_weights failed: {type(error).__name__}")
        else:
            said.append(f"{kind}.init_weights")
        if not name:
            break
        done = (*done, f"{name}.")
    for module in model.modules():
        if said and isinstance(module, _BatchNorm):
            module.reset_parameters()
    return ", ".join(dict.fromkeys(["reset_parameters", *said]))


def _call(module: nn.Module, name: str) -> bool:
    """Calls a method if a module has it and it needs no arguments; whether it did."""
    method = getattr(module, name, None)
    if not callable(method):
        return False
    try:
        inspect.signature(method).bind()
    except (TypeError, ValueError):  # it needs arguments, or does not say
        return False
    method()
    return True


def _settle(model: nn.Module) -> None:
    """Lets spectral norms find the singular vectors of their new weights, which training would."""
    for module in model.modules():
        for hook in module._forward_pre_hooks.values():
            if isinstance(hook, SpectralNorm):
                for _ in range(_SETTLING):
                    hook.compute_weight(module, do_power_iteration=True)
        if isinstance(module, ParametrizationList):
            for part in module:
                training = part.training
                part.training = True
                for _ in range(_SETTLING if isinstance(part, _SpectralNorm) else 0):
                    module()
                part.training = training


def estimate_statistics(model: nn.Module, images: Float[Tensor, "b c h w"]) -> None:
    """Sets the running statistics of a model's batch norms to those of images, in place."""
    norms = [m for m in model.modules() if isinstance(m, _BatchNorm) and m.track_running_stats]
    if not norms:
        return
    like = next(model.parameters(), images)
    with frozen(model), torch.no_grad():
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None  # the plain mean over batches; put back by `frozen`
            norm.training = True
        model(images.to(like.device, like.dtype).clone())  # it may work in place
