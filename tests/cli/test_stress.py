"""`visionpe stress`, from a trained run to its table, files and picture."""

import csv
import json
from pathlib import Path

import pytest
import trees
from command import Visionpe

CONFIG = """\
trainer: {max_epochs: 1, accelerator: cpu}
model:
  class_path: visionpe.tasks.Classification
  init_args:
    backbone: {class_path: visionpe.models.convnet.ConvNet, init_args: {width: 4, depth: 1}}
    encodings: visionpe.CoordConv
data: {class_path: visionpe.data.FashionMNIST, init_args: {root: data, batch_size: 18}}
"""


@pytest.fixture
def trained(folder: Path, visionpe: Visionpe) -> Path:
    trees.fashion_mnist(folder / "data")
    (folder / "small.yaml").write_text(CONFIG)
    code, text = visionpe("fit", "--config", "small.yaml")
    assert code == 0, text
    return folder / "runs" / "small" / "latest"


def test_a_run_is_stressed_into_a_folder_beside_it(trained: Path, visionpe: Visionpe) -> None:
    before = {path: path.stat().st_mtime_ns for path in trained.rglob("*") if path.is_file()}
    words = ("--only", "shift", "flip", "--images", "10", "--data", "eval_batch_size=4")
    code, text = visionpe("stress", str(trained), *words)
    assert code == 0, text
    out = Path(text.splitlines()[-1])
    assert out.parent.resolve() == trained.resolve().parent
    assert {path.name for path in out.iterdir()} == {"stress.csv", "stress.json", "stress.png"}
    rows = list(csv.DictReader((out / "stress.csv").read_text().splitlines()))
    assert len(rows) == 2 * (5 + 4)
    assert {row["n"] for row in rows} == {"10"}
    found = json.loads((out / "stress.json").read_text())
    assert found["images"] == 10
    assert len(found["points"]) == len(rows)
    assert (out / "stress.png").read_bytes().startswith(b"\x89PNG")
    assert "horizontal" in text
    assert before == {p: p.stat().st_mtime_ns for p in trained.rglob("*") if p.is_file()}
    # The checkpoint alone says its task and data; another folder may be asked for.
    again = ("--only", "flip", "--out", "mine")
    code, text = visionpe("stress", str(trained / "checkpoints" / "last.ckpt"), *again)
    assert code == 0, text
    assert "20 test images" in text
    code, text = visionpe("stress", str(trained), *again)
    assert (code, text) == (
        2,
        "visionpe: `--out` must be a new or empty folder, but mine is not.\n",
    )


def test_bad_input_is_refused_in_one_sentence(
    trained: Path, folder: Path, tiny: str, visionpe: Visionpe
) -> None:
    def says(*words: str) -> str:
        code, text = visionpe("stress", *words)
        assert code == 2
        assert len(text.splitlines()) == 1
        return text.removeprefix("visionpe: ").strip()

    assert says("nowhere.ckpt").startswith("The checkpoint nowhere.ckpt does not exist. ")
    assert says(str(folder)) == (
        f"{folder} must be a run's folder or a checkpoint, but has no checkpoints/best.ckpt or "
        "last.ckpt."
    )
    run = str(trained)
    assert says(run, "--only", "shear") == (
        "`--only` must be of resolution, aspect, shift, crop, flip, shuffle, but has 'shear'."
    )
    assert says(run, "--images", "0") == "`--images` must be at least 1, but is 0."
    assert says(run, "--data", "root") == "`--data` must be KEY=VALUE, but is 'root'."
    assert "elsewhere" in says(run, "--data", "root=elsewhere")
    assert visionpe("fit", "--config", tiny)[0] == 0
    other = folder / "runs" / "tiny" / "latest" / "checkpoints" / "last.ckpt"
    assert says(str(other)) == (
        f"The checkpoint {other} must be of visionpe.tasks.Classification, but is of tiny.Tiny."
    )


def test_data_that_cannot_be_made_are_refused_in_one_line(
    trained: Path, visionpe: Visionpe
) -> None:
    import torch

    last = trained / "checkpoints" / "last.ckpt"
    content = torch.load(last, weights_only=True)
    content["visionpe"]["data"]["init_args"]["batch_size"] = 0
    torch.save(content, last)
    (last.parent / "manifest.json").unlink()
    code, text = visionpe("stress", str(last))
    assert code == 2
    assert text == (
        f"visionpe: The data of {last} cannot be made: `batch_size` must be at least 1 "
        "image, but is 0.\n"
    )
    code, text = visionpe("stress", str(trained), "--device", "foo")
    assert code == 2
    assert text.startswith(
        "visionpe: `--device` must be one of this machine's, such as cpu, but is 'foo': "
    )
    assert len(text.splitlines()) == 1
    assert not list(trained.parent.glob("*-stress-*"))


def test_a_classifier_takes_lightnings_optimizer(
    trained: Path, folder: Path, visionpe: Visionpe
) -> None:
    import torch

    words = ("--optimizer", "SGD", "--optimizer.lr", "0.01", "--optimizer.weight_decay", "0.5")
    code, text = visionpe("fit", "--config", "small.yaml", *words)
    assert code == 0, text
    last = folder / "runs" / "small" / "latest" / "checkpoints" / "last.ckpt"
    (state,) = torch.load(last, weights_only=True)["optimizer_states"]
    assert {group["weight_decay"] for group in state["param_groups"]} == {0.0, 0.5}
    assert {group["lr"] for group in state["param_groups"]} == {0.01}
