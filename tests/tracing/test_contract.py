"""What `trace` does not do to a model, what it shows, and what it refuses."""

import copy
from typing import Any

import matplotlib
import numpy as np
import pytest
import timm
import torch
from torch import Tensor, nn

import visionpe
from visionpe import trace


def state(model: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


@pytest.mark.parametrize(
    ("name", "arguments"),
    [("test_resnet", {}), ("levit_128s", {"img_size": (64, 96), "depth": (1, 1, 1)})],
)
@pytest.mark.parametrize("training", [True, False])
def test_a_model_is_as_it_was(name: str, arguments: dict[str, Any], training: bool) -> None:
    model = timm.create_model(name, drop_rate=0.5, **arguments).train(training)
    next(iter(model.children())).train(not training)
    before, random = state(model), torch.get_rng_state()
    flags = [module.training for module in model.modules()]
    identities = [id(p) for p in [*model.parameters(), *model.buffers()]]
    image = torch.rand(1, 3, 64, 96)
    model.eval()
    with torch.no_grad():
        expected = copy.deepcopy(model)(image)
    for module, flag in zip(model.modules(), flags, strict=True):
        module.training = flag
    torch.set_rng_state(random)
    trace(model, 64, 96)
    assert torch.equal(torch.get_rng_state(), random)
    assert [module.training for module in model.modules()] == flags
    assert [id(p) for p in [*model.parameters(), *model.buffers()]] == identities
    after = model.state_dict()
    assert after.keys() == before.keys()
    assert all(torch.equal(after[key], before[key]) for key in before)
    assert all(not m._forward_hooks and not m._forward_pre_hooks for m in model.modules())
    with torch.no_grad():  # LeViT keeps tables of its last forward: they must not be the trace's
        assert torch.equal(model.eval()(image), expected)


def test_a_model_is_as_it_was_after_a_failure() -> None:
    model = timm.create_model("test_vit", img_size=(48, 80)).train()
    before = state(model)
    with pytest.raises(ValueError, match="must take images"):
        trace(model, 50, 80)
    assert model.training
    assert all(torch.equal(model.state_dict()[key], before[key]) for key in before)
    assert all(not m._forward_hooks and not m._forward_pre_hooks for m in model.modules())


def test_device_and_dtype_do_not_matter() -> None:
    with torch.device("meta"):
        model = timm.create_model("test_vit", img_size=(48, 80))
    here = timm.create_model("test_vit", img_size=(48, 80)).bfloat16()
    assert str(trace(model, 48, 80)) == str(trace(here, 48, 80))
    assert all(p.is_meta for p in model.parameters())


class Small(nn.Module):
    """A convolution, a norm and a global mean."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 4, 4)
        self.norm = nn.BatchNorm2d(4)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.norm(self.conv(x)).mean((2, 3))
        return out


def test_it_prints_as_a_table() -> None:
    found = trace(Small(), 8, 12)
    assert repr(found) == "<Trace of Small at 8 x 12: 0 attention, 1 conv, 2 outputs>"
    assert str(found) == (
        "Trace of Small at 8 x 12: 0 attention, 1 conv, 2 outputs\n"
        "\n"
        "convolutions: what they take\n"
        "module  kind  lattice  spacing  offset    prefix  what\n"
        "conv    NCHW  8 x 12   1, 1     0.5, 0.5  0       4x4 / 4x4\n"
        "\n"
        "modules: what they return\n"
        "module             kind  lattice  spacing  offset  prefix\n"
        "conv ... norm (2)  NCHW  2 x 3    4, 4     2, 2    0"
    )


def test_it_draws_queries_and_keys() -> None:
    matplotlib.use("agg")
    found = trace(timm.create_model("test_vit", img_size=(48, 80)), 48, 80)
    _, ax = found.plot()
    drawn = [np.asarray(c.get_offsets()) for c in ax.collections]
    assert [len(points) for points in drawn] == [15, 15]
    assert drawn[0][0].tolist() == [8.0, 8.0]
    figure, ax = found.plot(found.outputs[0])
    assert len(np.asarray(ax.collections[0].get_offsets())) == 15
    figure.canvas.draw()


def test_wrong_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match="must") as error:
        trace(Small(), 0, 8)
    assert str(error.value) == "`h` must be 1 to 4095, but is 0."
    with pytest.raises(ValueError, match="must") as error:
        trace(Small(), 8, 8, channels=5)
    assert str(error.value) == (
        "`model` must take images of 5 x 8 x 8, but Small fails in `model.conv`: a convolution "
        "of 3 channels got 5. Give `h`, `w` and `channels` that it takes."
    )
    with pytest.raises(ValueError, match="must") as error:
        trace(Small(), 2, 8)
    assert str(error.value) == (
        "`model` must take images of 3 x 2 x 8, but Small fails in `model.conv`: a kernel of 4 "
        "cannot be larger than its padded input. Give `h`, `w` and `channels` that it takes."
    )


def test_a_model_that_raises_is_quoted() -> None:
    model = timm.create_model("vit_tiny_patch16_224", img_size=(48, 80), depth=1)
    with pytest.raises(ValueError, match="must") as error:
        trace(model, 64, 80)
    assert str(error.value) == (
        "`model` must take images of 3 x 64 x 80, but VisionTransformer fails in "
        "`model.patch_embed`: Input height (64) doesn't match model (48). "
        "Give `h`, `w` and `channels` that it takes."
    )


def test_a_model_that_cannot_be_followed_is_told_from_one_that_raises() -> None:
    class Counting(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            if x.dtype != torch.float32:
                raise RuntimeError("float32 only")
            return x

    with pytest.raises(visionpe.TraceError) as error:
        trace(nn.Sequential(Counting()), 4, 6)
    assert str(error.value) == (
        "Sequential takes images of 3 x 4 x 6, but `model.0` cannot be followed: "
        "RuntimeError: float32 only."
    )


def test_models_without_places_are_refused() -> None:
    with pytest.raises(ValueError, match="must") as error:
        trace(nn.Sequential(nn.Flatten(), nn.Linear(72, 2)), 4, 6)
    assert str(error.value) == (
        "`model` must have activations at places of an image 3 x 4 x 6, but Sequential has none. "
        "Does it take images, `b c h w`?"
    )
    with pytest.raises(ValueError, match="`model` must take images of 3 x 4 x 6, but Embedding"):
        trace(nn.Embedding(3, 4), 4, 6)
    with pytest.raises(TypeError) as wrong:
        trace("resnet18", 4, 6)  # type: ignore[arg-type]
    assert str(wrong.value) == "`model` must be an `nn.Module`, but is str."


def test_wrapped_models_are_refused() -> None:
    wrapped = nn.DataParallel(Small())
    with pytest.raises(ValueError, match="must") as error:
        trace(wrapped, 8, 12)
    assert str(error.value) == (
        "`model` must be the model itself, but is wrapped in DataParallel. Give its `.module`."
    )
    ddp = nn.parallel.DistributedDataParallel.__new__(nn.parallel.DistributedDataParallel)
    nn.Module.__init__(ddp)
    with pytest.raises(ValueError, match="is wrapped in DistributedDataParallel"):
        trace(ddp, 8, 12)
    with pytest.raises(ValueError, match=r"compiled \(OptimizedModule\)\. Give its `\._orig_mod`"):
        trace(torch.compile(Small()), 8, 12)  # type: ignore[arg-type]
