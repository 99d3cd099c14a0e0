import csv
import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from shutil import copytree
from typing import Any

import pytest
import torch
import yaml
from torch import Tensor, nn

from visionpe.__main__ import main
from visionpe.cli.report import load_run
from visionpe.data.not_so_clevr import Images, held_out, images
from visionpe.errors import RunFolderError
from visionpe.models.toy import MapToPoint, PointToImage, PointToMap
from visionpe.report import read_files, recipe
from visionpe.report.answers import Answers, answers, overlap
from visionpe.report.run import names
from visionpe.tasks.toy import (
    CoordinateClassification,
    CoordinateRegression,
    CoordinateRendering,
)
from visionpe.tasks.toy_base import ToyTask

Make = Callable[..., Path]
_NETWORKS = {
    CoordinateClassification: PointToMap,
    CoordinateRegression: MapToPoint,
    CoordinateRendering: PointToImage,
}
_COLUMNS = {
    CoordinateClassification: "accuracy",
    CoordinateRegression: "pixel_error",
    CoordinateRendering: "iou",
}
_ADD = {"class_path": "visionpe.AddCoords", "init_args": {"align_corners": True}}


@contextmanager
def _one_point_in_41() -> Iterator[None]:
    """So that a test need not wait for all."""
    part = slice(None, None, 41)
    data = Images(*(tensor[part] for tensor in images()))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("visionpe.report.answers.images", lambda: data)
        patch.setattr("visionpe.report.answers.held_out", lambda split: held_out(split)[part])
        yield


@pytest.fixture
def few() -> Iterator[None]:
    """Fewer points."""
    with _one_point_in_41():
        yield


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Makes folders of runs below the test's own."""
    return partial(_folder, tmp_path)


def _folder(
    parent: Path,
    name: str = "one",
    kind: type[ToyTask] = CoordinateClassification,
    *,
    split: str = "quadrant",
    at: str = "20260102-030405-0123abcd",
    **options: Any,
) -> Path:
    """A run's folder as `visionpe fit` leaves it, with untrained weights."""
    path = parent / "runs" / name / at
    (path / "checkpoints").mkdir(parents=True)
    network = _NETWORKS[kind]
    model = {
        "class_path": f"{kind.__module__}.{kind.__name__}",
        "init_args": {
            "network": {
                "class_path": f"{network.__module__}.{network.__name__}",
                "init_args": {"encoding": _ADD},
            },
            **options,
        },
    }
    config = {
        "seed_everything": 3,
        "trainer": {"max_epochs": 2},
        "model": model,
        "data": {
            "class_path": "visionpe.data.not_so_clevr.NotSoClevr",
            "init_args": {"split": split, "batch_size": 32},
        },
        "optimizer": {"class_path": "torch.optim.Adam", "init_args": {"lr": 0.005}},
        "run": {"dir": "runs", "name": name},
    }
    (path / "config.yaml").write_text(yaml.safe_dump(config))
    (path / "env.json").write_text(json.dumps({"command": ["visionpe", "fit", "a b"]}))
    column = _COLUMNS[kind]
    (path / "metrics.csv").write_text(
        f"step,loss,train/{column},test/{column},train_cpu_seconds\n"
        "9,0.5,,,\n10,,0.25,0.125,1.5\n21,,0.5,0.375,2.5\n"
    )
    import visionpe

    task = kind(network(visionpe.AddCoords(align_corners=True)))
    torch.save(
        {
            "state_dict": task.state_dict(),
            "epoch": 0,
            "global_step": 11,
            "train_cpu_seconds": 1.5,
            "visionpe": {"version": "0", "model": model},
        },
        path / "checkpoints" / "best.ckpt",
    )
    latest = path.parent / "latest"
    latest.unlink(missing_ok=True)
    latest.symlink_to(path.name)
    return latest


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def _fails(capsys: pytest.CaptureFixture[str], *argv: object) -> str:
    assert main(["report", *map(str, argv)]) == 2
    printed = capsys.readouterr()
    assert not printed.out
    return printed.err


# What a task answers


class Exact(nn.Module):
    """Logits that peak at the point, or at its mirror image on the diagonal."""

    def __init__(self, *, swapped: bool = False) -> None:
        super().__init__()
        self.swapped = swapped

    def forward(self, points: Tensor) -> Tensor:
        goal = points.flip(-1) if self.swapped else points
        cells = torch.cartesian_prod(*2 * (torch.arange(64.0),))
        return -8 * (goal[:, None] - cells).abs().sum(-1)


