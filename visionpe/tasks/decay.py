"""Which parameters weight decay is for: kernels, and nothing that stands for a place."""

import re
from typing import Any

from torch import nn

from visionpe.attaching.attached import CHILD
from visionpe.encodings.attention import AttentionEncoding
from visionpe.encodings.base import MapEncoding

# Words of a parameter's name that say position, in timm and torchvision; and of its last part, that
# say a learned token. (Modules named so mix tokens: their kernels are kernels.)
_WORDS = {"pos", "position", "positional", "rel", "relative", "cpb", "rope"}
_TOKENS = {"token", "tokens", "latent"}


def parameter_groups(
    network: nn.Module, weight_decay: float, layer_decay: float | None = None
) -> list[dict[str, Any]]:
    """Two groups for an optimiser: with weight decay, and without; two a layer with `layer_decay`.

    Not decayed: biases, norms and other vectors; what timm's `no_weight_decay` names; tables of
    positions and learned tokens, by name; and all of attached encodings and of encodings that are
    modules of the network.

    Args:
        network: its parameters that require a gradient.
        weight_decay: of the first group.
        layer_decay: factor of the learning rate from each layer of a backbone of timm to the one
            before it.

    >>> groups = parameter_groups(nn.Sequential(nn.Linear(2, 3), nn.LayerNorm(3)), 0.1)
    >>> [(group["weight_decay"], len(group["params"])) for group in groups]
    [(0.1, 1), (0.0, 3)]
    """
    spared = _spared(network)
    if layer_decay is not None:
        from timm.optim import param_groups_layer_decay

        layers: list[dict[str, Any]] = param_groups_layer_decay(
            network, weight_decay, no_weight_decay_list=spared, layer_decay=layer_decay
        )
        return layers
    decayed: list[nn.Parameter] = []
    others: list[nn.Parameter] = []
    for name, parameter in network.named_parameters():
        if parameter.requires_grad:
            group = others if parameter.ndim <= 1 or name in spared else decayed
            group.append(parameter)
    groups = [
        {"params": decayed, "weight_decay": weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]


def _spared(network: nn.Module) -> set[str]:
    rule: Any = getattr(network, "no_weight_decay", None)  # timm's list of names
    named = set(rule()) if callable(rule) else set()
    parts = [
        f"{name}."
        for name, module in network.named_modules()
        if isinstance(module, MapEncoding | AttentionEncoding)
    ]
    parts.append(f"{CHILD}.")
    for name, parameter in network.named_parameters():
        words, last = set(re.split(r"[._]", name)), name.rpartition(".")[2]
        token = last != "weight" and set(last.split("_")) & _TOKENS
        # Scales and temperatures may be written with sides of one.
        vector = last != "weight" and sum(side > 1 for side in parameter.shape) <= 1
        if words & _WORDS or token or vector or name.startswith(tuple(parts)):
            named.add(name)
    return named
