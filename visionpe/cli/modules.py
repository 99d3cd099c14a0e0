"""Which modules of the package the command line knows: the one place that names them.

Their classes can be given by name alone (`--data NotSoClevr`) and are what `visionpe list` shows;
any other class is given by its class path.
"""

from importlib import import_module
from importlib.util import find_spec

TASKS = ("visionpe.tasks.toy", "visionpe.tasks.classification", "visionpe.tasks.position_probe")
DATA = (
    "visionpe.data.not_so_clevr",
    "visionpe.data.cifar",
    "visionpe.data.fashion_mnist",
    "visionpe.data.folder",
    "visionpe.data.images",
    "visionpe.data.probe_images",
    "visionpe.data.y_arrow",
)
PARTS = ("visionpe.tasks.callbacks",)  # callbacks that a configuration may name


def load() -> None:
    """Imports the modules, so that Lightning's parser knows their classes."""
    for name in (*TASKS, *DATA, *PARTS):
        if find_spec(name) is not None:
            import_module(name)