def test_a_network_that_knows_the_cell_is_right_everywhere() -> None:
    found = answers(CoordinateClassification(Exact()), "uniform")
    assert (found.mean(test=False), found.mean(test=True)) == (1.0, 1.0)
    assert not found.errors.any()
    y, x = found.points.long().T
    truth = torch.zeros(2, 64, 64)
    truth[found.test.long(), y, x] = 1
    torch.testing.assert_close(found.sums, truth, atol=2e-3, rtol=0)
    assert [int(found.test.sum()), int((~found.test).sum())] == [768, 2368]


@pytest.mark.usefixtures("few")
def test_a_network_that_swaps_the_axes_is_as_far_off_as_the_diagonal_says() -> None:
    found = answers(CoordinateClassification(Exact(swapped=True)), "quadrant")
    y, x = found.points.T
    torch.testing.assert_close(found.errors, (y - x).abs() * 2**0.5)
    torch.testing.assert_close(found.places, found.points.flip(-1))


@pytest.mark.usefixtures("few")
@pytest.mark.parametrize("kind", _NETWORKS)
def test_the_means_are_those_of_the_task_itself(kind: type[ToyTask], make: Make) -> None:
    task = load_run(make(kind=kind)).task
    assert isinstance(task, ToyTask)
    found = answers(task, "quadrant")
    data = images()
    part = Images(*(tensor[::41][found.test] for tensor in data))
    with torch.inference_mode():
        expected = task.measures(*part)[_COLUMNS[kind]]
    assert found.mean(test=True) == pytest.approx(float(expected), rel=1e-5)


def test_probability_sums_to_the_number_of_points() -> None:
    found = answers(CoordinateClassification(Exact()), "quadrant")
    torch.testing.assert_close(found.sums.sum((1, 2)), torch.tensor([2407.0, 729.0]))


def test_examples_are_test_points_and_their_maps_are_theirs() -> None:
    found: Answers = answers(CoordinateClassification(Exact()), "uniform")
    assert found.test[found.shown].all()
    peaks = found.maps.flatten(1).argmax(1)
    y, x = found.points[found.shown].long().T
    assert torch.equal(peaks, y * 64 + x)


def test_overlap_of_a_half_painted_square_is_a_half() -> None:
    square = torch.zeros(1, 1, 4, 6, dtype=torch.uint8)
    square[..., 1:3, 2:4] = 1
    painted = torch.full((1, 4, 6), -1.0)
    painted[:, 1, 2:4] = 1
    assert overlap(painted.flatten(1), square).tolist() == [0.5]


# The page


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report of two runs, to be read only."""
    parent = tmp_path_factory.mktemp("report")
    runs = [
        _folder(parent, "first", sampler={"near": 16, "anywhere": 32}),
        _folder(parent, "<i>other</i>"),
    ]
    with _one_point_in_41():
        assert main(["report", *map(str, runs), "--out", str(parent / "page")]) == 0
    return parent / "page"


def test_the_page_holds_all_that_it_shows(page: Path) -> None:
    text = (page / "index.html").read_text()
    assert not re.search(r"""(src|href)\s*=\s*["']?(https?:)?//|@import|url\(""", text)
    assert text.count('src="data:image/png;base64,') == 5
    assert len(text) < 2_000_000
    for name in re.findall(r'href="([^"#]+)"', text):
        assert (page / name).is_file()


def test_every_figure_has_a_file_and_its_data(page: Path) -> None:
    figures = {path.stem for path in page.glob("*.png")}
    assert figures == {"splits", "summed_maps", "errors", "single_maps", "training"}
    assert {path.stem for path in page.glob("*.csv")} == figures | {"runs"}
    sums = _rows(page / "summed_maps.csv")
    assert len(sums) == 2 * 2 * 64 * 64
    assert {row["run"] for row in sums} == {"first", "<i>other</i>"}
    assert [row["train_cpu_seconds"] for row in _rows(page / "training.csv")] == ["1.5", "2.5"] * 2


def test_names_are_text_and_no_markup(page: Path) -> None:
    text = (page / "index.html").read_text()
    assert "<i>other" not in text
    assert "&lt;i&gt;other&lt;/i&gt;" in text


def test_the_page_says_what_is_not_the_paper_s(page: Path) -> None:
    text = (page / "index.html").read_text()
    assert "sampled softmax (the target and its neighbours, 16 cells near it and 32 any" in text
    assert re.search(r"not the paper&#39;s loss, which is over all cells <[^>]+>\(first\)", text)
    assert "batches of 32: the paper has 16" in text


def test_the_page_stands_beside_the_paper(page: Path) -> None:
    text = (page / "index.html").read_text()
    assert "at most 86 %" in text
    assert "arXiv 1807.03247" in text


