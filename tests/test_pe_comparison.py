"""The tables of encodings compared, from sweeps run in parts."""

import re

import pytest

from experiments.pe_comparison import Line, cell, merged, table


def line(encoding: str, seed: int, score: str) -> Line:
    return {
        "encoding": encoding,
        "seed": str(seed),
        "parameters": "1234",
        "cpu_seconds": "10",
        "1x: test/acc1": score,
    }


def test_merged__parts_of_a_sweep__keep_the_old_runs_and_take_the_new_ones() -> None:
    old = [line("Shaw", 0, "0.5000"), line("none", 10, "0.2500"), line("given up", 0, "0.1000")]
    new = [line("none", 9, "0.7500"), line("Shaw", 0, "0.6000")]
    found = merged(old, new, ["none", "Shaw"])
    assert found == [new[0], old[1], new[1], old[2]]
    assert merged(old, [], ["none", "Shaw"]) == [old[1], old[0], old[2]]


def test_merged__runs_that_were_tested_differently__are_refused() -> None:
    other = {**line("none", 1, "0.5"), "2x: test/acc1": "0.5"}
    says = (
        "The runs must have the tests of the lines kept, ['encoding', 'seed', 'parameters', "
        "'cpu_seconds', '1x: test/acc1'], but have ['encoding', 'seed', 'parameters', "
        "'cpu_seconds', '1x: test/acc1', '2x: test/acc1']. Move the old file away, or run the "
        "sweep with its tests."
    )
    with pytest.raises(ValueError, match=f"^{re.escape(says)}$"):
        merged([line("none", 0, "0.5")], [other], ["none"])


def test_table__several_seeds__gives_mean_interval_and_cost() -> None:
    runs = [line("none", 0, "0.5000"), line("none", 1, "0.7000"), line("Shaw", 0, "0.9000")]
    assert list(table(runs, {"none": ("1.00", "1.00")}))[2:] == [
        # Student's t of one degree of freedom: 12.706 * 14.14 / sqrt(2) = 127
        "| none | 2 | 60.0 (0.0 to 100.0) | 1,234 | 10 | 1.00 | 1.00 |",
        "| Shaw | 1 | 90.0 | 1,234 | 10 | - | - |",
    ]


def test_cell__three_values__has_the_interval_of_students_t() -> None:
    assert cell([0.5, 0.51, 0.52]) == "51.0 (48.5 to 53.5)"  # 4.303 * 1 / sqrt(3) = 2.48
