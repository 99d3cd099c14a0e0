"""What a classifier is scored by: accuracy, and how far its probabilities can be trusted."""

from typing import Any

from torchmetrics import MetricCollection
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
