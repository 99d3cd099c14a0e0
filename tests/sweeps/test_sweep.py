"""A whole sweep through the command line, on the engine: cells that are done, cells that fail."""

import json
import math
import shutil
from pathlib import Path

import pytest
import yaml

from visionpe.__main__ import main
from visionpe.errors import ConfigError, RunFolderError
from visionpe.report import is_sweep, make_sweep, read_sweep
from visionpe.report.statistics import interval
from visionpe.report.sweep import numbers
from visionpe.sweeps import running
from visionpe.sweeps.folder import SweepFolder
from visionpe.sweeps.grid import Cell

_BASE = Path(__file__).parents[2] / "configs" / "coord_toy" / "regression.yaml"
_SHORT = {
    "trainer.max_steps": 2,
    "trainer.val_check_interval": 2,
    "lr_scheduler.init_args.total_steps": 2,
    "data.init_args.eval_batch_size": 64,
}
_RATE = "optimizer.init_args.lr"


def _file(folder: Path, **axes: object) -> Path:
    path = folder / "sweep.yaml"
    content = {"name": "toy", "base": str(_BASE), "fixed": _SHORT, "axes": axes, "retries": 1}
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return path


@pytest.mark.slow
def test_a_sweep_runs_its_cells_reports_what_failed_and_skips_what_is_done(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RAY_worker_niceness", "0")  # Ray's 15 would wait for the other tests
    path = _file(tmp_path, rate={"good": {}, "bad": {_RATE: -1.0}})
    assert main(["sweep", str(path)]) == 1
    out = capsys.readouterr().out.splitlines()
    ended = [line for line in out if line.startswith(("1/2", "2/2"))]
    assert len([line for line in ended if "done  rate=good" in line]) == 1
    assert any("failed  rate=bad" in line and "Invalid learning rate: -1.0" in line for line in out)
    lines = [json.loads(line) for line in Path("runs/toy/results.jsonl").read_text().splitlines()]
    done = {line["labels"]["rate"]: line for line in lines}
    assert done["good"]["status"] == "done"
    assert done["good"]["attempts"] == 1
    assert done["bad"]["attempts"] == 2  # it was tried again
    assert math.isfinite(done["good"]["metrics"]["test/pixel_error"])
    assert done["good"]["parameters"] == 906
    run = Path("runs/toy", done["good"]["run"])
    config = yaml.safe_load((run / "config.yaml").read_text())
    assert config["trainer"]["max_steps"] == 2

    # A mended sweep: the finished cell is not run again, and a cell is an ordinary run.
    shutil.rmtree("runs/toy/ray")
    before = (run / "metrics.csv").stat().st_mtime_ns
    path = _file(tmp_path, rate={"good": {}})
    assert main(["sweep", str(path)]) == 0
    assert "1 of 1 cells are done already" in capsys.readouterr().out
    assert (run / "metrics.csv").stat().st_mtime_ns == before
    assert not Path("runs/toy/ray").exists()
    assert main(["report", "runs/toy", "--out", "page"]) == 0
    assert Path("page/index.html").stat().st_size < 2**21


def test_a_dry_run_prints_the_cells_and_writes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = _file(tmp_path, seed=[0, 1])
    assert main(["sweep", str(path), "--dry-run"]) == 0
    assert [line.split()[1] for line in capsys.readouterr().out.splitlines()] == [
        "seed=0",
        "seed=1",
    ]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["sweep.yaml"]


def test_only_some_labels_are_run_and_a_wrong_one_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = _file(tmp_path, rate={_RATE: [0.1, 0.2]}, seed=[0, 1, 2])
    assert main(["sweep", str(path), "--dry-run", "--only", "rate=0.2", "seed=0,2"]) == 0
    found = [line.split()[1] for line in capsys.readouterr().out.splitlines()]
    assert found == ["rate=0.2,seed=0", "rate=0.2,seed=2"]
    assert main(["sweep", str(path), "--dry-run", "--only", "rat=0.2"]) == 2
    assert capsys.readouterr().err == (
        "visionpe: `--only` must be AXIS=LABEL of the sweep, but has 'rat'. Did you mean `rate`? "
        "There are `rate`, `seed`.\n"
    )
    assert main(["sweep", str(path), "--dry-run", "--only", "seed=0", "seed=1"]) == 2
    assert capsys.readouterr().err == (
        "visionpe: `--only` must leave a cell, but seed=0 seed=1 leaves none. Several labels of an "
        "axis are one word: AXIS=LABEL,LABEL.\n"
    )


def test_less_than_one_run_at_a_time_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["sweep", str(_file(tmp_path, seed=[0])), "--dry-run", "--jobs", "0"]) == 2
    assert capsys.readouterr().err == (
        "visionpe: argument --jobs: must be a number from 1 on, but is 0. `visionpe sweep --help` "
        "says more.\n"
    )


