"""The smallest images that a model takes, of the few sizes that are tried."""

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from experiments.surveying.models import VISION, Subject, make

# Not square where that is possible: patches of 16 and 32, of 14, pools of 3, windows of 7 or 8.
SMALL = (
    *((64, 96), (56, 84), (64, 64), (56, 56), (96, 160), (96, 144)),
    *((112, 112), (128, 192), (128, 128)),
)
# Before them for giants that are made for a size: 2 x 3 patches, a quarter of the time.
SMALLEST, GIANT = ((32, 48), (28, 42)), 10**9  # parameters


class Made(NamedTuple):
    """A model, and images that it takes."""

    model: nn.Module
    images: Tensor
    size: tuple[int, int]
    told: bool  # whether the model was made for this size


def smallest(subject: Subject) -> Made:
    """The model, made for the first of these sizes that it takes; at last for its own."""
    whole = _told_its_size(subject)
    told = whole is not None
    giant = whole is not None and sum(p.numel() for p in whole.parameters()) > GIANT
    del whole
    sizes = (*SMALLEST, *SMALL) if giant else SMALL
    for size in (s for s in sizes if s[0] * s[1] < subject.size[0] * subject.size[1]):
        try:
            made = at(subject, size, told=told)
        except Exception:  # whatever the model says of a size that it does not take
            continue
        if made is not None:
            return made
    made = at(subject, subject.size, told=False)
    if made is None:
        raise ValueError(f"{subject.name} gives numbers that are not finite.")
    return made


def at(subject: Subject, size: tuple[int, int], *, told: bool) -> Made | None:
    """The model and images of one size; None: its outputs are not finite, or all zero."""
    model = make(subject, **(_told(subject, size) if told else {}))
    images = torch.randn(2, subject.channels, *size, generator=torch.Generator().manual_seed(1))
    settle(model, images)
    outputs = run(model, images)
    if outputs and all(bool(y.isfinite().all() & y.any()) for y in outputs):
        return Made(model, images, size, told)
    return None


def settle(model: nn.Module, images: Tensor) -> None:
    """Batch norms take the statistics of one forward, so that nothing fades or bursts."""
    norms = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.train()
        norm.momentum = 1.0
    try:
        run(model, images)
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.eval()
            norm.momentum = momentum


def run(model: nn.Module, images: Tensor) -> list[Tensor]:
    """All tensors that the model returns."""
    with torch.no_grad():
        return [y for y in tree_leaves(model(images)) if isinstance(y, Tensor)]


def _told(subject: Subject, size: tuple[int, int]) -> dict[str, Any]:
    """The option that says which size a model is made for, if it has one."""
    if subject.name.startswith(VISION):
        return {"image_size": size[0]}  # of one side: other sizes are refused at the first call
    return {"img_size": size}


def _told_its_size(subject: Subject) -> nn.Module | None:
    """The model, told the size that it is made for; None: it takes no such option."""
    try:
        return make(subject, **_told(subject, subject.size))
    except Exception:
        return None
