"""Messages of our dependencies that the command line does not repeat, each with its reason.

Only the command line filters: a program that imports the package sees every message.
"""

import logging
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

# Log lines, by their beginning.
_LINES = re.compile(
    r"💡 Tip:"  # advertisements of other products
    r"|GPU available:|TPU available:|HPU available:"  # what the machine has is in env.json
    r"|(\[rank: \d+\] )?Seed set to"  # the seed is in config.yaml
    r"|Restoring states from the checkpoint path"  # said shorter by ours
    r"|Restored all states from the checkpoint|Loaded model weights from the checkpoint"
    r"|\n?Detected KeyboardInterrupt"  # ours says how to go on
    r"|Loading `train_dataloader` to estimate"  # of the schedule's length
    r"|`weights_only` was not set"  # of the kind of checkpoint that is written, with the optimiser
)

# Warnings, by their beginning.
_WARNINGS = (
    # LightningCLI calls what jsonargparse 5 will drop; pyproject.toml keeps jsonargparse below 5.
    r"(?s)\n.*(JsonargparseDeprecationWarning|v5\.0\.0)",
    # torch renames a helper that Lightning 2.6 calls; nothing a user can change.
    r"`isinstance\(treespec, LeafSpec\)` is deprecated",
    r".*LeafSpec.*deprecated",
    # Worker processes do not help loaders whose data lie in memory.
    r"The '.*_dataloader' does not have many workers",
    # The folder is ours: a resumed run goes on in it.
    r"Checkpoint directory .* exists and is not empty",
    # A run begun from another run's checkpoint has best scores of its own; one that goes on in its
    # folder has its old ones, wherever the folder is now.
    r"The dirpath has changed from",
    # Short epochs are normal for toy sets; the epoch's means are logged all the same.
    r"The number of training batches \(\d+\) is smaller than the logging interval",
    # Frozen parts are in eval mode on purpose.
    r"Found \d+ module\(s\) in eval mode at the start of training",
    # Who gives an `optimizer` means it.
    r"`\w+\.configure_optimizers` will be overridden by",
    # Two directories of one TensorBoard writer: intended, after a resume.
    r"Experiment logs directory .* exists and is not empty",
)


# Of `validate`, `test` and `predict` alone: they have no use for what training callbacks remember.
_SCORING = r"Be aware that when using `ckpt_path`, callbacks used to create the checkpoint"


class _Quiet(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        return not _LINES.match(record.getMessage())


@contextmanager
def quiet(*, scoring: bool) -> Iterator[None]:
    """Drops the messages above inside a `with` block.

    Args:
        scoring: whether the verb is not `fit`.
    """
    # Filters of a logger do not see its children's records: the modules that speak get one each.
    names = [
        name
        for name in logging.root.manager.loggerDict
        if name.split(".")[0] in ("lightning", "pytorch_lightning")
    ]
    filters = [(logging.getLogger(name), _Quiet()) for name in names]
    for logger, item in filters:
        logger.addFilter(item)
    with warnings.catch_warnings():
        for pattern in (*_WARNINGS, _SCORING) if scoring else _WARNINGS:
            warnings.filterwarnings("ignore", message=pattern)
        try:
            yield
        finally:
            for logger, item in filters:
                logger.removeFilter(item)
