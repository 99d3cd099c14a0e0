"""What the tests of the command line share."""

from pathlib import Path

import pytest
from command import Visionpe


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Each test runs in an empty folder and can name the classes of `tiny.py`."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("VISIONPE_TRACEBACK", raising=False)
    return tmp_path


@pytest.fixture
def visionpe(capsys: pytest.CaptureFixture[str]) -> Visionpe:
    """Runs the command in this process; returns its exit code and all that it prints."""

    def call(*argv: str) -> tuple[int, str]:
        from visionpe.__main__ import main

        capsys.readouterr()
        code = main(argv)
        printed = capsys.readouterr()
        return code, printed.out + printed.err

    return call


@pytest.fixture
def tiny(folder: Path) -> str:
    """A configuration file of a short run."""
    (folder / "tiny.yaml").write_text(
        "trainer: {max_epochs: 1, accelerator: cpu, log_every_n_steps: 1}\n"
        "model: {class_path: tiny.Tiny, init_args: {width: 8, encoding: tiny.Scale}}\n"
        "data: {class_path: tiny.TinyData}\n"
    )
    return "tiny.yaml"
