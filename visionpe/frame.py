"""Where a tensor sits in the image it was cut from.

A `Frame` follows an image through crops, flips, resizes, pads and rotations, so that a pixel
keeps its coordinate whatever was done to the picture. Lengths are pixels, points are `(y, x)`,
and the pixel in row `i` covers `[i, i + 1)`: its centre is at `i + 0.5`.
"""

import math
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

Length = float | Tensor  # one length for all samples, or one per sample (`*b`)


class Frame(NamedTuple):
    """Maps points of a view to points of the original image, one affine map per sample.

    A named tuple of tensors: the default collate stacks it, `Trainer` and data loaders move and
    pin it, and it passes through `torch.compile` and `torch.export` like any tuple of tensors.
    Every method returns a new frame; none changes the tensors of the old one.

    Attributes:
        affine: `*b 2 3`; column 2 is the offset: `original = affine[:, :2] @ view + affine[:, 2]`,
            in pixels, points `(y, x)`.
        view: `*b 2`; height and width of the view, in pixels of the view.
        extent: `*b 2`; height and width of the original image, in its pixels.

    >>> Frame.identity(4, 6).crop(1, 2, h=2, w=3).affine.tolist()
    [[1.0, 0.0, 1.0], [0.0, 1.0, 2.0]]
    """

    affine: Float[Tensor, "*b 2 3"]
    view: Float[Tensor, "*b 2"]
    extent: Float[Tensor, "*b 2"]

    @staticmethod
    def identity(h: int, w: int, *, device: torch.device | str | None = None) -> "Frame":
        """The frame of a whole image of `h x w` pixels, without a batch axis.

        In float32, or in torch's default dtype where that is wider: pixels cannot be counted in
        half precision.

        Raises:
            ValueError: if `h` or `w` is below 1.
        """
        _require_size("h", h)
        _require_size("w", w)
        dtype = torch.promote_types(torch.get_default_dtype(), torch.float32)
        size = torch.tensor([h, w], dtype=dtype, device=device)
        return Frame(torch.eye(2, 3, dtype=dtype, device=device), size, size.clone())

    @staticmethod
    def stack(frames: "list[Frame]") -> "Frame":
        """Frames of one batch shape along a new first axis, as the default collate stacks them."""
        if not frames:
            raise ValueError("`frames` must hold at least one frame, but is empty.")
        return Frame(*(torch.stack(parts) for parts in zip(*frames, strict=True)))

    def sample(self, index: int) -> "Frame":
        """The frame of one sample of a batch. (`frame[0]`, as of any tuple, is the affine map.)"""
        if self.view.dim() == 1:
            raise ValueError("`frame` must be batched to take a sample, but has no batch axis.")
        return Frame(self.affine[index], self.view[index], self.extent[index])

    def whole(self) -> bool:
        """Whether the view of every sample is the whole image as it is.

        Looks at the numbers: waits for a device.

        >>> whole = Frame.identity(4, 6)
        >>> whole.whole(), whole.hflip().whole(), whole.resize(2, 3).whole()
        (True, False, False)
        """
        still = torch.eye(2, 3, dtype=self.affine.dtype, device=self.affine.device)
        return bool((self.affine == still).all() & (self.view == self.extent).all())

    def then(self, inner: "Frame") -> "Frame":
        """The frame of a view within this view: `inner` says where it sits in this one.

        Raises:
            ValueError: if the image that `inner` was cut from has another size than this view.
        """
        if not torch.equal(*torch.broadcast_tensors(inner.extent, self.view)):
            raise ValueError(
                f"`inner` must be cut from an image of this view's size {self.view.tolist()}, "
                f"but its extent is {inner.extent.tolist()}."
            )
        return self.warp(inner.affine, view=inner.view)

    def warp(
        self, affine: Float[Tensor, "*b 2 3"], *, view: Float[Tensor, "*b 2"] | None = None
    ) -> "Frame":
        """A view whose point `p` shows point `affine @ (p, 1)` of this view, in pixels, `(y, x)`.

        Args:
            affine: `*b 2 3`, from new view to this view: the matrix that a resampler is given.
            view: size of the new view, this view's if left out.
        """
        affine = affine.to(self.affine)
        linear, offset = self.affine[..., :2], self.affine[..., 2:]
        # Sums written out: a matmul may round 1 * p + 0 * q in lower precision on some devices.
        product = (linear[..., :, :, None] * affine[..., None, :, :]).sum(-2)  # *b 2 2 3 -> *b 2 3
        moved = torch.cat([product[..., :2], product[..., 2:] + offset], -1)
        size = self.view if view is None else view.to(self.view)
        batch = moved.shape[:-2]
        return Frame(moved, size.expand(*batch, 2), self.extent.expand(*batch, 2))

    def crop(self, top: Length, left: Length, *, h: Length, w: Length) -> "Frame":
        """The window of `h x w` pixels whose upper left corner is at `(top, left)` of this view.

        The window may reach outside the view: that is a pad.

        Raises:
            ValueError: if `h` or `w` is not positive.
        """
        _require_size("h", h)
        _require_size("w", w)
        return self._scaled((1.0, 1.0), (top, left), (h, w))

    def pad(
        self, *, top: Length = 0, left: Length = 0, bottom: Length = 0, right: Length = 0
    ) -> "Frame":
        """This view with pixels added around it; cells there lie outside the image (`inside`)."""
        h, w = self.view.unbind(-1)
        return self.crop(-top, -left, h=h + top + bottom, w=w + left + right)

    def resize(self, h: int, w: int) -> "Frame":
        """This view resampled to `h x w` pixels, edges on edges (`align_corners=False`).

        Raises:
            ValueError: if `h` or `w` is below 1.
        """
        _require_size("h", h)
        _require_size("w", w)
        rows, columns = self.view.unbind(-1)
        return self._scaled((rows / h, columns / w), (0.0, 0.0), (h, w))

    def hflip(self) -> "Frame":
        """This view mirrored left to right."""
        h, w = self.view.unbind(-1)
        return self._scaled((1.0, -1.0), (0.0, w), (h, w))

    def vflip(self) -> "Frame":
        """This view mirrored top to bottom."""
        h, w = self.view.unbind(-1)
        return self._scaled((-1.0, 1.0), (h, 0.0), (h, w))

    def rotate(self, degrees: float) -> "Frame":
        """This view turned counter-clockwise about its centre as by torchvision, its size kept."""
        cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
        # The new view at p shows the old one at R^-1 (p - centre) + centre; y points down.
        inverse = self.view.new_tensor([[cos, sin], [-sin, cos]])
        centre = self.view / 2
        offset = centre - (inverse * centre[..., None, :]).sum(-1)
        linear = inverse.expand(*offset.shape[:-1], 2, 2)
        return self.warp(torch.cat([linear, offset[..., None]], -1))

    def tiles(self, h: int, w: int) -> "Frame":
        """The view cut into tiles of `h x w` pixels, in reading order along a new last batch axis.

        Tiles of the last row and column reach over the edge if the view is no multiple of theirs.

        Raises:
            ValueError: if `h` or `w` is below 1, or the samples of a batch differ in size, or
                there are none.
        """
        _require_size("h", h)
        _require_size("w", w)
        sizes = self.view.reshape(-1, 2)
        if not len(sizes):
            raise ValueError("`frame` must hold at least one view to be tiled, but is empty.")
        if not bool((sizes == sizes[:1]).all()):
            raise ValueError("`frame` must hold views of one size to be tiled, but sizes differ.")
        rows, columns = (math.ceil(v / t) for v, t in zip(sizes[0].tolist(), (h, w), strict=True))
        top = torch.arange(rows, device=self.view.device).mul(h).repeat_interleave(columns)
        left = torch.arange(columns, device=self.view.device).mul(w).repeat(rows)
        whole = Frame(
            self.affine[..., None, :, :], self.view[..., None, :], self.extent[..., None, :]
        )
        return whole.crop(top, left, h=h, w=w)

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> "Frame":
        """The same frame on another device."""
        return Frame(*(part.to(device, non_blocking=non_blocking) for part in self))

    def _scaled(
        self,
        scale: tuple[Length, Length],
        offset: tuple[Length, Length],
        view: tuple[Length, Length],
    ) -> "Frame":
        """A warp that leaves rows rows and columns columns."""
        like = self.affine
        parts = [
            torch.as_tensor(v, dtype=like.dtype, device=like.device)
            for v in (*scale, *offset, *view)
        ]
        sy, sx, oy, ox, h, w = torch.broadcast_tensors(*parts)
        zero = torch.zeros_like(sy)
        rows = [torch.stack([sy, zero, oy], -1), torch.stack([zero, sx, ox], -1)]
        return self.warp(torch.stack(rows, -2), view=torch.stack([h, w], -1))


def _require_size(name: str, value: Length) -> None:
    if isinstance(value, Tensor) and not value.numel():
        return  # of no sample
    smallest = float(value.min()) if isinstance(value, Tensor) else value
    if not smallest > 0 or (isinstance(value, int) and value < 1):
        raise ValueError(f"`{name}` must be a positive number of pixels, but is {smallest}.")
