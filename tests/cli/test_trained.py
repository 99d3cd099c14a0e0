"""A classifier from its checkpoint alone."""

from pathlib import Path

import pytest
import torch
import trees
from command import Visionpe

from visionpe.cli.probed import find_model
from visionpe.cli.trained import OtherTaskError, load

CONFIG = """\
trainer: {max_epochs: 1, accelerator: cpu}
model:
  class_path: visionpe.tasks.Classification
  init_args:
    backbone: {class_path: visionpe.models.convnet.ConvNet, init_args: {width: 4, depth: 1}}
data: {class_path: visionpe.data.FashionMNIST, init_args: {root: data, batch_size: 18}}
"""


def test_a_run_whose_data_said_its_classes_is_made_anew(folder: Path, visionpe: Visionpe) -> None:
    trees.fashion_mnist(folder / "data")
    (folder / "small.yaml").write_text(CONFIG)
    code, text = visionpe("fit", "--config", "small.yaml")
    assert code == 0, text
    file = folder / "runs" / "small" / "latest" / "checkpoints" / "last.ckpt"
    before = torch.get_rng_state()
    task, checkpoint = load(file)
    assert torch.equal(torch.get_rng_state(), before)
    assert not task.training
    assert task.subject == (10, 1, (28, 28))
    for name, value in task.state_dict().items():
        assert torch.equal(value, checkpoint["state_dict"][name])
    assert find_model(str(file.parents[1])).size == (28, 28)


def test_a_checkpoint_of_another_task_is_refused(folder: Path) -> None:
    kept = {"class_path": "their.Classification", "init_args": {}}
    torch.save({"state_dict": {}, "visionpe": {"model": kept}}, folder / "a.ckpt")
    with pytest.raises(OtherTaskError) as caught:
        load(Path("a.ckpt"))
    assert str(caught.value) == (
        "The checkpoint a.ckpt must be of visionpe.tasks.Classification, but is of "
        "their.Classification."
    )


def test_a_run_without_metrics_is_inspected_and_a_section_optimizer_says_what_it_replaces(
    folder: Path, visionpe: Visionpe
) -> None:
    trees.fashion_mnist(folder / "data")
    (folder / "small.yaml").write_text(CONFIG)
    words = ("--optimizer", "SGD", "--optimizer.lr", "0.1")
    code, text = visionpe("fit", "--config", "small.yaml", *words)
    assert code == 0, text
    assert "`schedule` and `warmup` do nothing" in text
    (folder / "runs" / "small" / "latest" / "metrics.csv").unlink()
    code, text = visionpe("inspect", "runs/small/latest")
    assert code == 0, text
