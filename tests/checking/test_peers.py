"""The kit finds what is known to be wrong with two widespread packages; docs/check.md has the rest.

A fault that a later release mends fails here: then the documents must say so.
"""

import functools
from pathlib import Path

import pytest
from strangers import STRANGERS

from visionpe import CheckResult, check
from visionpe.checking.kit import CHECKS

pytestmark = pytest.mark.usefixtures("unchecked")


@functools.cache
def result(name: str) -> CheckResult:
    make, options = STRANGERS[name]
    return check(make, **options)


SINUSOIDS = ["PositionalEncoding1D", "PositionalEncoding2D"]
AFTER_FP32 = "bfloat16 after float32 (the same module) gives float32"
AFTER_FP16 = "float32 after float16 (the same module) gives float16"
BAKED = "does not export with open sizes: UserError: Constraints violated"
UNLOADED = "garbage unless a state dict is loaded: "


@pytest.mark.parametrize("name", SINUSOIDS)
def test_a_cache_keyed_by_shape_gives_another_calls_dtype(name: str) -> None:
    found = result(name)["stale_dtype"]
    assert AFTER_FP32 in found.says
    assert AFTER_FP16 in found.says


@pytest.mark.parametrize("name", SINUSOIDS)
def test_the_cache_has_a_copy_for_each_sample(name: str) -> None:
    figures = result(name)["batch_copies"].figures
    assert figures == {"bytes of 1 sample": 35 * 64 * 4, "bytes of 16": 16 * 35 * 64 * 4}


@pytest.mark.parametrize("name", SINUSOIDS)
def test_frequencies_in_half_precision_are_wrong_from_position_58_and_243(name: str) -> None:
    assert result(name)["bfloat16_module"].figures["first beyond 0.1"] == 58
    assert result(name)["float16_module"].figures["first beyond 0.1"] == 243
    assert float(result(name)["bfloat16_module"].figures["error"]) > 1.9


@pytest.mark.parametrize("name", SINUSOIDS)
def test_frequencies_made_on_meta_are_garbage_unless_loaded(name: str) -> None:
    assert result(name)["meta_constants"].says == f"{UNLOADED}inv_freq"
    assert result(name)["meta"].outcome.value == "ok"
    assert result(name)["meta_after_use"].outcome.value == "failed"


@pytest.mark.parametrize("name", SINUSOIDS)
def test_an_export_after_a_call_bakes_its_size(name: str) -> None:
    assert result(name)["export_after_use"].says.startswith(BAKED)


def test_queries_in_half_precision_are_wrong_from_where_it_cannot_count() -> None:
    assert result("RotaryEmbedding")["bfloat16_input"].figures["first position"] == 257
    assert result("RotaryEmbedding")["float16_input"].figures["first position"] == 2049


def test_cached_angles_are_garbage_after_meta() -> None:
    found = result("RotaryEmbedding")["meta_after_use"]
    assert found.outcome.value == "failed"
    assert "memory that was never written" in found.says


def test_cached_angles_outlive_their_frequencies() -> None:
    says = "after new values are loaded, a call does not use them, but still the old ones"
    assert result("RotaryEmbedding")["stale_state"].says == says


def test_axial_angles_of_pixels_specialise_the_height() -> None:
    found = result("RotaryEmbedding, axial pixel")["export"]
    assert found.says.startswith(f"{BAKED}! (L['x'].size()[1]".replace("! ", " "))


@pytest.mark.parametrize("name", STRANGERS)
def test_the_documents_table_is_what_the_kit_finds(name: str) -> None:
    page = (Path(__file__).parents[2] / "docs" / "check.md").read_text()
    table = page.partition("## Found in other packages")[2].splitlines()
    rows = [[c.strip() for c in line.split("|")[1:-1]] for line in table if line[:1] == "|"]
    column = rows[0].index(f"`{name}`")
    recorded = {row[0].strip("`"): row[column] for row in rows[2:]}
    assert recorded == {finding.name: finding.outcome.value for finding in result(name)}


def test_the_documents_explain_every_check() -> None:
    page = (Path(__file__).parents[2] / "docs" / "check.md").read_text()
    for name in CHECKS:
        assert f"\n| `{name}` | " in page.partition("## Found in other packages")[0]


@pytest.mark.parametrize("name", STRANGERS)
def test_what_is_right_about_them_is_found_right(name: str) -> None:
    for sound in ("single_cells", "empty_batch", "stale_size", "growth", "deterministic"):
        assert result(name)[sound].outcome.value == "ok"
