"""Every public encoding has a record, a source, a doctest, a row, a picture, laws and oracles."""

import ast
import doctest
import inspect
import re
import sys
from pathlib import Path

import pytest
from record import Record
from records import RECORDS
from torch import nn

import visionpe

ROOT = Path(__file__).parent.parent
ENCODINGS = [
    value
    for name in visionpe.__all__
    if isinstance(value := getattr(visionpe, name), type)
    and issubclass(value, nn.Module)
    and value.__module__.startswith("visionpe.encodings.")
    and not inspect.isabstract(value)
    and value is not visionpe.AttentionEncoding
]
TESTS = {
    f"{path.name}::{node.name}"
    for path in (ROOT / "tests").rglob("test_*.py")
    for node in ast.parse(path.read_text()).body
    if isinstance(node, ast.FunctionDef)
}
PAGE = ROOT / "docs" / "encodings.md"


def record_of(encoding: type[nn.Module]) -> Record:
    found = [record for record in RECORDS if record.encoding is encoding]
    assert len(found) == 1, f"{encoding.__name__} must have one record, but has {len(found)}."
    return found[0]


def missing(record: Record) -> list[str]:
    """What the catalogue demands of an encoding and does not have."""
    name, lacks = record.name, []
    module = sys.modules[record.encoding.__module__]
    if record.source not in (module.__doc__ or ""):
        lacks.append(f"the source {record.source} in the docstring of {module.__name__}")
    examples = [e for t in doctest.DocTestFinder().find(record.encoding) for e in t.examples]
    if not examples:
        lacks.append("a doctest")
    page = PAGE.read_text() if PAGE.is_file() else ""
    if not re.search(rf"^\|[^|]*`{name}`[^|]*\|", page, re.MULTILINE):
        lacks.append("a row in docs/encodings.md")
    if not (ROOT / f"docs/images/encodings/{name}.png").is_file():
        lacks.append(f"the picture docs/images/encodings/{name}.png")
    if len({*record.laws, *record.not_laws}) < 3:
        lacks.append("three named laws")
    if not record.not_laws:
        lacks.append("a law that must not hold")
    if not record.oracles:
        lacks.append("an oracle")
    if len(record.samples) < 2:
        lacks.append("two samples")
    named = {*record.laws, *record.not_laws, *record.oracles}
    lacks += [f"the test {test}" for test in sorted(named - TESTS)]
    return lacks


@pytest.mark.parametrize("encoding", ENCODINGS, ids=lambda e: e.__name__)
def test_every_public_encoding_has_all_that_the_catalogue_demands(
    encoding: type[nn.Module],
) -> None:
    lacks = missing(record_of(encoding))
    assert not lacks, f"{encoding.__name__} lacks " + "; ".join(lacks)


def test_every_record_is_of_a_public_encoding() -> None:
    assert {record.encoding for record in RECORDS} <= set(ENCODINGS)


def test_the_encodings_hold_to_sixty_named_laws() -> None:
    laws = {law for record in RECORDS for law in (*record.laws, *record.not_laws)}
    assert len(laws) >= 60


def test_the_demands_can_fail() -> None:
    bare = Record(visionpe.AddCoords, RECORDS[0].kind, "0000.00000", (), (), (), ())
    lacks = missing(bare)
    assert "the source 0000.00000 in the docstring of visionpe.encodings.coord" in lacks
    for lack in ("three named laws", "a law that must not hold", "an oracle", "two samples"):
        assert lack in lacks
    absent = Record(visionpe.AddCoords, RECORDS[0].kind, "1807.03247", (), ("a::b",), (), ())
    assert "the test a::b" in missing(absent)
