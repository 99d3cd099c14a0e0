"""Augmentation of a whole batch of small images at once, with exact frames.

Per-image Python is what augmentation of 32x32 images costs; here a batch is a handful of tensor
operations, on any device. Random numbers depend on `(seed, epoch, index)` of each sample alone.
"""

import math
from typing import final

import torch
import torch.nn.functional as F
from jaxtyping import Float32, Int64, Shaped
from torch import Tensor

from visionpe.data.draws import uniforms
from visionpe.frame import Frame
from visionpe.grids import grid

_DRAWS = 6  # vertical and horizontal place, mirror, area, aspect ratio, angle: always in this order


@final
class BatchAugment:
    """Random windows of the padded image, mirrored, resized and turned as asked.

    With the first two alone, pixels are moved by whole numbers and keep their values and type.
    Otherwise they are interpolated linearly, and become floats. What lies outside is black.

    Args:
        padding: pixels added on each side, of which a random window keeps the image's size.
        flip: probability of a mirror image, left to right.
        scale: smallest and largest area of a window, as a share of the image's; drawn uniformly.
            One draw, and the window cut to the image if it is longer: torchvision draws again.
        ratio: smallest and largest width by height of such a window; the logarithm is uniform.
        rotate: largest angle in degrees to turn by, either way, about the view's centre.

    Raises:
        ValueError: if an argument is out of its range.

    >>> images = torch.arange(6.0).view(1, 1, 2, 3)
    >>> moved, frame = BatchAugment(padding=0, flip=1.0)(images, torch.tensor([0]), seed=0, epoch=0)
    >>> moved.tolist(), frame.affine.tolist()
    ([[[[2.0, 1.0, 0.0], [5.0, 4.0, 3.0]]]], [[[1.0, 0.0, 0.0], [0.0, -1.0, 3.0]]])
    """

    def __init__(
        self,
        padding: int = 4,
        flip: float = 0.5,
        *,
        scale: tuple[float, float] | None = None,
        ratio: tuple[float, float] = (3 / 4, 4 / 3),
        rotate: float = 0.0,
    ) -> None:
        if padding < 0:
            raise ValueError(f"`padding` must be at least 0 pixels, but is {padding}.")
        if not 0 <= flip <= 1:
            raise ValueError(f"`flip` must be a probability, but is {flip}.")
        if scale is not None and not 0 < scale[0] <= scale[1] <= 1:
            raise ValueError(f"`scale` must be two shares in (0, 1], rising, but is {scale}.")
        if not 0 < ratio[0] <= ratio[1]:
            raise ValueError(f"`ratio` must be two positive numbers, rising, but is {ratio}.")
        if not 0 <= rotate <= 180:
            raise ValueError(f"`rotate` must be 0 to 180 degrees, but is {rotate}.")
        self.padding = padding
        self.flip = flip
        self.scale = scale
        self.ratio = ratio
        self.rotate = rotate

    def __call__(
        self,
        images: Shaped[Tensor, "b c h w"],
        index: Int64[Tensor, " b"],
        *,
        seed: int,
        epoch: int,
    ) -> tuple[Shaped[Tensor, "b c h w"], Frame]:
        """The augmented images with their frames.

        Args:
            images: uint8, or floats in [0, 1].
            index: the samples' rows in their data set.
            seed: the run's.
            epoch: counted from 0.
        """
        draws = uniforms(index, _DRAWS, seed=seed, epoch=epoch)
        if self.scale is None and not self.rotate:
            corner = (draws[:, :2] * (2 * self.padding + 1)).long() - self.padding
            mirrored = draws[:, 2] < self.flip
            return windows(images, corner, mirrored, self.padding), _frame(images, corner, mirrored)
        return self._warped(images, draws)

    def _warped(
        self, images: Shaped[Tensor, "b c h w"], draws: Float32[Tensor, "b k"]
    ) -> tuple[Float32[Tensor, "b c h w"], Frame]:
        h, w = images.shape[-2:]
        size = torch.tensor([h, w], dtype=torch.float32, device=images.device)
        whole = size.repeat(len(images), 1)
        window = whole
        if self.scale is not None:
            low, high = self.scale
            area = low + (high - low) * draws[:, 3]
            low, high = (math.log(each) for each in self.ratio)
            ratio = torch.exp(low + (high - low) * draws[:, 4])  # width by height
            sides = torch.stack([(area * h * w / ratio).sqrt(), (area * h * w * ratio).sqrt()], -1)
            window = sides.minimum(size)
        corner = draws[:, :2] * (size - window + 2 * self.padding) - self.padding
        # A crop, resized; written out, since `Frame.crop` looks at each size on the host.
        affine = torch.cat([torch.diag_embed(window / size), corner[..., None]], -1)
        frame = Frame(affine, whole, whole.clone())
        if self.rotate:
            frame = _turned(frame, (2 * draws[:, 5] - 1) * self.rotate)
        mirrored = (draws[:, 2] < self.flip)[:, None, None]
        affine = torch.where(mirrored, frame.hflip().affine, frame.affine)
        frame = Frame(affine, frame.view, frame.extent)
        return sample(images, frame), frame

    def __repr__(self) -> str:
        return (
            f"BatchAugment({self.padding}, {self.flip}, scale={self.scale}, ratio={self.ratio}, "
            f"rotate={self.rotate})"
        )


