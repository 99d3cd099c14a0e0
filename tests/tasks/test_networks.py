"""Weights of a backbone, and weights of a checkpoint of ours, which has those of its encodings."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import visionpe
from visionpe.errors import CheckpointError
from visionpe.tasks.backbones import Subject
from visionpe.tasks.networks import make_network

_SMALL = {"embed_dim": 16, "depth": 1, "num_heads": 2}


def _net(encodings: str | None, weights: Path | None = None, classes: int = 5) -> nn.Module:
    torch.manual_seed(0 if weights is None else 1)
    return make_network(
        "test_vit",
        Subject(classes, 3, (32, 48)),
        _SMALL,
        encodings=encodings,
        weights=None if weights is None else str(weights),
    ).eval()


def _checkpoint(model: nn.Module, path: Path) -> Path:
    """As `visionpe fit` writes it: the names of a task, and an entry of ours beside them."""
    state = {f"network.{key}": value for key, value in model.state_dict().items()}
    torch.save({"state_dict": state, "visionpe": {"version": visionpe.__version__}}, path)
    return path


def _logits(model: nn.Module) -> Tensor:
    images = torch.randn(2, 3, 32, 48, generator=torch.Generator().manual_seed(3))
    logits: Tensor = model(images)
    return logits


@pytest.mark.parametrize("encoding", ["visionpe.RotaryMixed", "visionpe.PEG", "visionpe.Rotary"])
def test_a_checkpoint_of_ours_fills_its_encodings_too(encoding: str, tmp_path: Path) -> None:
    source = _net(encoding)
    with torch.no_grad():
        for parameter in source.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    found = _net(encoding, _checkpoint(source, tmp_path / "last.ckpt"))
    assert torch.equal(_logits(found), _logits(source))


def test_encodings_begin_anew_where_the_weights_have_none(tmp_path: Path) -> None:
    source = _net(None)
    found = _net("visionpe.RotaryMixed", _checkpoint(source, tmp_path / "last.ckpt"))
    own = found.state_dict()
    assert all(torch.equal(own[key], value) for key, value in source.state_dict().items())
    assert len(own) > len(source.state_dict())


def test_a_head_of_other_classes_is_left_out_beside_encodings(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = _checkpoint(_net("visionpe.PEG"), tmp_path / "last.ckpt")
    _net("visionpe.PEG", path, classes=7)
    says = f"{path}: head.weight, head.bias of another number of classes, left out\n"
    assert capsys.readouterr().out == says


def test_weights_of_other_encodings_are_refused(tmp_path: Path) -> None:
    path = _checkpoint(_net("visionpe.RotaryMixed"), tmp_path / "last.ckpt")
    for other in (None, "visionpe.PEG"):
        with pytest.raises(CheckpointError, match=r"visionpe.RotaryMixed.* is not in the model"):
            _net(other, path)
