"""The figures of a report, each with its caption and the data behind it, by kind of task."""

from collections.abc import Iterator, Mapping

from visionpe import plots
from visionpe.data.not_so_clevr import CANVAS, held_out, images
from visionpe.plots.errors import PLACES, SHARES
from visionpe.report.answers import Answers
from visionpe.report.maps import single_picture, summed_picture
from visionpe.report.measures import MEASURES, Measure
from visionpe.report.picture import Picture, Rows, digits
from visionpe.report.recipe import CLASSIFICATION, REGRESSION, RENDERING
from visionpe.report.run import Run


def split_picture() -> Picture:
    """Both splits."""
    points = images().points
    tests = {name: held_out(name) for name in ("quadrant", "uniform")}
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
        yield summed_picture(measure, replies)
    yield _errors(task, measure, replies)
    if task == REGRESSION:
        yield _displacements(replies)
    else:
        yield single_picture(replies, squares=task == RENDERING)
    if picture := _training(task, measure, {name: run for name, (run, _) in found.items()}):
        yield picture


def _errors(task: str, measure: Measure, replies: Mapping[str, Answers]) -> Picture:
    lines = {
        name: plots.Errors(reply.points, reply.errors, reply.test, **measure.notes(reply))
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
    placed = task != RENDERING
    rows = (
        (name, part, y, x, *(place if placed else ()), error)
        for name, reply in replies.items()
        for (part, y, x, *place), error in zip(
            _places(reply), map(digits, reply.errors), strict=True
        )
    )
    return Picture(
        "errors",
        title,
        f"The colour of each point is {what}; white is right, grey has no point. The points of "
        "the two parts are shown together and one part at a time.",
        figure,
        ("run", "part", "y", "x", *(("answer_y", "answer_x") if placed else ()), "error"),
        rows,
    )


def _displacements(replies: Mapping[str, Answers]) -> Picture:
    lines = {
        name: plots.Moved(reply.points, reply.places, reply.test) for name, reply in replies.items()
    }
    figure, _ = plots.displacements(lines, CANVAS, CANVAS)
    rows = ((name, *place) for name, reply in replies.items() for place in _places(reply))
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


def _training(task: str, measure: Measure, runs: Mapping[str, Run]) -> Picture | None:
    keys = ("train_cpu_seconds", f"train/{measure.key}", f"test/{measure.key}")
    table = {
        name: [
            tuple(row[key] for key in keys) for row in run.files.metrics if row.keys() >= {*keys}
        ]
        for name, run in runs.items()
    }
    if not any(table.values()):
        return None
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


def _places(reply: Answers) -> Rows:
    """Part, truth and answer of each point."""
    lists = reply.test.tolist(), reply.points.tolist(), reply.places
    for held, (y, x), place in zip(*lists, strict=True):
        yield "test" if held else "train", int(y), int(x), *map(digits, place)
