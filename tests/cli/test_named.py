"""Objects by `PACKAGE.MODULE:NAME`, as a process that changes its folder finds them."""

import json
import sys
from pathlib import Path

import pytest

from visionpe.cli.named import find
from visionpe.errors import ConfigError


@pytest.fixture(autouse=True)
def _path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))  # given back when the test ends


def write(folder: Path, name: str, value: int) -> None:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(f"value = {value}\n")


@pytest.mark.parametrize("name", ["theirs_1.py", "theirs_2/part.py", "theirs_3/__init__.py"])
def test_each_folder_has_its_own(folder: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    target = name.removesuffix(".py").removesuffix("/__init__").replace("/", ".") + ":value"
    for here, value in (("a", 1), ("b", 2)):
        write(folder / here, name, value)
    for here, value in (("a", 1), ("b", 2), ("a", 1)):
        monkeypatch.chdir(folder / here)
        assert find(target, "`target`", example="math:e") == value
    known = sys.modules[target.partition(":")[0]]
    assert find(target, "`target`", example="math:e") == 1
    assert sys.modules[target.partition(":")[0]] is known


def test_a_package_of_another_folder_is_left_with_its_parts(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for here, value in (("a", 1), ("b", 2)):
        write(folder / here, "theirs_4/__init__.py", 0)
        write(folder / here, "theirs_4/part.py", value)
        monkeypatch.chdir(folder / here)
        assert find("theirs_4.part:value", "`target`", example="math:e") == value


def test_modules_that_others_hold_on_to_stay(folder: Path) -> None:
    write(folder, "json.py", 1)
    assert find("json:dumps", "`target`", example="math:e") is json.dumps


@pytest.mark.parametrize("target", [":net", "mine:", "./mine.py:net"])
def test_half_a_name_is_refused(target: str) -> None:
    with pytest.raises(ConfigError) as caught:
        find(target, "MODEL", example="math:e")
    assert str(caught.value) == (
        f"MODEL must be PACKAGE.MODULE:FACTORY, but is {target!r}. For instance `math:e`."
    )
