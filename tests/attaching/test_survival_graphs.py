"""Attached and folded models in captured graphs, in ONNX and in several processes."""

import os
from collections import Counter
from pathlib import Path
from typing import Any

import onnx
import onnxruntime
import pytest
import torch
from backbones import bias, learned, pvt, swin, vit
from torch import Tensor, nn
from torch.multiprocessing.spawn import spawn

import visionpe
from visionpe import CoordConv, Learned2d, RelativeBias, Rotary, Sinusoidal2d, Site
from visionpe.attaching.errors import AttachError

pytestmark = pytest.mark.usefixtures("unchecked")


def randomise(model: nn.Module) -> None:
    for parameter in model.get_submodule("visionpe").parameters():
        nn.init.normal_(parameter, std=0.3)


def roomy(site: Site) -> RelativeBias:
    """A table for maps up to 7 x 7."""
    return RelativeBias(site.heads or 1, (7, 7))


def attached(*encodings: Any, **options: Any) -> nn.Module:
    model = vit(depth=1, **options).eval()
    for encoding in encodings:
        visionpe.attach(model, encoding, size=(48, 80))
    randomise(model)
    return model


def to_onnx(model: nn.Module, x: Tensor, path: Path) -> onnx.ModelProto:
    torch.onnx.export(model, (x,), path, dynamo=True, verbose=False, optimize=False)
    return onnx.load(path)


def run_onnx(path: Path, x: Tensor) -> Tensor:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return torch.from_numpy(session.run(None, {name: x.numpy()})[0])


def kinds(graph: Any) -> Counter[str]:
    """The operations of a graph and of its functions."""
    found = Counter(node.op_type for node in graph.graph.node)
    for function in graph.functions:
        found.update(node.op_type for node in function.node)
    return found


FOLDED_AWAY = ("Range", "Sin", "Cos", "Resize", "CumSum", "GridSample", "Floor", "Round")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of the exporter's own making
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_a_folded_models_onnx_computes_no_place_and_equals_it(tmp_path: Path) -> None:
    model = attached(
        bias,
        lambda s: Rotary(),
        Sinusoidal2d(),
        lambda s: Learned2d(64, (4, 4)),
        CoordConv(radius=True),
        dynamic_img_size=False,
    )
    x = torch.randn(1, 3, 48, 80)
    with torch.no_grad():
        wanted = model(x)
        unfolded = kinds(to_onnx(model, x, tmp_path / "unfolded.onnx"))
        visionpe.fold(model, (48, 80))
        graph = kinds(to_onnx(model, x, tmp_path / "folded.onnx"))
    assert any(unfolded[name] for name in FOLDED_AWAY)
    assert not [name for name in FOLDED_AWAY if graph[name]]
    assert sum(graph.values()) < sum(unfolded.values())
    got = run_onnx(tmp_path / "folded.onnx", x)
    torch.testing.assert_close(got, wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("make", [pvt, vit])
def test_onnx_computes_what_the_attached_model_does(make: Any, tmp_path: Path) -> None:
    size = (48, 80) if make is vit else (64, 96)
    model = (vit(depth=1, dynamic_img_size=False) if make is vit else pvt()).eval()
    for encoding in (bias, learned, CoordConv()):
        visionpe.attach(model, encoding, size=size)
    randomise(model)
    x = torch.randn(1, 3, *size)
    with torch.no_grad():
        wanted = model(x)
        to_onnx(model, x, tmp_path / "attached.onnx")
    torch.testing.assert_close(
        run_onnx(tmp_path / "attached.onnx", x), wanted, rtol=1e-4, atol=1e-5
    )


@pytest.mark.slow
def test_exported_with_open_sizes_it_knows_the_places_at_each() -> None:
    model = attached(lambda s: Learned2d(64, (3, 5)), lambda s: Rotary(), CoordConv())
    h, w = (16 * torch.export.Dim(name, min=2, max=6) for name in ("rows", "columns"))
    with torch.no_grad():
        program = torch.export.export(
            model, (torch.randn(1, 3, 48, 80),), dynamic_shapes=({2: h, 3: w},)
        )
        for size in ((48, 80), (64, 48), (80, 96)):
            x = torch.randn(1, 3, *size)
            torch.testing.assert_close(program.module()(x), model(x), rtol=1e-4, atol=1e-5)


def test_windows_ask_for_fixed_sizes_where_a_graph_leaves_them_open() -> None:
    model = visionpe.attach(swin(strict_img_size=False).eval(), lambda s: Rotary(), size=(32, 48))
    h, w = (16 * torch.export.Dim(name, min=2, max=6) for name in ("rows", "columns"))
    images = (torch.randn(1, 3, 32, 48),)
    with torch.no_grad(), pytest.raises(AttachError) as error:
        torch.export.export(model, images, dynamic_shapes=({2: h, 3: w},))
    assert str(error.value) == (
        "`layers.0.blocks.0.attn` attends in windows or between irregular places, which are known "
        "for images of 32 x 48 pixels only, but these have an open size. "
        "Capture the graph with height and width fixed to those it was attached for."
    )
    with torch.no_grad():
        program = torch.export.export(model, images)
        torch.testing.assert_close(program.module()(*images), model(*images))


@pytest.mark.slow
def test_a_compiled_model_trains_and_takes_other_sizes() -> None:
    model = attached(roomy, lambda s: Learned2d(64, (3, 5)))
    torch._dynamo.reset()
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    for size in ((48, 80), (64, 48)):
        x = torch.randn(2, 3, *size)
        gradients = []
        for each in (model, compiled):
            model.zero_grad()
            each(x).square().sum().backward()
            inside = model.get_submodule("visionpe").parameters()
            gradients.append([p.grad.clone() for p in inside if p.grad is not None])
        assert len(gradients[0]) == len(gradients[1]) == 2
        for ours, wanted in zip(gradients[1], gradients[0], strict=True):
            torch.testing.assert_close(ours, wanted, rtol=1e-4, atol=1e-5)


def one_of_two(rank: int, folder: str) -> None:
    """A process: half of the batch; both must have the gradients of the whole."""
    torch.set_num_threads(1)
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2
    )
    torch.manual_seed(0)
    model = attached(bias, learned, CoordConv())
    x = torch.randn(4, 3, 48, 80)
    wanted = attached(bias, learned, CoordConv())
    wanted.load_state_dict(model.state_dict())
    wanted(x).square().sum(1).mean().backward()
    wrapped = nn.parallel.DistributedDataParallel(model)  # refuses parameters without a gradient
    for _ in range(2):  # a parameter that was not used shows in the second step
        model.zero_grad()
        wrapped(x[2 * rank : 2 * rank + 2]).square().sum(1).mean().backward()
    for (name, ours), theirs in zip(model.named_parameters(), wanted.parameters(), strict=True):
        assert ours.grad is not None, name
        assert theirs.grad is not None, name
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-3, atol=1e-5)
    if rank == 0:
        Path(folder, "done").touch()
    torch.distributed.destroy_process_group()


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="gloo meets by a file here")
def test_two_processes_share_the_gradients_of_all_that_is_attached(tmp_path: Path) -> None:
    spawn(one_of_two, (str(tmp_path),), nprocs=2)
    assert (tmp_path / "done").exists()
