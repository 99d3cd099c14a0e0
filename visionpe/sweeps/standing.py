"""Whether a cell is done: trained, and tested and stressed as the sweep file says now."""

from typing import Any

import yaml

from visionpe.sweeps.configs import Overrides, digest, override
from visionpe.sweeps.folder import SweepFolder
from visionpe.sweeps.grid import Cell, Sweep


def settle(folder: SweepFolder, cell: Cell, sweep: Sweep) -> bool:
    """Whether nothing is left to do for a cell.

    Tests of other overrides, tests that the sweep has no longer and stress that it does not ask
    for are taken out of the outcome of a cell that is done; the run's folder keeps their files.
    """
    outcome = folder.outcome(cell.id) or {}
    if outcome.get("status") != "done":
        return False
    wanted = test_digests(cell, sweep.tests)
    known = _known(folder, cell, outcome, sweep.tests)
    found = outcome.get("tests") or {}
    kept = {n: found[n] for n, asked in wanted.items() if n in found and known.get(n) == asked}
    now = {**outcome, "tests": kept, "test_digests": {name: wanted[name] for name in kept}}
    if not sweep.stress:
        now.pop("stress", None)
    if now != outcome:
        folder.put(cell.id, now)
    return len(kept) == len(wanted) and (not sweep.stress or "stress" in now)


def test_digests(cell: Cell, tests: dict[str, Overrides]) -> dict[str, str]:
    """By name, a digest of the configuration of each test."""
    return {name: digest(override(cell.config, asked)) for name, asked in tests.items()}


def tested_before_digests(folder: SweepFolder, cell: Cell, name: str, overrides: Overrides) -> bool:
    """Whether a test whose files are named without a digest, as all were at first, is this one.

    Its configuration was kept as it was run.
    """
    try:
        text = folder.test_config(cell.id, name).read_text(encoding="utf-8")
        kept = yaml.safe_load(text)
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return False
    if not isinstance(kept, dict):
        return False
    asked = override(cell.config, overrides)
    return {**kept, "run": None} == {**asked, "run": None}


def _known(
    folder: SweepFolder, cell: Cell, outcome: dict[str, Any], tests: dict[str, Overrides]
) -> dict[str, str]:
    """By name, the digests of the tests that an outcome has."""
    known: dict[str, str] | None = outcome.get("test_digests")
    if known is not None:
        return known
    earlier = {n: o for n, o in tests.items() if tested_before_digests(folder, cell, n, o)}
    return test_digests(cell, earlier)
