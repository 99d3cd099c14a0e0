"""Figures of probability maps: summed over the parts, and of single points."""

from collections.abc import Mapping

import torch

from visionpe import plots
from visionpe.data.not_so_clevr import CANVAS, REACH
from visionpe.report.answers import Answers
from visionpe.report.measures import Measure
from visionpe.report.picture import Picture, Rows, digits


def summed_picture(measure: Measure, replies: Mapping[str, Answers]) -> Picture:
    """The maps added up over all points of a part, beside the truth."""
    lines = {}
    for name, reply in replies.items():
        truth = torch.zeros(2, CANVAS, CANVAS)
        y, x = reply.points.long().T
        truth[reply.test.long(), y, x] = 1
        notes = measure.notes(reply)
        lines[name] = plots.Summed(truth[0], reply.sums[0], truth[1], reply.sums[1], **notes)
    figure, _ = plots.summed(lines)

    def rows() -> Rows:
        for name, line in lines.items():
            for part, truth, total in (("train", line[0], line[1]), ("test", line[2], line[3])):
                for y, x in torch.cartesian_prod(*2 * (torch.arange(CANVAS),)).tolist():
                    yield name, part, y, x, int(truth[y, x]), digits(total[y, x])

    return Picture(
        "summed_maps",
        "Where the networks put their points",
        "For every point the network gives a probability to each cell of the canvas. Here these "
        "maps are added up over all train points and over all test points. A network that has "
        "solved the task reproduces the truth to its left: one in each cell of the part and "
        "nothing elsewhere. Blue outside the truth is probability in wrong places; darker than the "
        "truth is probability of several points piled on one cell. The colours grow with the "
        "square root of the sum and end at 4.",
        figure,
        ("run", "part", "y", "x", "truth", "summed_probability"),
        rows(),
    )


def single_picture(replies: Mapping[str, Answers], *, squares: bool) -> Picture:
    """The maps of four test points; `squares` if they are painted images."""
    lines = {
        name: plots.Single(reply.maps, reply.points[reply.shown]) for name, reply in replies.items()
    }
    figure, _ = plots.single(lines, reach=REACH if squares else None)

    def rows() -> Rows:
        for name, line in lines.items():
            for part, (y, x) in zip(line.maps, line.points.tolist(), strict=True):
                for row, column in torch.cartesian_prod(*2 * (torch.arange(CANVAS),)).tolist():
                    yield name, int(y), int(x), row, column, digits(part[row, column])

    caption = (
        "The images painted for four test points; the frame is the true square."
        if squares
        else "The probability maps of four test points; a ring marks the cell that was asked for. "
        "The colours are logarithmic: each step of ten is as large as the next, and what is below "
        "a ten-thousandth is white."
    )
    return Picture(
        "single_maps",
        "Four test points, one by one",
        f"{caption} The points are chosen by place, one in each corner of the test part, not by "
        "how well they came out. Titles give the target as (x, y).",
        figure,
        ("run", "target_y", "target_x", "y", "x", "probability"),
        rows(),
    )