def test_a_later_validation_is_not_hidden(page: Path) -> None:
    assert (
        "Last validation, at step 22: train 50.0 %, test 37.5 %"
        in (page / "index.html").read_text()
    )


def test_the_command_of_a_run_can_be_copied(page: Path) -> None:
    assert "visionpe fit &#39;a b&#39;" in (page / "index.html").read_text()


@pytest.mark.usefixtures("few")
def test_an_earlier_report_is_replaced_and_what_it_left_is_removed(
    page: Path, make: Make, tmp_path: Path
) -> None:
    page = copytree(page, tmp_path / "page")
    (page / "mine.txt").write_text("kept")
    run = make("third", CoordinateRegression)
    assert main(["report", str(run), "--out", str(page)]) == 0
    assert not (page / "summed_maps.png").exists()
    assert (page / "displacements.png").is_file()
    assert (page / "mine.txt").read_text() == "kept"


@pytest.mark.slow
@pytest.mark.usefixtures("few")
def test_runs_of_different_tasks_get_sections_of_their_own(make: Make, tmp_path: Path) -> None:
    runs = [make(kind.__name__, kind, split="uniform") for kind in _NETWORKS]
    assert main(["report", *map(str, runs), "--out", str(tmp_path / "page")]) == 0
    text = (tmp_path / "page" / "index.html").read_text()
    assert text.count("<h2>") == 4
    assert (tmp_path / "page" / "rendering_errors.csv").is_file()


@pytest.mark.usefixtures("few")
def test_the_report_has_a_new_folder_unless_told(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["report", str(make(kind=CoordinateRegression))]) == 0
    printed = Path(capsys.readouterr().out.strip())
    assert printed.parts[0] == "reports"
    assert printed.is_file()


# The run


def test_a_run_is_loaded_with_its_weights_and_leaves_the_random_numbers_alone(make: Make) -> None:
    path = make()
    before = torch.get_rng_state()
    run = load_run(path)
    assert torch.equal(torch.get_rng_state(), before)
    kept = torch.load(path / "checkpoints" / "best.ckpt", weights_only=True)["state_dict"]
    assert all(torch.equal(value, kept[name]) for name, value in run.task.state_dict().items())
    assert not run.task.training
    assert (run.epoch, run.step, run.seconds) == (1, 11, 1.5)


def test_a_line_that_a_kill_cut_short_is_left_out(make: Make) -> None:
    path = make()
    with (path / "metrics.csv").open("a") as file:
        file.write("33,,0.9")
    assert [row["step"] for row in read_files(path).metrics] == [9, 10, 21]


def test_runs_of_one_name_are_told_apart_by_their_folders(make: Make) -> None:
    runs = [read_files(make("same", at=at)) for at in ("20260102-1", "20260102-2")]
    assert names(runs) == ["same 20260102-1", "same 20260102-2"]


def test_the_paper_s_own_recipe_has_no_departures() -> None:
    config = {
        "model": {
            "class_path": "visionpe.tasks.toy.CoordinateClassification",
            "init_args": {
                "l2": 0.001,
                "sampler": None,
                "network": "visionpe.models.toy.PointToMap",
            },
        },
        "data": {"class_path": "a.NotSoClevr", "init_args": {"batch_size": 16}},
        "optimizer": {
            "class_path": "torch.optim.Adam",
            "init_args": {"lr": 0.005, "betas": [0.9, 0.99], "weight_decay": 0},
        },
    }
    assert recipe.Recipe(config).departures == []


def test_a_recipe_of_ours_is_told_apart_from_the_paper_s() -> None:
    config = {
        "model": {
            "class_path": "visionpe.tasks.toy.CoordinateClassification",
            "init_args": {
                "sampler": "visionpe.models.sampled_softmax.CellSampler",
                "network": {"class_path": "a.PointToMap", "init_args": {"scaled": True}},
            },
        },
        "data": {"class_path": "a.NotSoClevr", "init_args": {"batch_size": 32}},
        "optimizer": {"class_path": "torch.optim.AdamW", "init_args": {"weight_decay": 1.0}},
        "lr_scheduler": {"class_path": "torch.optim.lr_scheduler.OneCycleLR"},
        "trainer": {"max_steps": 1500, "max_epochs": -1},
    }
    found = recipe.Recipe(config)
    assert found.departures == [
        "sampled softmax: not the paper's loss, which is over all cells",
        "scaled inputs: the paper's network reads raw cell numbers",
        "AdamW with weight decay 1: the paper has Adam with L2 0.001",
        "learning rate by OneCycleLR: not the paper's schedule",
        "batches of 32: the paper has 16",
    ]
    assert found.training == (
        "AdamW, lr default, weight decay 1, batch 32, OneCycleLR, at most 1,500 steps"
    )


