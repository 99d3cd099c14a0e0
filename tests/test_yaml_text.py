"""YAML as users write it."""

import pytest
import yaml

from visionpe.yaml_text import fault, load


@pytest.mark.parametrize("text", ["1e-3", "1E-3", "0.01e-1", "10.e-4", "1_0e-4", "+1e-3"])
def test_numbers_with_an_exponent_are_numbers(text: str) -> None:
    assert load(f"lr: {text}") == {"lr": pytest.approx(1e-3, rel=1e-12)}


@pytest.mark.parametrize("text", ["1e-3a", "e3", "'1e-3'", "1e", "v1e3"])
def test_words_that_hold_one_are_words(text: str) -> None:
    assert load(f"name: {text}") == {"name": text.strip("'")}


def test_all_else_is_as_pyyaml_reads_it() -> None:
    text = "{a: 1, b: [2.5, true, null, ~, 0x1F, -.inf], c: {d: on}, e: '', f: 3_000}"
    assert load(text) == yaml.safe_load(text)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a: 1\nb: 2\na: 3\n", "at line 3, column 1: `a` is given twice, first in line 1"),
        ("{a: 1, a: 1}", "at line 1, column 8: `a` is given twice, first in line 1"),
        ("x:\n- y: {b: 1,\n  b: 2}", "at line 3, column 3: `b` is given twice, first in line 2"),
    ],
)
def test_a_key_that_is_given_twice_is_refused_with_both_places(text: str, says: str) -> None:
    with pytest.raises(yaml.YAMLError) as caught:
        load(text)
    assert fault(caught.value) == f"is not valid YAML {says}"


def test_a_merged_mapping_may_be_overridden_and_merged_again() -> None:
    text = "a: &a {x: 1, y: 2}\nb: &b {<<: *a, y: 3}\nc: {<<: *b, x: 4}\nd: {x: 1}"
    assert load(text) == {
        "a": {"x": 1, "y": 2},
        "b": {"x": 1, "y": 3},
        "c": {"x": 4, "y": 3},
        "d": {"x": 1},
    }
