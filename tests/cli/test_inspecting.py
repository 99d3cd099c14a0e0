"""`visionpe inspect`."""

import json
from pathlib import Path

import pytest
from command import Visionpe


def test_the_table_names_what_a_model_has(visionpe: Visionpe) -> None:
    code, text = visionpe("inspect", "test_vit", "--size", "48", "80")
    assert code == 0, text
    assert "1 absolute" in text
    assert "pos_embed" in text
    assert "3 x 5" in text


def test_json_is_for_programs(visionpe: Visionpe) -> None:
    code, text = visionpe("inspect", "test_vit", "--json")
    assert code == 0
    said = json.loads(text)
    assert said["model"] == "VisionTransformer"
    assert [s["kind"] for s in said["sources"]] == ["absolute", "padding"]


def test_the_picture_is_a_new_file(visionpe: Visionpe, folder: Path) -> None:
    code, text = visionpe("inspect", "test_vit", "--out", "vit.png")
    assert (code, text.splitlines()[-1]) == (0, "vit.png")
    assert (folder / "vit.png").read_bytes()[1:4] == b"PNG"
    before = (folder / "vit.png").read_bytes()
    code, text = visionpe("inspect", "test_vit", "--out", "vit.png")
    assert code == 2
    assert text == ("visionpe: `--out` must be a new file, but vit.png is there. Name another.\n")
    assert (folder / "vit.png").read_bytes() == before


def test_a_factory_of_the_current_folder_is_inspected(
    visionpe: Visionpe, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(folder))
    (folder / "own_net.py").write_text(
        "from torch import nn\nmake = lambda: nn.Sequential(nn.Conv2d(3, 8, 3, padding=1))\n"
    )
    code, text = visionpe("inspect", "own_net:make")
    assert code == 0
    assert "Inventory of Sequential: nothing found; 1 pads" in text


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (
            ["test_vt"],
            "visionpe: MODEL must be a model of timm or torchvision or the path of a class, but "
            "there is no 'test_vt'. Did you mean test_vit, test_vit4, test_vit3?\n",
        ),
        (
            ["test_vit", "--out", "vit.txt"],
            "visionpe: `--out` must end in .png, .svg or .pdf, but is vit.txt.\n",
        ),
        (
            ["test_vit", "--out", "nowhere/vit.png"],
            "visionpe: `--out` must be in a folder that is there, but nowhere is not.\n",
        ),
        (
            ["test_vit", "--shape", "3"],
            "visionpe: unrecognized arguments: --shape 3. `visionpe inspect --help` says more.\n",
        ),
        (
            ["test_vit", "--size", "0", "80"],
            "visionpe: argument --size: must be a number from 1 on, but is 0. `visionpe inspect "
            "--help` says more.\n",
        ),
        (
            ["test_vit", "--size", "48", "-80"],
            "visionpe: argument --size: must be a number from 1 on, but is -80. `visionpe inspect "
            "--help` says more.\n",
        ),
        (
            ["test_vit", "--size", "48", "wide"],
            "visionpe: argument --size: must be a number from 1 on, but is wide. `visionpe inspect "
            "--help` says more.\n",
        ),
    ],
)
def test_refusals_are_one_sentence(visionpe: Visionpe, words: list[str], says: str) -> None:
    assert visionpe("inspect", *words) == (2, says)


def test_a_size_that_the_model_does_not_take_is_said(visionpe: Visionpe) -> None:
    code, text = visionpe("inspect", "test_vit", "--size", "7", "7")
    assert code == 2
    assert text.startswith("visionpe: ")
    assert "Traceback" not in text
