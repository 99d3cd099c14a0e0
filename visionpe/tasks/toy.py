"""The tasks on Not-so-Clevr, arXiv 1807.03247: find the cell, paint the square, tell the place.

The networks are arguments; what each is trained on and measured by is here. Validation and test run
over the train part and the test part of the split and log `train/...` and `test/...`; nothing is
chosen by the test part: the checkpoint that is kept as the best is the train part's.
"""

from typing import final

import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor, nn
from torch.optim import Optimizer
from typing_extensions import override

from visionpe.models.sampled_softmax import CellSampler
from visionpe.models.toy import MapToPoint, PointToImage
from visionpe.tasks.toy_base import Batch, ToyTask

SQUARE = 81  # painted cells of an image


@final
class CoordinateClassification(ToyTask):
    """From a point to the one cell that it names, by a softmax over the canvas.

    Metrics: `accuracy` (the largest of all cells' logits is the target's) and `nll` (nats), both
    over all 4,096 cells whatever the training samples.

    Args:
        network: from points `b 2` to logits of all cells, or of the cells it is given.
        sampler: estimates the training softmax from a few cells; None trains on all of them, as
            the paper does.
        l2: weight of the sum of the squared kernels in the loss.
    """

    monitor = "train/nll"

    def __init__(
        self, network: nn.Module, sampler: CellSampler | None = None, l2: float = 0.0
    ) -> None:
        super().__init__(network, l2)
        self.sampler = sampler

    @override
    def loss(self, points: Float[Tensor, "b 2"], images: UInt8[Tensor, "b 1 h w"]) -> Tensor:
        if self.sampler is None:
            return F.cross_entropy(self.network(points), cell_of(points, images))
        cells, log_rate = self.sampler(points, *images.shape[-2:])
        logits = self.network(points, cells) - log_rate
        return F.cross_entropy(logits, cells.new_zeros(len(cells)))  # the target comes first

    @override
    def measures(
        self, points: Float[Tensor, "b 2"], images: UInt8[Tensor, "b 1 h w"]
    ) -> dict[str, Tensor]:
        logits, target = self.network(points), cell_of(points, images)
        right = (logits.argmax(-1) == target).float().mean()
        return {"accuracy": right, "nll": F.cross_entropy(logits, target)}


@final
class CoordinateRendering(ToyTask):
    """From a point to the image of the square around it.

    Metrics: `iou` of the image cut at probability 0.5, and `nll` (nats a pixel).

    Args:
        network: from points `b 2` to logits of all cells.
        l2: weight of the sum of the squared kernels in the loss.
        prior: start from the share of painted cells (`PointToImage.start_from_prior`), which is
            not the paper's; the loss is summed over cells, as the paper's is.

        locate_decay: decoupled weight decay (AdamW's, arXiv 1711.05101) of the part that finds the
            cell, and of that part alone: the part that paints dies of it.

    Raises:
        TypeError: if `prior` or `locate_decay` is set for another network than `PointToImage`.
    """

    monitor = "train/nll"

    def __init__(
        self,
        network: nn.Module,
        l2: float = 0.0,
        prior: bool = False,
        locate_decay: float = 0.0,
    ) -> None:
        super().__init__(network, l2)
        self.locate_decay = locate_decay
        if not isinstance(network, PointToImage):
            if prior or locate_decay:
                raise TypeError(
                    f"`network` must be a PointToImage for `prior` and `locate_decay`, but is a "
                    f"{type(network).__name__}. Leave them out."
                )
        elif prior:
            network.start_from_prior(SQUARE)

    @override
    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        if self.locate_decay and isinstance(self.network, PointToImage):
            rate = optimizer.param_groups[0]["lr"] * self.locate_decay
            with torch.no_grad():
                for parameter in self.network.locate.parameters():
                    parameter.mul_(1 - rate)

    @override
    def loss(self, points: Float[Tensor, "b 2"], images: UInt8[Tensor, "b 1 h w"]) -> Tensor:
        logits: Tensor = self.network(points)
        target = images.flatten(1).to(logits.dtype)
        return F.binary_cross_entropy_with_logits(logits, target, reduction="sum") / len(logits)

    @override
    def measures(
        self, points: Float[Tensor, "b 2"], images: UInt8[Tensor, "b 1 h w"]
    ) -> dict[str, Tensor]:
        logits: Tensor = self.network(points)
        square, painted = images.flatten(1).bool(), logits > 0
        overlap = (square & painted).sum(-1) / (square | painted).sum(-1)
        nll = F.binary_cross_entropy_with_logits(logits, square.to(logits.dtype))
        return {"iou": overlap.mean(), "nll": nll}


