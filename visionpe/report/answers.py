"""What a trained task answers for every point of Not-so-Clevr, reduced to what figures need."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

from visionpe.data.not_so_clevr import CANVAS, Split, held_out, images
from visionpe.tasks.toy import (
    CoordinateClassification,
    CoordinateRegression,
    CoordinateRendering,
)
from visionpe.tasks.toy_base import ToyTask

_BATCH = 16  # points; 64 channels of as many canvases are 16 MiB, and stay near the processor


@dataclass(frozen=True)
class Answers:
    """Of a task, over all `n` points.

    Attributes:
        points: `(y, x)`, in cells.
        test: which points are held out.
        scores: the task's measure of each point: accuracy 0 or 1, overlap 0..1, or cells.
        errors: of each point, 0 if right: cells from the answer to the truth, or the missed
            overlap, 1 - IoU.
        places: the answers `(y, x)` in cells; for images, the points themselves.
        sums: probability, summed over the train part and the test part; zeros if the task has none.
        shown: the numbers of a few test points.
        maps: the probability maps of those; zeros if the task has none.
    """

    points: Float[Tensor, "n 2"]
    test: Bool[Tensor, " n"]
    scores: Float[Tensor, " n"]
    errors: Float[Tensor, " n"]
    places: Float[Tensor, "n 2"]
    sums: Float[Tensor, "2 h w"]
    shown: Int[Tensor, " k"]
    maps: Float[Tensor, "k h w"]

    def mean(self, *, test: bool) -> float:
        """The measure's mean over the test part or the train part."""
        return float(self.scores[self.test == test].double().mean())


@torch.inference_mode()
def answers(task: ToyTask, split: Split) -> Answers:
    """Evaluates a task on every point, over all cells whatever its training sampled.

    Args:
        task: in evaluation mode, on the CPU.
        split: which points were held out.

    Raises:
        ValueError: if the task is none of the three on Not-so-Clevr.
    """
    data, test = images(), held_out(split)
    n = len(test)
    shown = examples(data.points, test)
    row_of = {int(index): row for row, index in enumerate(shown)}
    scores, errors, places = torch.zeros(n), torch.zeros(n), data.points.clone()
    sums = torch.zeros(2, CANVAS * CANVAS)
    maps = torch.zeros(len(shown), CANVAS, CANVAS)
    for start in range(0, n, _BATCH):
        batch = slice(start, start + _BATCH)
        points, squares = data.points[batch], data.images[batch]
        if isinstance(task, CoordinateRegression):
            places[batch] = task.places(points, squares)
            scores[batch] = errors[batch] = (places[batch] - points).norm(dim=-1)
            continue
        logits: Tensor = task.network(points)
        if isinstance(task, CoordinateClassification):
            found = logits.argmax(-1)
            chance = logits.softmax(-1)
            places[batch] = torch.stack((found // CANVAS, found % CANVAS), -1).float()
            errors[batch] = (places[batch] - points).norm(dim=-1)
            scores[batch] = (errors[batch] == 0).float()
            for part in (0, 1):
                sums[part] += chance[test[batch] == bool(part)].sum(0)
        elif isinstance(task, CoordinateRendering):
            chance = logits.sigmoid()
            scores[batch] = overlap(logits, squares)
            errors[batch] = 1 - scores[batch]
        else:
            raise ValueError(
                "`task` must be one of CoordinateClassification, CoordinateRendering and "
                f"CoordinateRegression, but is {type(task).__name__}."
            )
        for offset in range(len(points)):
            if (row := row_of.get(start + offset)) is not None:
                maps[row] = chance[offset].view(CANVAS, CANVAS)
    square = sums.view(2, CANVAS, CANVAS)
    return Answers(data.points, test, scores, errors, places, square, shown, maps)


def overlap(logits: Float[Tensor, "b n"], squares: UInt8[Tensor, "b 1 h w"]) -> Float[Tensor, " b"]:
    """Intersection over union of each image, cut at probability 0.5, with its square."""
    truth, painted = squares.flatten(1).bool(), logits > 0
    return (truth & painted).sum(-1) / (truth | painted).sum(-1)


def examples(points: Float[Tensor, "n 2"], test: Bool[Tensor, " n"]) -> Int[Tensor, "4"]:
    """The numbers of four test points, one in each corner of the test part, chosen by place alone.

    Each is the test point nearest to an eighth of the part's extent from its corner.
    """
    held = points[test]
    low, high = held.amin(0), held.amax(0)
    inset = (high - low) / 8
    (top, left), (bottom, right) = (low + inset).tolist(), (high - inset).tolist()
    goals = points.new_tensor([[top, left], [top, right], [bottom, left], [bottom, right]])
    nearest = torch.cdist(goals, held).argmin(1)
    return test.nonzero()[:, 0][nearest]