def test_a_misspelt_key_is_found_before_anything_is_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = _file(tmp_path, rate={"optimizer.init_args.lrr": [0.1]})
    assert main(["sweep", str(path)]) == 2
    assert capsys.readouterr().err == (
        "visionpe: The cell rate=0.1 is no configuration of `visionpe fit`: There is no key "
        "`optimizer.lrr` of torch.optim.Adam. Did you mean `lr`?\n"
    )
    assert not Path("runs").exists()


def test_a_misspelt_key_of_a_test_is_found_before_anything_is_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = _file(tmp_path, seed=[0])
    content = yaml.safe_load(path.read_text())
    tests = {"same": {}, "large": {"data.init_args.eval_batch_sise": 8}}
    path.write_text(yaml.safe_dump(content | {"tests": tests}, sort_keys=False))
    assert main(["sweep", str(path)]) == 2
    assert capsys.readouterr().err == (
        "visionpe: The test `large` of the cell seed=0 is no configuration of `visionpe test`: "
        "There is no key `data.eval_batch_sise` of visionpe.data.not_so_clevr.NotSoClevr. Did "
        "you mean `eval_batch_size`?\n"
    )
    assert not Path("runs").exists()


def test_a_misspelt_encoding_is_found_before_anything_is_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    base = _BASE.parents[1] / "classification" / "y_arrow.yaml"
    path = tmp_path / "sweep.yaml"
    axes = {"encoding": {"model.init_args.encodings": ["visionpe.Rotary", "visionpe.Rotry"]}}
    path.write_text(yaml.safe_dump({"base": str(base), "axes": axes}))
    assert main(["sweep", str(path)]) == 2
    assert capsys.readouterr().err == (
        "visionpe: The cell encoding=visionpe.Rotry is no configuration of `visionpe fit`: "
        "`encodings` must name a class, but there is no 'visionpe.Rotry'. Did you mean "
        "'Rotary' or 'RotaryMixed'? `visionpe list encodings` names them.\n"
    )
    assert not Path("runs").exists()


def test_cells_that_are_the_same_run_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = _file(tmp_path, rate={"one": {}, "two": {}})
    assert main(["sweep", str(path)]) == 2
    assert capsys.readouterr().err == (
        "visionpe: The cells of a sweep must differ, but rate=two and rate=one have the same "
        "configuration.\n"
    )


def test_the_results_are_those_of_the_whole_grid_of_earlier_times_too(tmp_path: Path) -> None:
    cells = [Cell({"seed": str(i)}, {"seed_everything": i}) for i in range(4)]
    earlier = SweepFolder(tmp_path / "toy")
    earlier.begin("name: toy\n", cells[:3])
    earlier.put(cells[0].id, {"id": cells[0].id, "status": "done"})
    folder = SweepFolder(tmp_path / "toy")  # a process later, and the grid has changed
    folder.begin("name: toy\n", [cells[3], cells[0]])
    folder.put(cells[3].id, {"id": cells[3].id, "status": "failed"})
    folder.put(cells[1].id, {"id": cells[1].id, "status": "done"})
    folder.sum_up()
    lines = [json.loads(line) for line in (folder.path / "results.jsonl").read_text().splitlines()]
    assert [line["id"] for line in lines] == [cells[3].id, cells[0].id]


def test_a_finished_run_is_not_taken_for_that_of_a_changed_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, after = (Cell({"seed": "0"}, {"lr": lr}) for lr in (0.1, 0.2))
    folder = SweepFolder(tmp_path / "toy")
    folder.begin("name: toy\n", [before, after])
    done = folder.runs(before) / "20260101-000000-12345678" / "done.json"
    done.parent.mkdir(parents=True)
    done.write_text("{}")
    (folder.runs(before) / "latest").symlink_to(done.parent.name)
    ran: list[str] = []
    monkeypatch.setattr(running, "_run", lambda _, cell, *rest: ran.append(cell.id))
    assert running._fit(folder, before, 1) == done.parent
    assert not ran
    with pytest.raises(running.CellError, match="ended without finishing the run"):
        running._fit(folder, after, 1)
    assert ran == [after.id]
    config = yaml.safe_load(folder.config(after.id).read_text())
    assert Path(config["run"]["dir"], config["run"]["name"]) == folder.runs(after)


def test_no_label_leads_out_of_the_folder(tmp_path: Path) -> None:
    folder = SweepFolder(tmp_path / "toy")
    for label in ("../../../x", "a/../../../../x", "../x", "a/b", ".."):
        runs = folder.runs(Cell({"weights": label}, {}))
        assert runs.resolve().is_relative_to(folder.path / "runs"), label
    assert folder.runs(Cell({"weights": "a/b"}, {})).parent.name == "weights=a"


