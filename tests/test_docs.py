"""The documents are true: their code runs, their commands exist, the tests they name are there."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
TESTS = {
    node.name
    for path in (ROOT / "tests").rglob("test_*.py")
    for node in ast.parse(path.read_text()).body
    if isinstance(node, ast.FunctionDef)
}


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_python_blocks_run_from_top_to_bottom(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for block in blocks(page, "python"):
        exec(compile(block, page.name, "exec"), names)


def test_the_readme_has_python_to_run() -> None:
    assert blocks(ROOT / "README.md", "python")


def test_every_convention_names_a_test_that_exists() -> None:
    rows = [
        line for line in (ROOT / "docs/conventions.md").read_text().splitlines() if line[:2] == "| "
    ]
    rules = [row for row in rows if not re.match(r"\| (rule|function|convention) ", row)]
    assert len(rules) > 25
    for row in rules:
        named = re.findall(r"`(test_\w+)`", row)
        assert named, row
        assert set(named) <= TESTS, row


def test_make_targets_in_the_documents_exist() -> None:
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for page in [*PAGES, ROOT / "CONTRIBUTING.md"]:
        for block in blocks(page, "(?:sh)?"):
            named = re.findall(r"^make (\w+)", block, re.MULTILINE)
            assert set(named) <= targets, page.name


def test_links_to_files_lead_somewhere() -> None:
    for page in [*PAGES, ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md"]:
        for target in re.findall(r"\]\((?!https?://|#)([^)#]+)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_the_readmes_tables_are_the_results() -> None:
    """`<!-- table: FILE -->` in the README is followed by that file, which an experiment wrote."""
    text = (ROOT / "README.md").read_text()
    tables = re.findall(r"<!-- table: (\S+) -->\n(.*?)<!-- end -->", text, re.DOTALL)
    assert len(tables) >= 3
    for path, table in tables:
        assert table.strip() == (ROOT / path).read_text().strip(), path
