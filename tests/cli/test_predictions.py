"""`visionpe predict` keeps what it predicts."""

from pathlib import Path

import torch
from command import Visionpe
from safetensors.torch import load_file
from tiny import Scale, Tiny, TinyData


def predictions(folder: Path) -> dict[str, torch.Tensor]:
    (file,) = folder.glob("runs/tiny/*-predict-*/predictions.safetensors")
    return load_file(file)


def test_predictions_lie_in_the_runs_folder_in_the_datas_order(
    folder: Path, tiny: str, visionpe: Visionpe
) -> None:
    assert visionpe("fit", "--config", tiny)[0] == 0
    last = folder / "runs" / "tiny" / "latest" / "checkpoints" / "last.ckpt"
    code, text = visionpe("predict", "--config", tiny, "--ckpt_path", str(last))
    assert code == 0, text
    assert "predictions.safetensors: predictions 40x1" in text
    model = Tiny(width=8)
    model.net[0] = Scale()
    model.load_state_dict(torch.load(last, weights_only=True)["state_dict"])
    with torch.no_grad():
        wanted = model.eval().net(TinyData().points[0])
    found = predictions(folder)
    assert list(found) == ["predictions"]
    torch.testing.assert_close(found["predictions"], wanted)
    assert sorted(folder.glob("runs/tiny/latest/*.safetensors")) == []


def test_of_a_mapping_each_tensor_is_kept_and_what_is_none_is_said(
    folder: Path, tiny: str, visionpe: Visionpe
) -> None:
    code, text = visionpe("predict", "--config", tiny, "--model", "tiny.Other")
    assert code == 0, text
    assert "not written: `word` is a str; `predict_step` must return\ntensors" in text
    found = predictions(folder)
    assert {key: tuple(value.shape) for key, value in found.items()} == {
        "sum": (3,),
        "ragged/0": (16, 1),
        "ragged/1": (16, 2),
        "ragged/2": (8, 3),
    }
