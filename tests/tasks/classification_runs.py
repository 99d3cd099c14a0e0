"""Trains a small classifier again and again, in forked processes of which some are killed.

    python classification_runs.py FOLDER NAME=SIGNAL:STEP:WORKERS:PRECISION ...

Each scenario is run in `FOLDER/NAME`: once, and if it was given a signal once more. `pair` trains
in two processes as torchrun starts them, stopped by SIGTERM and gone on with, `joined` in one on
the joined batches. Prints a line of JSON: the exit codes, and the output of single processes.
"""

import json
import os
import sys
from importlib import import_module
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parent)]

from scenarios import (  # type: ignore[import-not-found] # noqa: E402
    forked,  # found by the line above
)

CONFIG = """\
trainer:
  max_epochs: 2
  accelerator: cpu
  precision: PRECISION
  log_every_n_steps: 1
  callbacks:
  - {class_path: visionpe.tasks.callbacks.LastCheckpoint, init_args: {steps: 3}}
  - tiny.Signal
model:
  class_path: visionpe.tasks.Classification
  init_args:
    backbone: {class_path: visionpe.models.resnet.ResNet, init_args: {blocks: [1, 1], width: 4}}
    encodings: {class_path: visionpe.CoordConv, at: all}
    optimizer: {opt: adamw, lr: 0.01}
    warmup: 0.2
    label_smoothing: 0.1
    ema: 0.8
data:
  class_path: visionpe.data.FashionMNIST
  init_args: {root: ../data, batch_size: 8, augment: visionpe.data.BatchAugment, num_workers: 0}
"""
PAIR = """\
trainer:
  max_epochs: 2
  accelerator: cpu
  devices: DEVICES
  strategy: STRATEGY
  precision: 64-true
  callbacks: [tiny.Signal]
model:
  class_path: visionpe.tasks.Classification
  init_args:
    backbone:
      class_path: visionpe.models.vit.ViT
      init_args: {patch: [7, 7], width: 16, depth: 1, heads: 2, class_token: false, pool: mean}
    encodings: [visionpe.RelativeBias, visionpe.Learned2d, visionpe.CoordConv]
    optimizer: {opt: sgd, lr: 0.1}
    ema: 0.8
data:
  class_path: visionpe.data.FashionMNIST
  init_args: {root: ../data, batch_size: SIZE, augment: visionpe.data.BatchAugment}
"""


def pair(folder: Path, kill: str) -> list[int]:
    """Two processes, with the environment that torchrun gives them; their exit codes."""
    import torch.distributed as dist
    from lightning.pytorch.utilities import rank_zero_only

    store = dist.TCPStore(  # type: ignore[attr-defined] # exported at run time only
        "127.0.0.1", 0, is_master=True, wait_for_workers=False
    )
    children = []
    for rank in range(2):
        child = os.fork()
        if child == 0:
            places = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": 2, "LOCAL_WORLD_SIZE": 2}
            os.environ |= {name: str(value) for name, value in places.items()}
            os.environ |= {
                "GROUP_RANK": "0",
                "MASTER_ADDR": "127.0.0.1",
                "MASTER_PORT": str(store.port),
                "TORCHELASTIC_RUN_ID": "pair",
                "TORCHELASTIC_USE_AGENT_STORE": "True",
            }
            # Read from the environment at import, before the fork.
            rank_zero_only.rank = rank  # type: ignore[attr-defined] # of a function
            os._exit(forked(folder, kill)[0])
        children.append(child)
    return [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]


def run(root: Path, scenarios: list[str]) -> None:
    for name in ("torch.utils.tensorboard", "tiny", "timm", "torchvision.datasets"):
        import_module(name)  # before the forks
    for name in ("visionpe.cli.lightning", "visionpe.tasks.classification"):
        import_module(name)
    import trees

    trees.fashion_mnist(root / "data")
    found: dict[str, object] = {}
    for scenario in scenarios:
        name, _, rest = scenario.partition("=")
        signum, step, workers, precision = rest.split(":")
        folder = root / name
        folder.mkdir()
        config = CONFIG.replace("num_workers: 0", f"num_workers: {workers}")
        (folder / "tiny.yaml").write_text(config.replace("PRECISION", precision))
        kill = f"{signum}:{step}" if signum else ""
        found[name] = [forked(folder, kill), forked(folder, "") if kill else None]
    for name, devices, strategy, size in (("joined", 1, "auto", 8), ("pair", 2, "ddp", 4)):
        folder = root / name
        folder.mkdir()
        config = PAIR.replace("DEVICES", str(devices)).replace("STRATEGY", strategy)
        (folder / "tiny.yaml").write_text(config.replace("SIZE", str(size)))
        if name == "pair":
            found[name] = [pair(folder, "15:5"), pair(folder, "")]
        else:
            found[name] = forked(folder, "")
    print(json.dumps(found))


if __name__ == "__main__":
    run(Path(sys.argv[1]), sys.argv[2:])
