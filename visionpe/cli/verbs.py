"""The verbs that train and score, from their words to an exit code."""

import signal
import sys

from visionpe.cli import modules, noise
from visionpe.cli.words import fail, say
from visionpe.errors import VisionPEError


def main(verb: str, argv: list[str]) -> int:
    """Runs `fit`, `validate`, `test` or `predict`.

    Args:
        verb: which.
        argv: the words after it.

    Returns:
        The exit code, as of `visionpe.__main__.main`.
    """
    from lightning.fabric.utilities.exceptions import MisconfigurationException

    from visionpe.cli.lightning import VisionPECLI
    from visionpe.cli.making import Unmade
    from visionpe.cli.timing import is_over
    from visionpe.tasks.callbacks import Interrupted
    from visionpe.tasks.nonfinite import NonFiniteError

    cli: VisionPECLI | None = None
    failed = True
    try:
        with noise.quiet(scoring=verb != "fit"):
            modules.load()
            cli = VisionPECLI(verb, argv)
            cli.run()
            cli.finish()
        failed = False
    except (VisionPEError, Unmade, MisconfigurationException) as error:
        say(error)
        return 1 if isinstance(error, NonFiniteError) else 2
    except Interrupted as stop:
        folder = cli.folder.path if cli is not None and cli.folder is not None else "its folder"
        if cli is not None and is_over(cli.trainer):
            print(f"out of time at step {stop.step}; the same command goes on in {folder}")
            return 0
        print(
            f"interrupted at step {stop.step}; the same command resumes from {folder}",
            file=sys.stderr,
        )
        return 128 + stop.signum
    except KeyboardInterrupt:
        print("interrupted before the first step", file=sys.stderr)
        return 128 + signal.SIGINT
    except SystemExit as stop:  # of --help and --print_config, and Lightning's after two Ctrl-C
        if isinstance(stop.__context__, KeyboardInterrupt):
            print("interrupted; the same command resumes from its last checkpoint", file=sys.stderr)
            return 128 + signal.SIGINT
        return stop.code if isinstance(stop.code, int) else 0
    except Exception as error:
        if cli is not None:
            cli.close(failed=True)  # first: a folder that is removed takes no traceback
        fail(error, cli.folder.path if cli is not None and cli.folder is not None else None)
        return 1
    finally:
        if cli is not None:
            cli.close(failed=failed)
    return 0
