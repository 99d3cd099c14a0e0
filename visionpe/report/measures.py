"""What each task is measured by, and how its values are printed."""

from collections.abc import Callable
from dataclasses import dataclass

from visionpe.report.answers import Answers
from visionpe.report.recipe import CLASSIFICATION, REGRESSION, RENDERING


@dataclass(frozen=True)
class Measure:
    """The measure of a task.

    Attributes:
        key: in `metrics.csv`.
        short, words: its name in a table and at an axis, there with its unit.
        print: writes a mean.
        factor: from a value to the unit of the axis.
    """

    key: str
    short: str
    words: str
    print: Callable[[float], str]
    factor: float = 1.0

    def note(self, mean: float) -> str:
        """A mean as the title of a panel says it."""
        form = {"accuracy": "{} right", "iou": "IoU {}"}.get(self.key, "mean {}")
        return form.format(self.print(mean))

    def notes(self, reply: Answers) -> dict[str, str]:
        """What the titles of the panels of both parts say."""
        return {
            "train_note": self.note(reply.mean(test=False)),
            "test_note": self.note(reply.mean(test=True)),
        }


MEASURES = {
    CLASSIFICATION: Measure(
        "accuracy",
        "accuracy",
        "accuracy, %",
        lambda x: f"{100 * x:.{0 if x in (0, 1) else 1}f} %",
        100,
    ),
    RENDERING: Measure("iou", "IoU", "overlap with the square, IoU", lambda x: f"{x:.3f}"),
    REGRESSION: Measure(
        "pixel_error", "mean error", "mean error, cells", lambda x: f"{x:.2f} cells"
    ),
}
