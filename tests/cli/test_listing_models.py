"""`visionpe list models`: what the census found, without building anything."""

from pathlib import Path

import pytest
import timm
from command import Visionpe

import visionpe as package
from visionpe.cli import taking
from visionpe.cli.encoding import can_attach

FILE = """# timm 9.9, torchvision 8.8
name,bias,rotary,conv,map,hanet,padding,why
vit_tiny,+,+,+,+,+,-,
vit_odd,!,+,+,+,+,-,missed: ValueError `at` must name
resnet18,-,-,+,+,+,+,
resnet99,,,,,,,
"""


@pytest.fixture
def few(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "census.csv"
    path.write_text(FILE)
    monkeypatch.setattr(taking, "CENSUS", path)


@pytest.mark.usefixtures("few")
def test_models_and_what_they_take(visionpe: Visionpe) -> None:
    assert visionpe("list", "models") == (
        0,
        "  vit_tiny  bias rotary conv map hanet\n"
        "  vit_odd   rotary conv map hanet\n"
        "  resnet18  conv map hanet padding\n"
        "  resnet99  not tried\n",
    )
    assert visionpe("list", "models", "*18") == (0, "  resnet18  conv map hanet padding\n")


@pytest.mark.usefixtures("few")
def test_models_that_take_an_encoding_and_why_others_do_not(visionpe: Visionpe) -> None:
    assert visionpe("list", "models", "--for", "RelativeBias(6, (14, 14))") == (
        0,
        "  vit_tiny\n"
        "1 of 4 names take RelativeBias(6, (14, 14)) (timm 9.9, torchvision 8.8).\n"
        "1 have no attention between places: resnet18.\n"
        "not vit_odd: missed: ValueError `at` must name\n"
        "1 were not tried: resnet99.\n",
    )
    code, text = visionpe("list", "models", "--for=CoordConv", "resnet")
    assert (code, text.splitlines()[0]) == (0, "  resnet18")


@pytest.mark.usefixtures("few")
@pytest.mark.parametrize(
    ("words", "says"),
    [
        (
            ["vit_tine"],
            "visionpe: PATTERN must match a name of timm 9.9, torchvision 8.8, but 'vit_tine' "
            "matches none. Did you mean `vit_tiny`?\n",
        ),
        (
            ["--for", "RelativBias"],
            "visionpe: `--for` must be an encoding that can be attached, but is 'RelativBias'. "
            "Did you mean `RelativeBias`? `visionpe list encodings` names them.\n",
        ),
        (
            ["--for"],
            "visionpe: `--for` must be followed by an encoding, but ends the line.\n",
        ),
        (
            ["a", "b"],
            "visionpe: `visionpe list models` takes one PATTERN, but is given 'a b'.\n",
        ),
    ],
)
def test_refusals_are_one_sentence(visionpe: Visionpe, words: list[str], says: str) -> None:
    assert visionpe("list", "models", *words) == (2, says)


def test_every_name_of_timm_has_a_line() -> None:
    versions, rows = taking.read()
    if f"timm {timm.__version__}," in versions:
        assert set(timm.list_models()) <= {row.name for row in rows}


def test_every_encoding_that_can_be_attached_has_a_column() -> None:
    named = {n for n in package.__all__ if can_attach(getattr(package, n))}
    columns = dict(taking.kinds())
    assert set(columns) == named - {"CoordConv"}
    assert set(columns.values()) == {"bias", "rotary", "map", "hanet"}