def _outcomes(folder: Path) -> Path:
    """A sweep's folder with made-up numbers: two encodings, three seeds, one failure."""
    folder.mkdir()
    (folder / "sweep.yaml").write_text("name: made up\nmetric: 'test: test/acc1'\n")
    lines = []
    for e, encoding in enumerate(("none", "learned")):
        for seed in range(3):
            line = {
                "labels": {"encoding": encoding, "seed": str(seed)},
                "status": "done",
                "metrics": {"val/acc1": 0.5 + 0.1 * e + 0.01 * seed},
                "tests": {"test": {"test/acc1": 0.4 + 0.1 * e + 0.02 * seed}},
                "parameters": 1000 + e,
                "cpu_seconds": 10.0 + 5 * e,
                "stress": [
                    {
                        "family": family,
                        "level": level,
                        "frames": frames,
                        "accuracy": 0.5 + 0.1 * e - 0.1 * abs(level - 1) + 0.01 * seed,
                    }
                    for family in ("resolution", "shift")
                    for level in (0.5, 1.0, 2.0)
                    for frames in (False, True)
                ],
            }
            lines.append(line)
    lines.append({"labels": {"encoding": "none", "seed": "3"}, "status": "failed", "error": "boom"})
    (folder / "results.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def test_the_page_of_a_sweep_has_means_intervals_costs_and_failures(tmp_path: Path) -> None:
    folder = _outcomes(tmp_path / "made up")
    assert is_sweep(folder)
    runs = read_sweep(folder)
    assert [group.name for group in runs.groups] == ["none", "learned"]
    score = runs.groups[1].score(runs.metric)
    assert score is not None
    assert score.mean == pytest.approx(0.52)
    files = make_sweep(runs, ["visionpe", "report", "x"])
    page = files["index.html"].decode()
    assert "boom" in page
    assert page.count("data:image/png;base64,") == 3
    assert "http" not in page.replace("http://www.w3.org", "")
    rows = files["groups.csv"].decode().splitlines()
    assert rows[0] == "group,n,test: test/acc1,val/acc1,parameters,cpu_seconds,failed"
    assert rows[1].startswith("none,3,0.42 (0.3703 to 0.4697),0.51 (")
    assert rows[2].endswith(',"1,001",15 (15 to 15),0')
    assert files["stress.csv"].decode().splitlines()[1].startswith("none,resolution,0.5,3,0.46,")


def test_a_metric_that_no_run_has_is_refused_with_the_nearest(tmp_path: Path) -> None:
    folder = _outcomes(tmp_path / "toy")
    (folder / "sweep.yaml").write_text("metric: 'test: test/acc'\n")
    with pytest.raises(ConfigError) as error:
        read_sweep(folder)
    assert str(error.value) == (
        f"`metric` of {folder / 'sweep.yaml'} must be one of the runs', but is 'test: test/acc'. "
        "Did you mean `test: test/acc1`?"
    )


def test_a_sweep_whose_runs_have_no_metrics_has_no_page(tmp_path: Path) -> None:
    folder = _outcomes(tmp_path / "toy")
    (folder / "results.jsonl").write_text('{"labels": {}, "status": "done", "metrics": {}}\n')
    with pytest.raises(RunFolderError, match="must have metrics, but have none"):
        read_sweep(folder)


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("sweep.yaml", "metric: [", "{file} must be YAML, but is not."),
        ("sweep.yaml", "- 1\n", "{file} must be a mapping, but is not."),
        ("results.jsonl", "{}x\n", "Line 1 of {file} must be JSON, but is not."),
        (
            "results.jsonl",
            '{"labels": {}}\n',
            "Line 1 of {file} must have the key `status`, but has not.",
        ),
        (
            "results.jsonl",
            '{"status": "done"}\n',
            "Line 1 of {file} must have the key `labels`, but has not.",
        ),
        ("results.jsonl", "3\n", "Line 1 of {file} must have the key `status`, but has not."),
    ],
)
def test_a_damaged_file_of_a_sweep_is_named(
    tmp_path: Path, name: str, content: str, says: str
) -> None:
    folder = _outcomes(tmp_path / "toy")
    (folder / name).write_text(content)
    with pytest.raises(RunFolderError) as error:
        read_sweep(folder)
    assert str(error.value) == (
        says.format(file=folder / name) + " Run the sweep again: it writes the file anew."
    )


def test_numbers_of_tests_are_named_by_their_test() -> None:
    assert numbers({"metrics": {"a": 1.0}, "tests": {"x": {"a": 2.0}}}) == {"a": 1.0, "x: a": 2.0}


def test_intervals_are_those_of_student() -> None:
    from scipy import stats

    values = [0.3, 0.7, 0.1, 0.45]
    found = interval(values)
    low, high = stats.t.interval(0.95, 3, loc=found.mean, scale=stats.sem(values))
    assert (found.low, found.high) == pytest.approx((low, high), abs=1e-12)


def test_a_sweep_that_the_engine_ended_early_says_that_it_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("visionpe.sweeps.engine.run", lambda *args, **options: [])
    assert main(["sweep", str(_file(tmp_path, seed=[0]))]) == 130
    assert capsys.readouterr().err == (
        "interrupted; the same command goes on, finished cells are kept\n"
    )


def test_a_dry_run_checks_the_cells(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["sweep", str(_file(tmp_path, rate={"optimizer.lrr": [1]})), "--dry-run"]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert "lrr" in said.err