def windows(
    images: Shaped[Tensor, "b c h w"],
    corner: Int64[Tensor, "b 2"],
    mirrored: Shaped[Tensor, " b"],
    padding: int,
) -> Shaped[Tensor, "b c h w"]:
    """The window of each image whose upper left corner is at `corner`, mirrored or not.

    Args:
        images: of any type.
        corner: `(y, x)` in pixels of the image, `-padding` to `padding`.
        mirrored: whether a window is turned left to right.
        padding: how far a window may reach outside, where all is 0.
    """
    b, c, h, w = images.shape
    padded = F.pad(images, (padding,) * 4)
    width = w + 2 * padding
    i, j = (torch.arange(n, device=images.device) for n in (h, w))
    rows = (corner[:, :1] + padding + i) * width  # b h
    columns = corner[:, 1:] + padding + torch.where(mirrored[:, None], w - 1 - j, j)  # b w
    flat = (rows[:, :, None] + columns[:, None, :]).view(b, 1, h * w)
    # One gather: indexing windows of an `unfold` is half as fast.
    return padded.flatten(2).gather(2, flat.expand(b, c, h * w)).view(b, c, h, w)


def sample(images: Shaped[Tensor, "b c h w"], frame: Frame) -> Float32[Tensor, "b c h w"]:
    """What a view of each image shows, interpolated linearly; black outside.

    Args:
        images: uint8, or floats in [0, 1].
        frame: where the views sit in the images, in the images' size.
    """
    h, w = images.shape[-2:]
    values = images.float() / 255 if images.dtype == torch.uint8 else images
    places = grid(h, w, frame)
    # Not the sampler's own black: it would mix with the outermost pixels.
    there = (places.abs() < 1).all(1, keepdim=True)
    places = places.flip(1).permute(0, 2, 3, 1)  # b 2 h w -> b h w 2, as (x, y)
    return F.grid_sample(values, places, padding_mode="border", align_corners=False) * there


def _frame(
    images: Shaped[Tensor, "b c h w"], corner: Int64[Tensor, "b 2"], mirrored: Shaped[Tensor, " b"]
) -> Frame:
    """The frame of `windows`, in few operations."""
    b, _, h, w = images.shape
    size = torch.tensor([h, w], dtype=torch.float32, device=images.device).repeat(b, 1)
    affine = torch.eye(2, 3, device=images.device).repeat(b, 1, 1)
    affine[:, 1, 1] = 1 - 2 * mirrored.float()
    affine[:, :, 2] = corner
    affine[:, 1, 2] += w * mirrored
    return Frame(affine, size, size.clone())


def _turned(frame: Frame, degrees: Float32[Tensor, " b"]) -> Frame:
    """`Frame.rotate`, by an angle for each sample."""
    angle = torch.deg2rad(degrees)
    cos, sin = angle.cos(), angle.sin()
    linear = torch.stack([torch.stack([cos, sin], -1), torch.stack([-sin, cos], -1)], -2)
    centre = frame.view / 2
    offset = centre - (linear * centre[:, None, :]).sum(-1)
    return frame.warp(torch.cat([linear, offset[..., None]], -1))
