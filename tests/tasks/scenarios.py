"""Runs `visionpe fit` again and again in forked processes, each ended by a signal of its own.

    python scenarios.py FOLDER NAME=SIGNAL:STEP ...

For each scenario, in `FOLDER/NAME`: a process that gets the signal in the middle of a step, then
the same command in another one. Forked from one that has imported everything, they start at once.
Prints a line of JSON: the exit codes and output of both.
"""

import json
import os
import sys
import tempfile
from importlib import import_module
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

CONFIG = """\
trainer:
  max_epochs: 4
  accelerator: cpu
  log_every_n_steps: 1
  callbacks: [{class_path: visionpe.tasks.callbacks.LastCheckpoint, init_args: {steps: 3}}]
model: {class_path: tiny.Tiny, init_args: {width: 8, encoding: {class_path: tiny.Scale}}}
data: {class_path: tiny.TinyData}
"""


def forked(folder: Path, kill: str) -> tuple[int, str]:
    """The exit code, negative for a signal, and the output of a run in a process of its own."""
    with tempfile.TemporaryFile() as output:
        child = os.fork()
        if child == 0:
            os.dup2(output.fileno(), 1)
            os.dup2(output.fileno(), 2)
            os.chdir(folder)
            os.environ["TINY_SIGNAL"] = kill
            from visionpe.__main__ import main

            code = main(["fit", "--config", "tiny.yaml"])
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
        _, status = os.waitpid(child, 0)
        output.seek(0)
        return os.waitstatus_to_exitcode(status), output.read().decode()


def run(root: Path, scenarios: list[str]) -> None:
    for name in ("torch.utils.tensorboard", "tiny", "visionpe.cli.lightning"):
        import_module(name)  # before the forks
    found = {}
    for scenario in scenarios:
        name, _, kill = scenario.partition("=")
        folder = root / name
        folder.mkdir()
        (folder / "tiny.yaml").write_text(CONFIG)
        first = forked(folder, kill)
        found[name] = [first, forked(folder, "") if kill else None]
    print(json.dumps(found))


if __name__ == "__main__":
    run(Path(sys.argv[1]), sys.argv[2:])
