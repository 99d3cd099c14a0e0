"""The `visionpe` command: finds the verb and loads what that verb needs, and nothing else."""

import os
import signal
import sys
from collections.abc import Sequence
from difflib import get_close_matches
from importlib import import_module

import visionpe

_HELP = """\
usage: visionpe VERB [options]

  fit        train a model:   visionpe fit --config FILE.yaml [--trainer.max_steps 100 ...]
  validate   score a checkpoint on the validation set: visionpe validate --ckpt_path FILE.ckpt
  test       score a checkpoint on the test set
  predict    write what a model says of a data set
  report     make a page of one or more runs
  stress     accuracy of a checkpoint against size, shift, crop, flip: visionpe stress RUN
  sweep      encodings x backbones x seeds: visionpe sweep FILE.yaml
  probe      how much position a network encodes: visionpe probe MODEL --images DIR --out DIR
  inspect    what position a model has: visionpe inspect MODEL
  attach     put an encoding into a model: visionpe attach MODEL ENCODING --dry-run|--out DIR
  check      test a position encoding: visionpe check PACKAGE.MODULE:FACTORY --layout bchw ...
  list       name what there is: visionpe list [encodings|models|tasks|data|configs]

  visionpe VERB --help says more; --version prints the version.
"""
_TRAINED = ("fit", "validate", "test", "predict")  # Lightning's
_OWN = ("report", "stress", "sweep", "probe", "inspect", "attach", "check", "list")
_MODULES = {"list": "listing", "inspect": "inspecting", "attach": "attaching", "probe": "probing"}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command line.

    Args:
        argv: the words after `visionpe`; those of this process if left out.

    Returns:
        The exit code: 0, 1 for a failure, 2 for a command or configuration that cannot be
        understood, 130 or 143 for a run stopped by Ctrl-C or SIGTERM.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        code = _run(words)
        sys.stdout.flush()
        return code
    except BrokenPipeError:  # whoever read, as `head`, has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE


def _run(words: list[str]) -> int:
    """Runs the verb."""
    verb, rest = (words[0], words[1:]) if words else ("--help", [])
    if verb in ("-h", "--help", "help"):
        print(_HELP, end="")
        return 0
    if verb in ("-V", "--version"):
        print(f"visionpe {visionpe.__version__}")
        return 0
    if verb in _TRAINED:
        from visionpe.cli import verbs

        return verbs.main(verb, rest)
    if verb in _OWN:
        code: int = import_module(f"visionpe.cli.{_MODULES.get(verb, verb)}").main(rest)
        return code
    near = get_close_matches(verb, (*_TRAINED, *_OWN), n=1)
    hint = f"Did you mean `{near[0]}`? " if near else ""
    print(
        f"visionpe: there is no verb `{verb}`. {hint}`visionpe --help` lists them.", file=sys.stderr
    )
    return 2


if __name__ == "__main__":
    sys.exit(main())
