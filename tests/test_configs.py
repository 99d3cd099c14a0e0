"""Every configuration runs through the real command line, and says what to expect of it."""

import shlex
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import trees
import yaml

from visionpe.__main__ import main

ROOT = Path(__file__).parent.parent
CONFIGS = sorted(  # those of `fit`
    path for path in (ROOT / "configs").rglob("*.yaml") if path.parent.name != "sweeps"
)
STEP = ("--trainer.fast_dev_run", "1")
# Smaller, for the tests: the same classes and keys.
FOLDER = "--data.batch_size 2 --data.num_workers 0 --data.image_size [32,32] "
FOLDER += "--data.augment.image_size [32,32] --model.backbone_args.depth 1"
SMALLER = {
    "cifar10_resnet18": "--data.batch_size 4 --data.eval_batch_size 4",
    "cifar10_vit": "--data.batch_size 4 --data.eval_batch_size 4",
    "cifar100_convnet": "--data.batch_size 4 --data.eval_batch_size 4",
    "fashion_mnist": "--data.batch_size 4 --data.eval_batch_size 4",
    "fashion_mnist_convnet": "--data.batch_size 4 --data.eval_batch_size 4",
    "fashion_mnist_vit": "--data.batch_size 4 --data.eval_batch_size 4",
    "image_folder": FOLDER,
    "finetune_timm": f"{FOLDER} --model.pretrained false",
    "network": "--data.train 8 --data.test 4 --data.batch_size 4",
    "y_arrow_108": "--data.batch_size 4 --data.eval_batch_size 4",
    "posenet": "--data.train 8 --data.test 4 --data.batch_size 4",
}
Places = Callable[[Path], list[str]]


@pytest.fixture
def places(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Places:
    """The words that say where a configuration finds a tiny data set in its real format."""
    make = {
        "CIFAR10": partial(trees.cifar, monkeypatch=monkeypatch),
        "CIFAR100": partial(trees.cifar, monkeypatch=monkeypatch, classes=100),
        "FashionMNIST": trees.fashion_mnist,
        "ImageFolder": trees.image_folder,
    }

    def words(config: Path) -> list[str]:
        data = yaml.safe_load(config.read_text())["data"]["class_path"].rpartition(".")[2]
        if data not in make:
            return []
        root = tmp_path_factory.mktemp("data")
        make[data](root)  # type: ignore[operator] # of two kinds
        return ["--data.root", str(root)]

    return words


def train(config: Path, *words: str) -> int:
    smaller = shlex.split(SMALLER.get(config.stem, ""))
    return main(["fit", "--config", str(config), *smaller, *words, *STEP])


@pytest.mark.parametrize("config", CONFIGS, ids=lambda path: path.stem)
def test_every_config_trains_a_step(
    config: Path, places: Places, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert train(config, *places(config)) == 0
    assert not list(tmp_path.iterdir())  # fast_dev_run leaves nothing behind


def test_a_classifiers_position_encoding_is_one_word_of_a_command(
    places: Places, capsys: pytest.CaptureFixture[str]
) -> None:
    config = ROOT / "configs" / "classification" / "cifar10_vit.yaml"
    words = places(config)
    for encoding in ("null", "visionpe.RotaryMixed"):
        assert train(config, *words, "--model.encodings", encoding) == 0
    capsys.readouterr()
    assert train(config, *words, "--model.encodings", "visionpe.RotaryMixd") == 2
    assert capsys.readouterr().err == (
        "visionpe: `model` (Classification): `encodings` must name a class, but there is no "
        "'visionpe.RotaryMixd'. Did you mean 'RotaryMixed' or 'Rotary'? `visionpe list encodings` "
        "names them.\n"
    )
    assert train(config, *words, "--model.backbone", "vit_tiny_patch16_225") == 2
    says = capsys.readouterr().err
    assert says.startswith("visionpe: `model` (Classification): `backbone` must be a model of timm")
    assert "Did you mean vit_tiny_patch16_224," in says


@pytest.mark.parametrize("below", ["", "init_args."])
def test_arguments_of_encodings_and_backbones_are_words_of_a_command(
    below: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "mapped.yaml"
    text = (ROOT / "configs" / "classification" / "y_arrow.yaml").read_text()
    line = "encodings: visionpe.RotaryMixed"
    assert text.count(line) == 1
    lie = "encodings: {class_path: visionpe.LieRE, init_args: {block: 16, init: uniform}}"
    config.write_text(text.replace(line, lie))
    words = ["--data.batch_size", "4", "--data.eval_batch_size", "4"]
    depth, heads = f"--model.backbone.{below}depth", f"--model.backbone.{below}heads"
    block = f"--model.encodings.{below}block"
    assert train(config, *words, depth, "1", heads, "8", block, "8") == 0
    capsys.readouterr()
    assert train(config, *words, heads, "8") == 2  # blocks of 16 in heads of 8: both were heard
    assert capsys.readouterr().err.endswith("must be a multiple of `block`, 16, but is 8.\n")
    assert train(config, *words, f"--model.encodings.{below}blok", "8") == 2
    assert "blok" in capsys.readouterr().err


@pytest.mark.parametrize("config", CONFIGS, ids=lambda path: path.stem)
def test_every_configs_head_holds_source_command_cost_and_expectation(config: Path) -> None:
    text = config.read_text()
    head = "".join(line for line in text.splitlines(keepends=True) if line.startswith("#"))
    assert "arXiv" in head or "the paper" in head
    assert f"visionpe fit --config {config.relative_to(ROOT)}" in head
    assert "Cost:" in head
    assert "Expect:" in head
    assert yaml.safe_load(text)["model"]["class_path"].startswith("visionpe.")


def test_the_position_encoding_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    text = (ROOT / "configs" / "coord_toy" / "classification.yaml").read_text()
    line = "encoding: {class_path: visionpe.AddCoords, init_args: {align_corners: true}}"
    assert text.count(line) == 1
    for encoding in (
        "null",
        "visionpe.AddCoords",
        "{class_path: visionpe.AppendSinusoidal2d, init_args: {width: 8}}",
    ):
        config = tmp_path / "config.yaml"
        config.write_text(text.replace(line, f"encoding: {encoding}"))
        assert main(["fit", "--config", str(config), "--trainer.fast_dev_run", "1"]) == 0
    argument = ["--model.network.encoding", "visionpe.AddCoords"]
    assert main(["fit", "--config", str(config), *argument, "--trainer.fast_dev_run", "1"]) == 0
