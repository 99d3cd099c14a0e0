"""`visionpe check`."""

from pathlib import Path

import pytest
from command import Visionpe

pytestmark = pytest.mark.usefixtures("unchecked")


def test_a_sound_module_passes(visionpe: Visionpe) -> None:
    code, text = visionpe("check", "visionpe:Sinusoidal2d", "--only", "stale_size", "odd_width")
    assert code == 0, text
    assert "stale_size" in text
    assert "2 ok, 0 failed, 0 skipped" in text


def test_a_faulty_module_ends_in_exit_code_1(visionpe: Visionpe) -> None:
    words = ("--layout", "bhwc", "--channels", "8", "--only", "inputs_untouched")
    code, text = visionpe("check", "broken:WritesInput", *words)
    assert code == 1, text
    assert "changes its input in place" in text


def test_a_factory_of_the_current_folder_is_found(
    visionpe: Visionpe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))  # taken back when the test ends
    (tmp_path / "mine.py").write_text("import visionpe\nmake = lambda: visionpe.AddCoords()\n")
    code, text = visionpe("check", "mine:make", "--only", "rectangular")
    assert code == 0, text


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (
            ["visionpe"],
            "`target` must be PACKAGE.MODULE:FACTORY, but is 'visionpe'. For instance "
            "`visionpe:Sinusoidal2d`.",
        ),
        (
            ["visionpy:Sinusoidal2d"],
            "`target` must name a module that can be imported, but visionpy cannot: No module "
            "named 'visionpy'. Modules of the current folder and installed packages are found.",
        ),
        (
            ["visionpe:Sinusoidal"],
            "`target` must name what is in visionpe, but it has no 'Sinusoidal'. Did you mean "
            "`Sinusoidal2d`?",
        ),
        (
            ["broken:Sound"],
            "broken:Sound cannot be checked: `layout` must be one of `bchw` (a map, channels "
            "second), `bhwc` (a map, channels last), `bnc` (tokens), `q` (queries (or keys) "
            "`b heads n d`), `qk` (queries and keys, two arguments), but is None. Or give "
            "`inputs`, which makes the arguments of a call.",
        ),
        (
            ["broken:Sound", "--layout", "bwh"],
            "argument --layout: invalid choice: 'bwh' (choose from bchw, bhwc, bnc, q, qk). "
            "`visionpe check --help` says more.",
        ),
        (
            [],
            "the following arguments are required: PACKAGE.MODULE:FACTORY. "
            "`visionpe check --help` says more.",
        ),
    ],
)
def test_wrong_words_are_answered_shortly(visionpe: Visionpe, words: list[str], says: str) -> None:
    code, text = visionpe("check", *words)
    assert code == 2
    text = text.removeprefix("visionpe: ").rstrip("\n").replace("'bchw'", "bchw")
    for name in ("bhwc", "bnc", "q", "qk"):  # Python 3.11 quotes the choices
        text = text.replace(f"'{name}'", name)
    assert text == says


def test_help_explains_the_options(visionpe: Visionpe) -> None:
    code, text = visionpe("check", "--help")
    assert code == 0
    for option in ("--layout", "--channels", "--heads", "--head-dim", "--method", "--only"):
        assert option in text
    assert "\n  check " in visionpe("--help")[1]
