"""Every configuration runs through the real command line, and says what to expect of it."""

from pathlib import Path

import pytest
import yaml

from visionpe.__main__ import main

ROOT = Path(__file__).parent.parent
CONFIGS = sorted((ROOT / "configs").rglob("*.yaml"))


@pytest.mark.parametrize("config", CONFIGS, ids=lambda path: path.stem)
def test_every_config_trains_a_step(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["fit", "--config", str(config), "--trainer.fast_dev_run", "1"]) == 0
    assert not list(tmp_path.iterdir())  # fast_dev_run leaves nothing behind


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
