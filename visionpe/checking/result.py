"""What a check finds, and what all checks of a module find together."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, NamedTuple, final

Figure = float | int | str


class Outcome(Enum):
    """How a check ended."""

    OK = "ok"
    FAILED = "failed"
    SKIPPED = "skipped"


class Verdict(NamedTuple):
    """One check's outcome, in words and in figures."""

    outcome: Outcome
    says: str
    figures: dict[str, Figure]


def ok(says: str = "", **figures: Figure) -> Verdict:
    """The module does what it should."""
    return Verdict(Outcome.OK, says, figures)


def failed(says: str, **figures: Figure) -> Verdict:
    """The module has a fault."""
    return Verdict(Outcome.FAILED, says, figures)


def skipped(reason: str, **figures: Figure) -> Verdict:
    """The check does not apply, or cannot be made here."""
    return Verdict(Outcome.SKIPPED, reason, figures)


@final
@dataclass(frozen=True)
class Finding:
    """What one check found.

    Attributes:
        name: of the check; `docs/check.md` has a line on each.
        outcome: ok, failed or skipped.
        says: the fault, or why it was skipped, or what was seen.
        figures: the numbers behind it.
        seconds: what the check took.
    """

    name: str
    outcome: Outcome
    says: str
    figures: Mapping[str, Figure] = field(default_factory=dict)
    seconds: float = 0.0


@final
@dataclass(frozen=True)
class CheckResult:
    """What `visionpe.check` found; printed, a table.

    Attributes:
        subject: the module, as it prints itself.
        findings: one for each check, in order; iterating over the result gives them too.

    >>> from visionpe import Sinusoidal2d, check
    >>> result = check(Sinusoidal2d(), only=["rectangular", "odd_width"])
    >>> result.passed, [finding.name for finding in result]
    (True, ['rectangular', 'odd_width'])
    """

    subject: str
    findings: tuple[Finding, ...]

    def __iter__(self) -> Iterator[Finding]:
        return iter(self.findings)

    def __len__(self) -> int:
        return len(self.findings)

    def __getitem__(self, name: str) -> Finding:
        """The finding of one check.

        Raises:
            KeyError: if there is none of that name.
        """
        for finding in self.findings:
            if finding.name == name:
                return finding
        names = ", ".join(finding.name for finding in self.findings)
        raise KeyError(f"`name` must be one of {names}, but is {name}.")

    @property
    def passed(self) -> bool:
        """Whether no check failed. A skipped check is no failure."""
        return not self.failures

    @property
    def failures(self) -> tuple[Finding, ...]:
        """The findings of faults."""
        return tuple(f for f in self.findings if f.outcome is Outcome.FAILED)

    def to_dict(self) -> dict[str, Any]:
        """The same as plain data, for JSON."""
        return {
            "subject": self.subject,
            "passed": self.passed,
            "findings": [
                {
                    "name": f.name,
                    "outcome": f.outcome.value,
                    "says": f.says,
                    "figures": dict(f.figures),
                    "seconds": round(f.seconds, 3),
                }
                for f in self.findings
            ],
        }

    def __str__(self) -> str:
        width = max((len(f.name) for f in self.findings), default=0)
        lines = [f"{f.name:<{width}}  {f.outcome.value:<7}  {f.says}".rstrip() for f in self]
        return "\n".join([_first_line(self.subject), *lines, self.summary()])

    def summary(self) -> str:
        """One line: how many checks ended how."""
        counts = {o: sum(f.outcome is o for f in self.findings) for o in Outcome}
        return ", ".join(f"{count} {outcome.value}" for outcome, count in counts.items())

    def show(self) -> None:
        """Prints the findings as a table in colour."""
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        colours = {Outcome.OK: "green", Outcome.FAILED: "bold red", Outcome.SKIPPED: "yellow"}
        table = Table(title=Text(_first_line(self.subject)), caption=self.summary())
        table.add_column("check", no_wrap=True)
        table.add_column("outcome", no_wrap=True)
        table.add_column("finding", overflow="fold")
        for f in self.findings:
            outcome = Text(f.outcome.value, style=colours[f.outcome])
            table.add_row(Text(f.name), outcome, Text(f.says))
        Console().print(table)


def _first_line(text: str) -> str:
    first, _, rest = text.partition("\n")
    return f"{first}..." if rest else first