@final
class CoordinateRegression(ToyTask):
    """From a map with one cell set to that cell's place.

    Metrics: `pixel_error`, the mean distance in cells, and `largest_error`, the largest of a batch.

    Args:
        network: from maps `b 1 h w` to places `b 2`.
        l2: weight of the sum of the squared kernels in the loss.
        scaled: train on places in [-1, 1], where the coordinates lie; the paper trains on cells.
        brightness: value of the set cell, 1 in the paper.
        last_scale: multiplies the last kernel at the start (`MapToPoint.shrink_last`), 1 in the
            paper.

    Raises:
        ValueError: if `brightness` is not positive.
        TypeError: if `last_scale` is not 1 for another network than `MapToPoint`.
    """

    monitor = "train/pixel_error"

    def __init__(
        self,
        network: nn.Module,
        l2: float = 0.0,
        scaled: bool = False,
        brightness: float = 1.0,
        last_scale: float = 1.0,
    ) -> None:
        super().__init__(network, l2)
        if not brightness > 0:
            raise ValueError(f"`brightness` must be positive, but is {brightness}.")
        if last_scale != 1:
            if not isinstance(network, MapToPoint):
                raise TypeError(
                    f"`network` must be a MapToPoint to have its last kernel scaled, but is a "
                    f"{type(network).__name__}. Set `last_scale: 1.0`."
                )
            network.shrink_last(last_scale)
        self.scaled = scaled
        self.brightness = brightness

    @override
    def loss(self, points: Float[Tensor, "b 2"], images: UInt8[Tensor, "b 1 h w"]) -> Tensor:
        target = self._scale(points, images) if self.scaled else points
        return F.mse_loss(self.network(self.brightness * one_hot(points, images)), target)

    @override
    def measures(
        self, points: Float[Tensor, "b 2"], images: UInt8[Tensor, "b 1 h w"]
    ) -> dict[str, Tensor]:
        distance = (self.places(points, images) - points).norm(dim=-1)
        return {"pixel_error": distance.mean(), "largest_error": distance.max()}

    def places(
        self, points: Float[Tensor, "b 2"], images: UInt8[Tensor, "b 1 h w"]
    ) -> Float[Tensor, "b 2"]:
        """The network's answers in cells."""
        answer: Tensor = self.network(self.brightness * one_hot(points, images))
        last = answer.new_tensor(images.shape[-2:]) - 1
        return (answer + 1) / 2 * last if self.scaled else answer

    def predict_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """The network's answers in cells."""
        return self.places(*batch)

    @staticmethod
    def _scale(points: Tensor, images: Tensor) -> Tensor:
        return points * (2 / (points.new_tensor(images.shape[-2:]) - 1)) - 1


def cell_of(points: Float[Tensor, "b 2"], images: UInt8[Tensor, "b 1 h w"]) -> Tensor:
    """The number of the cell at each point, in reading order."""
    return (points[:, 0] * images.shape[-1] + points[:, 1]).long()


def one_hot(
    points: Float[Tensor, "b 2"], images: UInt8[Tensor, "b 1 h w"]
) -> Float[Tensor, "b 1 h w"]:
    """Maps with a 1 in the cell at each point."""
    maps = points.new_zeros(len(points), images.shape[-2] * images.shape[-1])
    return maps.scatter_(1, cell_of(points, images)[:, None], 1.0).view(images.shape)
