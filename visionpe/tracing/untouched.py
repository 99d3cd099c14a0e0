"""A model as somebody else's property: whatever a run does to it is undone."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from visionpe.tracing.codes import nowhere


@contextmanager
def untouched(model: nn.Module) -> Iterator[None]:
    """Inside, the model is in evaluation mode and its parameters and buffers have no place.

    Behind it the model is as it was: parameters and buffers the same objects, every module's own
    attributes (training flags, hooks, tables kept from the last forward) as before, and the state
    of torch's random numbers too.
    """
    kept = [(module, dict(vars(module)), _contents(module)) for module in model.modules()]
    with torch.random.fork_rng(devices=[]):
        try:
            for module, _, _ in kept:
                _stand_in(module)
            yield
        finally:
            for module, attributes, contents in kept:
                vars(module).clear()
                vars(module).update(attributes)
                for name, content in contents.items():
                    _refill(attributes[name], content)


def _stand_in(module: nn.Module) -> None:
    module.training = False
    forward = vars(module).get("forward")
    if forward is not None and getattr(
        forward, "keeps_places", False
    ):  # other pads, `visionpe.set_padding`: same places
        del module.forward
        if forward.inner is not None:
            module.forward = forward.inner
    for name, parameter in module._parameters.items():
        if parameter is not None:
            stand_in = nowhere(parameter.shape)
            module._parameters[name] = nn.Parameter(stand_in, requires_grad=False)
    for name, buffer in module._buffers.items():
        if buffer is None:
            continue
        if buffer.is_floating_point() or buffer.is_complex():
            module._buffers[name] = nowhere(buffer.shape)
        elif buffer.is_meta:
            module._buffers[name] = torch.zeros(buffer.shape, dtype=buffer.dtype)
        else:
            module._buffers[name] = buffer.detach().cpu().clone()


def _contents(module: nn.Module) -> dict[str, Any]:
    """Copies of a module's own containers, in which forwards keep things (LeViT's biases)."""
    return {
        name: value.copy()
        for name, value in vars(module).items()
        if isinstance(value, dict | list | set)
    }


def _refill(container: Any, content: Any) -> None:
    container.clear()
    if isinstance(container, list):
        container.extend(content)
    else:
        container.update(content)
