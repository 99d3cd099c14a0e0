"""The figures of a report, each with its caption and the data behind it, by kind of task."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from visionpe import plots
from visionpe.data.not_so_clevr import CANVAS, REACH, held_out, images
from visionpe.plots.errors import PLACES, SHARES
from visionpe.report.answers import Answers
from visionpe.report.recipe import CLASSIFICATION, REGRESSION, RENDERING
from visionpe.report.run import Run

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Rows = Iterator[tuple[Any, ...]]


@dataclass(frozen=True)
class Measure:
    """The measure of a task: its name in `metrics.csv`, in words, and how a mean is printed."""

    key: str
    words: str
    print: Callable[[float], str]
    factor: float = 1.0


MEASURES = {
    CLASSIFICATION: Measure(
        "accuracy", "accuracy, %", lambda x: f"{100 * x:.{0 if x in (0, 1) else 1}f} %", 100
    ),
    RENDERING: Measure("iou", "overlap with the square, IoU", lambda x: f"IoU {x:.3f}"),
    REGRESSION: Measure("pixel_error", "mean error, cells", lambda x: f"{x:.2f} cells"),
}


@dataclass(frozen=True)
class Picture:
    """A figure of the page.

    Attributes:
        name: of its files, without their endings.
        title: what is seen.
        caption: how to read it.
        figure: the drawing.
        columns, rows: the data behind it.
    """

    name: str
    title: str
    caption: str
    figure: "Figure"
    columns: tuple[str, ...]
    rows: Rows


def split_picture() -> Picture:
    """Both splits."""
    points = images().points
    tests = {name: held_out(name) for name in ("quadrant", "uniform")}  # type: ignore[arg-type]
    figure, _ = plots.splits(points, tests, CANVAS, CANVAS)
    rows = (
        (int(y), int(x), *("test" if test[i] else "train" for test in tests.values()))
        for i, (y, x) in enumerate(points.tolist())
    )
    return Picture(
        "splits",
        "Which points are learned from and which are asked for",
        "Each coloured cell is one of the 3,136 points. Orange points are never shown in training. "
        "In the uniform split every test point has neighbours that were trained on; in the "
        "quadrant split a whole region is new, and getting it right takes an understanding of "
        "coordinates that reaches beyond what was seen.",
        figure,
        ("y", "x", *tests),
        rows,
    )


def pictures(task: str, found: Mapping[str, tuple[Run, Answers]]) -> Iterator[Picture]:
    """The figures of the runs of one task, as they stand on the page.

    Args:
        task: the name of its class, one of `MEASURES`.
        found: runs and their answers by name.
    """
    measure = MEASURES[task]
    replies = {name: reply for name, (_, reply) in found.items()}
    if task == CLASSIFICATION:
        yield _summed(measure, replies)
    yield _errors(task, measure, replies)
    if task == REGRESSION:
        yield _displacements(replies)
    else:
        yield _single(task, replies)
    yield _training(task, measure, {name: run for name, (run, _) in found.items()})


def _notes(measure: Measure, reply: Answers) -> dict[str, str]:
    parts = (("train_note", False), ("test_note", True))
    right = " right" if measure.key == "accuracy" else ""
    return {key: f"{measure.print(reply.mean(test=test))}{right}" for key, test in parts}


def _summed(measure: Measure, replies: Mapping[str, Answers]) -> Picture:
    lines = {}
    for name, reply in replies.items():
        truth = torch.zeros(2, CANVAS, CANVAS)
        y, x = reply.points.long().T
        truth[reply.test.long(), y, x] = 1
        notes = _notes(measure, reply)
        lines[name] = plots.Summed(truth[0], reply.sums[0], truth[1], reply.sums[1], **notes)
    figure, _ = plots.summed(lines)

    def rows() -> Rows:
        for name, line in lines.items():
            for part, truth, total in (("train", line[0], line[1]), ("test", line[2], line[3])):
                for y, x in torch.cartesian_prod(*2 * (torch.arange(CANVAS),)).tolist():
                    yield name, part, y, x, int(truth[y, x]), _digits(total[y, x])

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


def _errors(task: str, measure: Measure, replies: Mapping[str, Answers]) -> Picture:
    lines = {
        name: plots.Errors(reply.points, reply.errors, reply.test, **_notes(measure, reply))
        for name, reply in replies.items()
    }
    title, what = "Where the answers are wrong", "the distance from the answer to the truth"
    if task == CLASSIFICATION:
        figure, _ = plots.error_maps(lines, h=CANVAS, w=CANVAS)
        what = "the distance from the most probable cell to the true one"
    elif task == REGRESSION:
        figure, _ = plots.error_maps(
            lines, label="distance from answer to truth, cells", bounds=PLACES, h=CANVAS, w=CANVAS
        )
    else:
        label = "missed overlap, 1 - IoU"
        figure, _ = plots.error_maps(lines, label=label, bounds=SHARES, h=CANVAS, w=CANVAS)
        what = "how much of the overlap with the true square is missed"
    rows = (
        (name, "test" if held else "train", int(y), int(x), *map(_digits, place), _digits(error))
        for name, reply in replies.items()
        for (y, x), place, error, held in zip(
            reply.points.tolist(), reply.places, reply.errors, reply.test.tolist(), strict=True
        )
    )
    return Picture(
        "errors",
        title,
        f"The colour of each point is {what}; white is right, grey has no point. The points of "
        "the two parts are shown together and one part at a time.",
        figure,
        ("run", "part", "y", "x", "answer_y", "answer_x", "error"),
        rows,
    )


def _single(task: str, replies: Mapping[str, Answers]) -> Picture:
    lines = {
        name: plots.Single(reply.maps, reply.points[reply.shown]) for name, reply in replies.items()
    }
    squares = task == RENDERING
    figure, _ = plots.single(lines, reach=REACH if squares else None)

    def rows() -> Rows:
        for name, line in lines.items():
            for part, (y, x) in zip(line.maps, line.points.tolist(), strict=True):
                for row, column in torch.cartesian_prod(*2 * (torch.arange(CANVAS),)).tolist():
                    yield name, int(y), int(x), row, column, _digits(part[row, column])

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


def _displacements(replies: Mapping[str, Answers]) -> Picture:
    lines = {
        name: plots.Moved(reply.points, reply.places, reply.test) for name, reply in replies.items()
    }
    figure, _ = plots.displacements(lines, CANVAS, CANVAS)
    rows = (
        (name, "test" if held else "train", int(y), int(x), *map(_digits, place))
        for name, reply in replies.items()
        for (y, x), place, held in zip(
            reply.points.tolist(), reply.places, reply.test.tolist(), strict=True
        )
    )
    return Picture(
        "displacements",
        "How far and which way the answers are off",
        "An arrow leads from the true point, a dot, to the place that the network gives, for one "
        "point in sixteen. Blue points are of the train part, orange ones of the test part. No "
        "arrow: the answer is right.",
        figure,
        ("run", "part", "y", "x", "answer_y", "answer_x"),
        rows,
    )


def _training(task: str, measure: Measure, runs: Mapping[str, Run]) -> Picture:
    keys = ("train_cpu_seconds", f"train/{measure.key}", f"test/{measure.key}")
    table = {
        name: [
            tuple(row[key] for key in keys) for row in run.files.metrics if row.keys() >= {*keys}
        ]
        for name, run in runs.items()
    }
    curves = {
        name: plots.Curve(
            [seconds for seconds, _, _ in rows],
            [measure.factor * train for _, train, _ in rows],
            [measure.factor * test for _, _, test in rows],
        )
        for name, rows in table.items()
    }
    limits = {CLASSIFICATION: (0.0, 100.0), RENDERING: (0.0, 1.0)}.get(task)
    figure, _ = plots.training_curves(curves, label=measure.words, limits=limits)
    missing = [name for name, rows in table.items() if not rows]
    gap = f" No validation is recorded for {', '.join(missing)}." if missing else ""
    return Picture(
        "training",
        "What the training costs",
        "One colour a run; each mark is a validation over all points of a part, train dashed and "
        f"test solid. The time is that of the training steps alone, on the CPU.{gap}",
        figure,
        ("run", *keys),
        ((name, *row) for name, rows in table.items() for row in rows),
    )


def _digits(value: Any) -> str:
    return f"{float(value):.6g}"
