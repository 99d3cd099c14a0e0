"""The `visionpe` command: finds the verb and loads what that verb needs, and nothing else."""

import sys
from collections.abc import Sequence
from difflib import get_close_matches

import visionpe

_HELP = """\
usage: visionpe VERB [options]

  fit        train a model:   visionpe fit --config FILE.yaml [--model.lr 0.01 ...]
  validate   score a checkpoint on the validation set: visionpe validate --ckpt_path FILE.ckpt
  test       score a checkpoint on the test set
  predict    write what a model says of a data set
  report     make a page of one or more runs
  check      test a position encoding: visionpe check PACKAGE.MODULE:FACTORY --layout bchw ...
  list       name what there is: visionpe list [encodings|tasks|data|configs]

  visionpe VERB --help says more; --version prints the version.
"""
_VERBS = ("fit", "validate", "test", "predict", "report", "check", "list")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command line.

    Args:
        argv: the words after `visionpe`; those of this process if left out.

    Returns:
        The exit code: 0, 1 for a failure, 2 for a command or configuration that cannot be
        understood, 130 or 143 for a run stopped by Ctrl-C or SIGTERM.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    verb, rest = (words[0], words[1:]) if words else ("--help", [])
    match verb:
        case "-h" | "--help" | "help":
            print(_HELP, end="")
            return 0
        case "-V" | "--version":
            print(f"visionpe {visionpe.__version__}")
            return 0
        case "list":
            from visionpe.cli import listing

            return listing.main(rest)
        case "check":
            from visionpe.cli import check

            return check.main(rest)
        case "report":
            from visionpe.cli import report

            return report.main(rest)
        case "fit" | "validate" | "test" | "predict":
            from visionpe.cli import verbs

            return verbs.main(verb, rest)
    near = get_close_matches(verb, _VERBS, n=1)
    hint = f"Did you mean `{near[0]}`? " if near else ""
    print(
        f"visionpe: there is no verb `{verb}`. {hint}`visionpe --help` lists them.", file=sys.stderr
    )
    return 2


if __name__ == "__main__":
    sys.exit(main())
