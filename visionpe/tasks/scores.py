"""What a classifier is scored by: accuracy, and how far its probabilities can be trusted."""

from typing import Any, final

import torch
from torch import Tensor
from torchmetrics import Metric, MetricCollection
from torchmetrics.classification import MulticlassAccuracy, MulticlassCalibrationError

_BINS = 15  # of the calibration error, arXiv 1706.04599
_TOP = 5


def make_scores(num_classes: int) -> MetricCollection:
    """`acc1`, `acc5` where there are more than five classes, and `ece`; of probabilities.

    Args:
        num_classes: of the probabilities, `b k`.

    >>> list(make_scores(5)), list(make_scores(6))
    (['acc1', 'ece'], ['acc1', 'acc5', 'ece'])
    """
    found: dict[str, Any] = {
        "acc1": MulticlassAccuracy(num_classes, top_k=1, average="micro"),
        "ece": MulticlassCalibrationError(num_classes, n_bins=_BINS),
    }
    if num_classes > _TOP:
        found["acc5"] = MulticlassAccuracy(num_classes, top_k=_TOP, average="micro")
    return MetricCollection(found, compute_groups=False)


@final
class Mean(Metric):
    """The mean over all samples of all batches and processes, of batches' means; NaN stays NaN.

    Lightning's own mean over processes counts samples in whole numbers a process, cut off.

    >>> mean = Mean()
    >>> mean.update(torch.tensor(1.0), 3)
    >>> mean.update(torch.tensor(5.0), 1)
    >>> mean.compute()
    tensor(2.)
    """

    full_state_update = False
    total: Tensor
    samples: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("total", torch.zeros(()), dist_reduce_fx="sum")
        self.add_state("samples", torch.zeros(()), dist_reduce_fx="sum")

    def update(self, value: Tensor, samples: int) -> None:
        """Takes in the mean of a batch of so many samples."""
        self.total += value.detach().float() * samples
        self.samples += samples

    def compute(self) -> Tensor:
        """The mean."""
        return self.total / self.samples
