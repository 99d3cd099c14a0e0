"""What `visionpe predict` predicts, kept in the run's folder."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning as L
import torch
from safetensors.torch import save
from torch import Tensor
from typing_extensions import override

from visionpe.writing import write


class Predictions(L.Callback):
    """Writes what `predict_step` returns, tensors or mappings of tensors, in the data's order.

    `predictions.safetensors` holds `predictions`, or a tensor for each key; a second loader's begin
    with `1/`. Each process of several writes its own part, `predictions-rank1.safetensors`.

    Args:
        folder: of the run.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.parts: dict[str, list[Tensor]] = {}
        self.others: set[str] = set()

    @override
    def on_predict_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.parts, self.others = {}, set()

    @override
    def on_predict_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        of_loader = f"{dataloader_idx}/" if dataloader_idx else ""
        named = outputs if isinstance(outputs, Mapping) else {"predictions": outputs}
        for key, value in named.items():
            if isinstance(value, Tensor):
                part = value.detach().cpu()
                self.parts.setdefault(f"{of_loader}{key}", []).append(torch.atleast_1d(part))
            elif value is not None:
                self.others.add(f"`{key}` is a {type(value).__name__}")

    @override
    def on_predict_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if self.others:
            print(f"not written: {', '.join(sorted(self.others))}; `predict_step` must return")
            print("tensors, or a mapping of tensors, with the batch as the first axis.", flush=True)
        if not self.parts:
            return
        rank = f"-rank{trainer.global_rank}" if trainer.world_size > 1 else ""
        whole = dict(named for key, parts in self.parts.items() for named in _joined(key, parts))
        path = write(self.folder / f"predictions{rank}.safetensors", save(whole))
        sizes = ", ".join(f"{key} {'x'.join(map(str, v.shape))}" for key, v in whole.items())
        print(f"{path}: {sizes}", flush=True)


def _joined(key: str, parts: list[Tensor]) -> list[tuple[str, Tensor]]:
    """One tensor; one a batch, `KEY/0`, `KEY/1`, ..., where the batches differ in size."""
    if len({part.shape[1:] for part in parts}) == 1:
        return [(key, torch.cat(parts).contiguous())]
    return [(f"{key}/{i}", part.contiguous()) for i, part in enumerate(parts)]
