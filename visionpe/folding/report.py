"""What was folded and what was not, as a person wants to read it."""

from dataclasses import dataclass
from itertools import groupby
from typing import NamedTuple, final


class Line(NamedTuple):
    """One method of one encoding.

    Attributes:
        module: the encoding's name in the model.
        encoding: its class.
        what: the constants: "bias", "turns", "terms" or "map"; None: it runs as before.
        numbers: how many there are.
        why: it was not folded.
    """

    module: str
    encoding: str
    what: str | None
    numbers: int
    why: str


@final
@dataclass(frozen=True, eq=False)
class Folding:
    """What `fold` did; `print` shows a table.

    Attributes:
        model: the class of the model.
        size: `(h, w)` of its images in pixels.
        baked: what constants stand for now.
        kept: what runs as before, with the reason.
        difference: the largest change of an output of the probe, relative to the largest output.
    """

    model: str
    size: tuple[int, int]
    baked: list[Line]
    kept: list[Line]
    difference: float

    def __str__(self) -> str:
        """The table."""
        lines = [repr(self)[1:-1]]
        for key, group in groupby(self.baked, lambda line: (line.encoding, line.what)):
            rows = list(group)
            total = sum(row.numbers for row in rows)
            lines.append(f"{key[0]} {_names(rows)}: {key[1]}, {total} numbers")
        for why, group in groupby(self.kept, lambda line: (line.encoding, line.why)):
            lines.append(f"not {why[0]} {_names(list(group))}: {why[1]}")
        return "\n".join(lines)

    def __repr__(self) -> str:
        h, w = self.size
        return (
            f"<{self.model} folded for {h} x {w}: {len(self.baked)} folded, {len(self.kept)} not>"
        )


def _names(lines: list[Line]) -> str:
    more = f" ... {lines[-1].module} ({len(lines)})" if len(lines) > 1 else ""
    return lines[0].module + more
