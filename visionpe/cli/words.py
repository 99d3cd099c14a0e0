"""What the verbs with words of their own share: a parser, and errors that become exit codes."""

import argparse
import contextlib
import os
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn, final

from typing_extensions import override

from visionpe.errors import ConfigError, VisionPEError


@final
class Parser(argparse.ArgumentParser):
    """The parser of a verb: words that it cannot understand are a `ConfigError`.

    Args:
        verb: the word after `visionpe`.
        description: what it does, for `--help`.

    >>> parser = Parser("list", "Names what there is.")
    >>> parser.error("unrecognized arguments: --all")
    Traceback (most recent call last):
        ...
    visionpe.errors.ConfigError: unrecognized arguments: --all. `visionpe list --help` says more.
    """

    def __init__(self, verb: str, description: str) -> None:
        super().__init__(prog=f"visionpe {verb}", description=description, allow_abbrev=False)

    def add_model(self) -> None:
        """Adds MODEL and `--pretrained`, for `visionpe.cli.probed.find_model`."""
        self.add_argument(
            "model",
            metavar="MODEL",
            help="a name of timm, torchvision:NAME, the folder or checkpoint of a classification "
            "run, or PACKAGE.MODULE:FACTORY",
        )
        self.add_argument("--pretrained", action="store_true", help="with the library's weights")

    def add_size(self, said: str = "of the images") -> None:
        """Adds `--size H W`: two numbers from 1 on, or None."""
        self.add_argument("--size", nargs=2, type=count, metavar=("H", "W"), help=said)

    @override
    def error(self, message: str) -> NoReturn:
        raise ConfigError(f"{message}. `{self.prog} --help` says more.")


def count(word: str) -> int:
    """A number from 1 on, as the `type` of an argument.

    >>> count("3")
    3
    """
    if not word.isdecimal() or int(word) < 1:
        raise argparse.ArgumentTypeError(f"must be a number from 1 on, but is {word}")
    return int(word)


def say(error: BaseException) -> None:
    """Prints an error as one line; with its traceback if `VISIONPE_TRACEBACK` is 1."""
    if os.environ.get("VISIONPE_TRACEBACK") == "1":
        traceback.print_exception(error)
    else:
        print(f"visionpe: {error}", file=sys.stderr)


def fail(error: Exception, folder: Path | None = None) -> None:
    """Prints an error that nobody foresaw as one line, which says where its traceback is.

    Args:
        error: the error; with `VISIONPE_TRACEBACK=1`, its traceback is all that is printed.
        folder: a run's; the traceback goes into its `traceback.txt`.
    """
    if os.environ.get("VISIONPE_TRACEBACK") == "1":
        traceback.print_exception(error)
        return
    lines = str(error).strip().splitlines()
    what = ": ".join([type(error).__name__, *lines[:1]])
    where = "VISIONPE_TRACEBACK=1 shows the traceback"
    if folder is not None and folder.is_dir():
        path = folder / "traceback.txt"
        with contextlib.suppress(OSError), path.open("a", encoding="utf-8") as file:
            traceback.print_exception(error, file=file)
            where = f"the traceback is in {path}"
    print(f"visionpe: {what} ({where})", file=sys.stderr)


def run(work: Callable[[], int], *, interrupted: str | None = None) -> int:
    """The exit code of a verb, whose errors are printed as one line.

    Args:
        work: parses the words and does what they say; returns the exit code.
        interrupted: what Ctrl-C is answered with; None: it is handed on.

    Returns:
        The code of `work`; 0 after `--help`, 2 for a `VisionPEError` and 1 for any other error,
        which are printed with their traceback if the environment's `VISIONPE_TRACEBACK` is 1, and
        130 for Ctrl-C.

    >>> run(lambda: 1)
    1
    """
    try:
        return work()
    except VisionPEError as error:
        say(error)
        return 2
    except BrokenPipeError:
        raise
    except Exception as error:
        fail(error)
        return 1
    except KeyboardInterrupt:
        if interrupted is None:
            raise
        print(interrupted, file=sys.stderr)
        return 128 + signal.SIGINT
    except SystemExit:  # of --help
        return 0
