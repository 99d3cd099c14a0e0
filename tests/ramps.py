"""Images whose pixel values are their coordinates: what an augmentation did can be read off."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from visionpe import Frame, grid


def ramp(h: int, w: int, *, batch: int | None = None) -> Tensor:
    """An image of `(y, x, 1)` at pixel centres, `3 h w`, or a batch of the same."""
    y, x = torch.arange(h) + 0.5, torch.arange(w) + 0.5
    image = torch.stack([y[:, None].expand(h, w), x.expand(h, w), torch.ones(h, w)])
    return image if batch is None else image.repeat(batch, 1, 1, 1)


def points(frame: Frame) -> Tensor:
    """Where each pixel of a view lies in the original, in pixels, `*b 2 h w`; views of one size."""
    h, w = (int(n) for n in frame.view.reshape(-1, 2)[0])
    return (grid(h, w, frame) + 1) / 2 * frame.extent[..., None, None]


def off(view: Tensor, frame: Frame, *, margin: float = 1.5) -> tuple[float, int]:
    """How far the pixels of a view of a ramp are from where its frame says, at most.

    Only of pixels that show the image, `margin` pixels of the original or of the view, whichever
    are longer, within the edge of what is shown: nearer, a resampler repeats or mixes.

    Returns:
        The largest distance along an axis in pixels of the original, and how many pixels were
        compared.
    """
    there = points(frame)
    step = frame.affine[..., :2].norm(dim=-2).reshape(-1, 2).amin(0)  # of the original, for one
    reach = [math.ceil(margin * max(1.0, 1 / each)) for each in step.tolist()]
    shown = ((view[..., 2, :, :] - 1).abs() < 2e-6).float()
    size = [2 * each + 1 for each in reach]
    hidden = F.pad(1 - shown, (reach[1], reach[1], reach[0], reach[0]), value=1.0)
    inner = (
        F.max_pool2d(hidden.reshape(-1, 1, *hidden.shape[-2:]), size, 1).reshape(shown.shape) == 0
    )
    error = (view[..., :2, :, :] - there).abs().amax(-3)[inner]
    return float(error.max()), len(error)
