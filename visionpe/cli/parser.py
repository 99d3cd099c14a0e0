"""The parser of the command line: one short message where its base prints a page and exits."""

from typing import NoReturn

from lightning.pytorch.cli import LightningArgumentParser

from visionpe.cli.messages import explain
from visionpe.errors import ConfigError


class Parser(LightningArgumentParser):
    """Lightning's parser with `ConfigError` for its errors."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Ends the parsing.

        Raises:
            ConfigError: unless this is a parser within a parser, which the outer one reports on.
        """
        if not self.exit_on_error:
            super().error(message, ex)
        raise ConfigError(explain(message, options(self))) from None


def options(parser: object) -> list[str]:
    """All keys of a parser and of its sub-parsers, without the name of the sub-command."""
    names: list[str] = []
    for action in getattr(parser, "_actions", []):
        names += [text.lstrip("-") for text in action.option_strings]
        if isinstance(action.choices, dict):
            for inner in action.choices.values():
                names += options(inner)
    return names
