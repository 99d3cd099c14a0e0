"""Whether a model looks at its images: tried, as no structure says what is added to what."""

import warnings

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from visionpe.attaching.refusals import image_channels


def sees(model: nn.Module, size: tuple[int, int]) -> bool:
    """Whether two random images give two outputs.

    Raises:
        ValueError: if the model does not take images of this size.

    >>> sees(nn.Conv2d(3, 1, 3), (4, 5))
    True
    """
    modes = [(module, module.training) for module in model.modules()]
    first = next(model.parameters(), torch.zeros(()))
    with torch.no_grad(), torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        images = torch.randn(2, image_channels(model, size), *size).to(first)
        model.eval()
        try:
            out = model(images)
        except Exception as error:
            raise ValueError(
                f"`size` must be that of images that {type(model).__name__} takes, but with "
                f"{size[0]} x {size[1]} pixels it fails: {' '.join(str(error).split())}"
            ) from error
        finally:
            for module, mode in modes:
                module.training = mode
    tensors = [x for x in tree_leaves(out) if isinstance(x, Tensor)]
    return any(len(x) == 2 and not torch.equal(x[0], x[1]) for x in tensors)
