"""Which modules of the package the command line knows: the one place that names them.

Their classes can be given by name alone (`--data NotSoClevr`) and are what `visionpe list` shows;
any other class is given by its class path.
"""

from importlib import import_module
from importlib.util import find_spec

TASKS = ("visionpe.tasks.toy",)
DATA = ("visionpe.data.not_so_clevr",)
PARTS = ("visionpe.tasks.callbacks",)  # callbacks that a configuration may name


def load() -> None:
    """Imports the modules, so that Lightning's parser knows their classes."""
    for name in (*TASKS, *DATA, *PARTS):
        if find_spec(name) is not None:
            import_module(name)
