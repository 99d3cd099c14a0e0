"""The tasks in plain words, and what the paper reports of them: arXiv 1807.03247."""

from dataclasses import dataclass

from visionpe.report.recipe import CLASSIFICATION, REGRESSION, RENDERING


@dataclass(frozen=True)
class Reported:
    """A row that the paper reports; empty where it says nothing."""

    network: str
    encoding: str
    parameters: str
    split: str
    train: str
    test: str


TITLES = {
    CLASSIFICATION: "From coordinates to a cell",
    RENDERING: "From coordinates to a square",
    REGRESSION: "From a cell to coordinates",
}
IN_WORDS = {
    CLASSIFICATION: (
        "The network is told two numbers, the column x and the row y of a point, and has to mark "
        "that one cell on a canvas of 64 by 64 cells. It learns from a part of 3,136 such points "
        "and is then asked for the rest. With a ruler this is no task at all. For a network made "
        "of convolutions alone it is surprisingly hard, because a convolution does the same "
        "everywhere and does not know where on the canvas it is; it becomes easy once each cell "
        "carries its own coordinates."
    ),
    RENDERING: (
        "The network is told two numbers, the column x and the row y of a point, and has to paint "
        "a square of 9 by 9 cells around it on a canvas of 64 by 64 cells. It learns from a part "
        "of 3,136 such points and is then asked for the rest."
    ),
    REGRESSION: (
        "The network sees a canvas of 64 by 64 cells on which one cell is set, and has to say "
        "where: the column x and the row y. It learns from a part of 3,136 such points and is then "
        "asked for the rest."
    ),
}
REPORTED = {
    CLASSIFICATION: [
        Reported("CoordConv", "coordinates", "7,553", "both", "100 %", "100 %"),
        Reported(
            "transposed convolutions", "none", "46,465 to 1,632,001", "uniform", "", "at most 86 %"
        ),
        Reported("transposed convolutions", "none", "46,465 to 1,632,001", "quadrant", "", "0 %"),
    ],
    # Of these two the paper draws curves; only sizes are numbers in its code.
    RENDERING: [Reported("CoordConv", "coordinates", "8,074 to 24,210", "both", "", "")],
    REGRESSION: [
        Reported("CoordConv", "coordinates", "906", "both", "", ""),
        Reported("convolutions", "none", "72,850 or 159,330", "uniform", "", ""),
        Reported("convolutions", "none", "12,914 or 49,890", "quadrant", "", ""),
    ],
}
