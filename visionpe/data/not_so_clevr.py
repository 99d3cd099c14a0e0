"""Not-so-Clevr, arXiv 1807.03247: all 3,136 places of a 9x9 square on a 64x64 canvas, in memory."""

from typing import Literal, NamedTuple

import lightning as L
import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from visionpe.data.loader import TensorLoader
from visionpe.data.under_lightning import overfits

CANVAS = 64  # cells an axis
REACH = 4  # the square is 9 = 2 * 4 + 1 cells wide
Split = Literal["quadrant", "uniform"]


class Images(NamedTuple):
    """The data set, `n` = 3,136.

    Attributes:
        points: `n 2`; the squares' centres `(y, x)` in cells, 4..59.
        images: `n 1 64 64`; 1 in the square, 0 outside. (The released images are painted 128 of
            255, which caps the overlap with them near 0.5.)
    """

    points: Float[Tensor, "n 2"]
    images: UInt8[Tensor, "n 1 h w"]


def images() -> Images:
    """Every image, in the paper's order: x slowest, then y.

    >>> data = images()
    >>> data.points[1].tolist(), int(data.images[1].sum())
    ([5.0, 4.0], 81)
    """
    place = torch.arange(REACH, CANVAS - REACH)
    points = torch.cartesian_prod(place, place).flip(-1)  # x, y -> y, x
    cells = torch.arange(CANVAS)
    near = (cells - points[:, :, None]).abs() <= REACH  # n 2 64
    squares = near[:, 0, :, None] & near[:, 1, None, :]
    return Images(points.float(), squares[:, None].to(torch.uint8))


def held_out(split: Split) -> Bool[Tensor, " n"]:
    """Which of the images are the test set of a split.

    Args:
        split: "quadrant": both coordinates above 32 (729 of 3,136). "uniform": one in four, drawn
            as the released code does (768; the paper's text says one in five).

    Raises:
        ValueError: if `split` is neither.

    >>> int(held_out("quadrant").sum()), int(held_out("uniform").sum())
    (729, 768)
    """
    if split == "quadrant":
        return (images().points / CANVAS > 0.5).all(-1)
    if split == "uniform":
        draws = np.random.RandomState(20202).random_sample(len(images().points))
        return torch.from_numpy(draws < 0.25)
    raise ValueError(f"`split` must be 'quadrant' or 'uniform', but is {split!r}.")


class NotSoClevr(L.LightningDataModule):
    """Batches `(points, images)` of Not-so-Clevr; nothing is downloaded.

    Validation and test go over both parts of the split, train first, in two loaders.

    Args:
        split: "quadrant" (2,407 train, 729 test) or "uniform" (2,368 train, 768 test).
        batch_size: images a training batch.
        eval_batch_size: images a batch of validation, test and prediction. A few are fastest: with
            many, a canvas-wide layer outgrows what the C library keeps for reuse.
        seed: of the order of the training images.

    Raises:
        ValueError: if `split` is unknown or a batch size below 1.
    """

    def __init__(
        self,
        split: Split = "quadrant",
        batch_size: int = 32,
        eval_batch_size: int = 8,
        seed: int = 0,
    ) -> None:
        super().__init__()
        test = held_out(split)
        data = images()
        self.train_part = Images(*(part[~test] for part in data))
        self.test_part = Images(*(part[test] for part in data))
        self.all = data
        for name, size in (("batch_size", batch_size), ("eval_batch_size", eval_batch_size)):
            if size < 1:
                raise ValueError(f"`{name}` must be at least 1 image, but is {size}.")
        self.batch_size = batch_size
        self.eval_batch_size = eval_batch_size
        self.seed = seed

    def train_dataloader(self) -> TensorLoader:
        """The train part, shuffled anew each epoch."""
        return TensorLoader(
            *self.train_part,
            batch_size=self.batch_size,
            shuffle=not overfits(self),
            seed=self.seed,
        )

    def val_dataloader(self) -> list[TensorLoader]:
        """The train part and the test part, in order."""
        return [self._in_order(self.train_part), self._in_order(self.test_part)]

    def test_dataloader(self) -> list[TensorLoader]:
        """The train part and the test part, in order."""
        return self.val_dataloader()

    def predict_dataloader(self) -> TensorLoader:
        """All images, in order."""
        return self._in_order(self.all)

    def _in_order(self, part: Images) -> TensorLoader:
        return TensorLoader(*part, batch_size=self.eval_batch_size, shuffle=False)
