"""The verbs that answer at once."""

import resource
import subprocess
import sys
from pathlib import Path

import pytest
from command import Visionpe

import visionpe as package
from visionpe.cli.listing import entries


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["--help"],
        ["--version"],
        ["list"],
        ["list", "models", "--for", "RelativeBias"],
        ["nothing"],
    ],
)
def test_help_version_and_list_do_not_load_torch(words: list[str]) -> None:
    code = (
        "import sys, visionpe.__main__ as m\n"
        f"m.main({words!r})\n"
        "heavy = {'torch', 'timm', 'lightning', 'jsonargparse', 'numpy'}\n"
        "print(sorted(heavy & sys.modules.keys()))"
    )
    start = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines()[-1] == "[]"
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - start < 0.3  # CPU seconds


def test_the_version_is_that_of_the_package(visionpe: Visionpe) -> None:
    assert visionpe("--version") == (0, f"visionpe {package.__version__}\n")


def test_help_names_every_verb(visionpe: Visionpe) -> None:
    code, text = visionpe()
    assert code == 0
    assert visionpe("--help") == (0, text)
    for verb in ("fit", "validate", "test", "predict", "report", "list"):
        assert f"\n  {verb} " in text


def test_list_says_what_the_docstrings_say(visionpe: Visionpe) -> None:
    code, text = visionpe("list", "encodings")
    assert code == 0
    doc = (package.AddCoords.__doc__ or "").splitlines()[0]
    assert f"AddCoords {doc}" in " ".join(text.split())


def test_list_shows_the_public_classes_of_the_known_modules() -> None:
    for kind in ("tasks", "data"):
        for name, line in entries(kind):
            assert name[0].isupper()
            assert line


def test_list_shows_configurations_with_their_first_comment(
    folder: Path, visionpe: Visionpe
) -> None:
    (folder / "configs" / "toy").mkdir(parents=True)
    (folder / "configs" / "toy" / "a.yaml").write_text("# What it is.\nx: 1\n")
    assert visionpe("list", "configs") == (0, "  configs/toy/a.yaml  What it is.\n")


def test_list_refuses_what_it_does_not_know(visionpe: Visionpe) -> None:
    code, text = visionpe("list", "encoding")
    assert code == 2
    assert text == (
        "visionpe list: the kind must be one of encodings, tasks, data, configs, models, "
        "but is 'encoding'. Did you mean `encodings`?\n"
    )