# What cannot be done


def test_a_missing_run_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "nowhere"
    assert _fails(capsys, path) == (
        f"visionpe: The run {path} must be a folder, but does not exist. Give the folder of a run "
        "of `visionpe fit`, such as runs/NAME/latest.\n"
    )


def test_a_folder_of_runs_is_no_run(make: Make, capsys: pytest.CaptureFixture[str]) -> None:
    parent = make().parent
    assert f"Did you mean {parent / 'latest'}?" in _fails(capsys, parent)


def test_a_run_without_a_checkpoint_is_told_to_wait(
    make: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    path = make()
    (path / "checkpoints" / "best.ckpt").unlink()
    assert "must have a checkpoint, but has none yet" in _fails(capsys, path)


def test_a_damaged_checkpoint_is_refused(make: Make, capsys: pytest.CaptureFixture[str]) -> None:
    path = make()
    (path / "checkpoints" / "best.ckpt").write_bytes(b"no checkpoint")
    assert "best.ckpt is damaged" in _fails(capsys, path)


def test_weights_of_another_network_are_refused(
    make: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    path = make()
    file = path / "checkpoints" / "best.ckpt"
    content = torch.load(file, weights_only=True)
    content["visionpe"]["model"]["init_args"]["network"]["init_args"] = {}
    torch.save(content, file)
    assert "do not fit the model" in _fails(capsys, path)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "must begin with the names of its columns"),
        ("a,b\n1,2\n", "must begin with the names of its columns"),
        ("step,loss\n1,2\n3,x\n", "Line 3 of the file"),
        ("step,loss\n1,2,3\n", "Line 2 of the file"),
    ],
)
def test_broken_metrics_are_named_by_line(
    make: Make, capsys: pytest.CaptureFixture[str], text: str, says: str
) -> None:
    path = make()
    (path / "metrics.csv").write_text(text)
    assert says in _fails(capsys, path)


@pytest.mark.parametrize("name", ["config.yaml", "env.json"])
def test_files_that_are_not_what_they_should_be_are_named(
    make: Make, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    path = make()
    (path / name).write_bytes(b"{\xff")
    assert f"{name} must be text, but is not" in _fails(capsys, path)
    (path / name).write_text("{")
    assert name in _fails(capsys, path)


def test_a_model_that_cannot_be_made_is_named(
    make: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    path = make(l2=-1.0)
    said = _fails(capsys, path)
    assert "visionpe.tasks.toy.CoordinateClassification, cannot be made" in said
    assert said.count("\n") == 1


def test_other_data_are_refused(make: Make, capsys: pytest.CaptureFixture[str]) -> None:
    path = make()
    config = yaml.safe_load((path / "config.yaml").read_text())
    config["data"] = {"class_path": "somewhere.Else"}
    (path / "config.yaml").write_text(yaml.safe_dump(config))
    assert "must be on the data NotSoClevr, but is not" in _fails(capsys, path)


def test_out_must_not_be_a_file(
    make: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "out").write_text("")
    said = _fails(capsys, make(), "--out", tmp_path / "out")
    assert said == f"visionpe: `--out` must be a folder, but {tmp_path / 'out'} is a file.\n"


@pytest.mark.parametrize("name", ["thesis.tex", "index.html"])
def test_a_folder_of_another_making_is_left_alone(
    make: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / name).write_text("mine")
    assert "holds other files" in _fails(capsys, make(), "--out", tmp_path / "out")
    assert (tmp_path / "out" / name).read_text() == "mine"


def test_a_file_that_appeared_beside_an_earlier_report_is_not_overwritten(tmp_path: Path) -> None:
    from visionpe.report import write

    out = tmp_path / "out"
    text = b'<meta name="visionpe-report" content="a.png ../b.csv">'
    write({"a.png": b"1", "index.html": text}, out)
    (out / "c.csv").write_text("mine")
    (tmp_path / "b.csv").write_text("mine")
    with pytest.raises(RunFolderError, match=r"c\.csv is not of an earlier report"):
        write({"c.csv": b"2", "index.html": text}, out)
    write({"index.html": text}, out)
    assert not (out / "a.png").exists()
    assert (tmp_path / "b.csv").read_text() == "mine"


def test_a_run_is_given_once(make: Make, capsys: pytest.CaptureFixture[str]) -> None:
    path = make()
    assert "must be given once" in _fails(capsys, path, path.resolve())


def test_a_command_without_runs_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert _fails(capsys) == (
        "visionpe: the following arguments are required: RUN. `visionpe report --help` says more.\n"
    )


def test_help_is_no_failure(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", "--help"]) == 0
    assert "RUN" in capsys.readouterr().out
