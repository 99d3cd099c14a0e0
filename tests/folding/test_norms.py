"""A batch normalisation behind a folded convolution adds its map, and else is what it was."""

import copy
import io

import pytest
import torch
from torch import Tensor, nn

import visionpe
from visionpe.folding.norms import FoldedNorm

SIZE = (12, 20)


class Net(nn.Module):
    """Two convolutions whose results go to a normalisation alone, and others whose do not."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.norm1 = nn.Conv2d(3, 8, 3, padding=1, stride=2), nn.BatchNorm2d(8)
        self.conv2, self.norm2 = nn.Conv2d(8, 8, 1), nn.BatchNorm2d(8, affine=False)
        self.shared, self.norm3 = nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.twice, self.norm4 = nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.viewed, self.norm5 = nn.Conv2d(8, 8, 1), nn.BatchNorm2d(8)
        self.wrapped, self.norm6 = nn.Sequential(nn.Conv2d(8, 8, 1)), nn.BatchNorm2d(8)
        self.conv7, self.inside = nn.Conv2d(8, 8, 1), nn.Sequential(nn.BatchNorm2d(8))

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm2(self.conv2(self.norm1(self.conv1(x)).relu()))
        shared = self.shared(x)
        x = self.norm3(shared) + shared
        x = self.norm4(self.twice(self.norm4(self.twice(x))))
        x = self.norm5(self.viewed(x)[:, :, ::1])
        out: Tensor = self.inside(self.conv7(self.norm6(self.wrapped(x))))
        return out


@pytest.fixture
def net() -> nn.Module:
    """Random coordinate weights and statistics, attached and not folded."""
    model = Net().eval()
    visionpe.attach(model, visionpe.CoordConv(), at="all", size=SIZE)
    randomise(model)
    return model


def randomise(model: nn.Module) -> None:
    for parameter in model.get_submodule("visionpe").parameters():
        nn.init.normal_(parameter, std=0.5)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None
            assert module.running_var is not None
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
            if module.affine:
                nn.init.uniform_(module.weight, -1.5, 1.5)
                nn.init.normal_(module.bias)


def images(batch: int = 3) -> Tensor:
    return torch.randn(batch, 3, *SIZE)


@torch.no_grad()
def output(model: nn.Module, x: Tensor) -> Tensor:
    result: Tensor = model(x)
    return result


def close(ours: Tensor, theirs: Tensor) -> None:
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


def folded_norms(model: nn.Module) -> list[str]:
    return [name for name, m in model.named_modules() if isinstance(m, FoldedNorm)]


def test_only_a_norm_that_alone_sees_a_result_adds_the_map(net: nn.Module) -> None:
    visionpe.fold(net, SIZE)
    assert folded_norms(net) == ["norm1.folded_forward", "norm2.folded_forward"]


def test_the_map_is_left_to_the_norm_and_the_result_is_the_same(net: nn.Module) -> None:
    x = images()
    wanted = output(net, x)
    visionpe.fold(net, SIZE)
    behind = net.get_submodule("norm1.folded_forward")
    assert isinstance(behind, FoldedNorm)
    close(output(net, x), wanted)
    assert behind.kept is not None
    behind.kept = None
    close(net.requires_grad_(True)(x).detach(), wanted)  # with gradients, the convolution adds it
    assert behind.kept is None
    close(output(net, x), wanted)


@pytest.mark.parametrize("change", ["loaded", "trained", "in place", "halved and back"])
def test_new_numbers_of_a_norm_are_used(net: nn.Module, change: str) -> None:
    visionpe.fold(net, SIZE)
    x = images()
    before = output(net, x)
    if change == "loaded":
        other = Net()
        randomise(visionpe.attach(other, visionpe.CoordConv(), at="all", size=SIZE))
        state = {k: v for k, v in other.state_dict().items() if not k.startswith("visionpe")}
        net.load_state_dict(state, strict=False)
    elif change == "trained":
        output(net.train(), images(8))
        net.eval()
    elif change == "in place":
        with torch.no_grad():
            net.get_submodule("norm1").get_parameter("bias").add_(1)
    else:
        net.bfloat16().float()
    got = output(net, x)
    assert not torch.equal(got, before)
    close(got, net(x).detach())  # with gradients, the norm is the plain one
    if change != "halved and back":  # constants are never cast
        close(got, output(visionpe.unfold(net), x))


def test_alone_a_convolution_adds_its_map_and_the_norm_none(net: nn.Module) -> None:
    x = images()
    conv, norm = net.get_submodule("conv1"), net.get_submodule("norm1")
    wanted, normed = output(conv, x), output(norm, output(conv, x))
    visionpe.fold(net, SIZE)
    assert torch.equal(output(conv, x), wanted)
    assert torch.equal(output(norm, wanted), normed)


@pytest.mark.parametrize("where", ["conv1", "norm1", "everywhere"])
def test_who_looks_at_a_convolutions_result_sees_it_with_its_map(
    net: nn.Module, where: str
) -> None:
    x = images()
    conv, norm = net.get_submodule("conv1"), net.get_submodule("norm1")
    wanted = output(conv, x)
    visionpe.fold(net, SIZE)
    seen: dict[nn.Module, tuple[Tensor, Tensor]] = {}

    def look(module: nn.Module, args: tuple[Tensor, ...], result: Tensor) -> None:
        seen[module] = args[0], result

    if where == "everywhere":
        handle = nn.modules.module.register_module_forward_hook(look)
    else:
        handle = net.get_submodule(where).register_forward_hook(look)
    output(net, x)
    handle.remove()
    for module, which in ((conv, 1), (norm, 0)):
        assert (module in seen) == (where != ("norm1" if module is conv else "conv1"))
        if module in seen:
            assert torch.equal(seen[module][which], wanted)


def test_in_training_it_counts_and_normalises_as_ever(net: nn.Module) -> None:
    x = images()
    other = copy.deepcopy(net).train()
    visionpe.fold(net, SIZE)
    close(output(net.train(), x), output(other, x))
    for name, buffer in other.named_buffers():
        close(net.get_buffer(name), buffer)


def test_transforms_of_torch_func_see_a_plain_norm(net: nn.Module) -> None:
    x = images(4)
    wanted = output(net, x)
    visionpe.fold(net, SIZE)
    state = dict(net.state_dict())
    doubled = {**state, "norm1.weight": 2 * state["norm1.weight"]}
    with torch.no_grad():
        one_by_one = torch.func.vmap(lambda image: net(image[None])[0])(x)
        called = torch.func.functional_call(net, doubled, (x,))
    close(one_by_one, wanted)
    close(output(net, x), wanted)
    state["norm1.weight"].mul_(2)
    close(called, output(net, x))


@pytest.mark.parametrize("kind", ["channels last", "double", "bfloat16", "inference", "autocast"])
def test_it_is_the_same_however_it_is_called(net: nn.Module, kind: str) -> None:
    x, near = images(), 1e-5
    if kind == "channels last":
        net, x = net.to(memory_format=torch.channels_last), x.to(memory_format=torch.channels_last)
    elif kind == "double":
        net, x, near = net.double(), x.double(), 1e-12
    elif kind == "bfloat16":
        net, x, near = net.bfloat16(), x.bfloat16(), 5e-2
    with torch.autocast("cpu", torch.bfloat16, enabled=kind == "autocast"):
        near = 5e-2 if kind == "autocast" else near
        wanted = output(net, x)
        visionpe.fold(net, SIZE)
        with torch.inference_mode(kind == "inference"):
            first = net(x) if kind == "inference" else output(net, x)
        second = output(net, x)
    largest = float(wanted.abs().max())
    for got in (first, second):
        assert got.dtype == wanted.dtype
        assert float((got - wanted).abs().max()) <= near * largest


def test_copies_are_folded_and_unfold_apart(net: nn.Module) -> None:
    x = images()
    wanted = output(net, x)
    keys = list(net.state_dict())
    visionpe.fold(net, SIZE)
    folded = output(net, x)
    stored = io.BytesIO()
    torch.save(net, stored)
    stored.seek(0)
    for other in (copy.deepcopy(net), torch.load(stored, weights_only=False)):
        assert list(other.state_dict()) == keys
        assert torch.equal(output(other, x), folded)
        norm = other.get_submodule("norm1")
        behind = norm.get_submodule("folded_forward")
        assert isinstance(behind, FoldedNorm)
        assert behind.norm[0] is norm
        assert torch.equal(output(visionpe.unfold(other), x), wanted)
        assert "forward" not in vars(norm)
    assert torch.equal(output(net, x), folded)


@pytest.mark.parametrize("run", [3, 4])
def test_a_model_that_fails_while_it_is_folded_is_as_it_was(net: nn.Module, run: int) -> None:
    x = images()
    wanted = output(net, x)
    runs = []

    def count(*given: object) -> None:
        runs.append(given)
        if len(runs) == run:
            raise RuntimeError("out of memory")

    handle = net.register_forward_pre_hook(count)
    with pytest.raises(RuntimeError, match="out of memory"):
        visionpe.fold(net, SIZE)
    handle.remove()
    assert not [name for name, _ in net.named_modules() if "folded" in name]
    assert torch.equal(output(net, x), wanted)
    visionpe.fold(net, SIZE)
    close(output(net, x), wanted)


def test_an_exported_graph_has_a_plain_norm(net: nn.Module) -> None:
    x = images(1)
    wanted = output(net, x)
    visionpe.fold(net, SIZE)
    output(net, x)
    with torch.no_grad():
        program = torch.export.export(net, (x,))
        assert sum("batch_norm" in str(node.target) for node in program.graph.nodes) == 8
        close(program.module()(x), wanted)
        close(torch.compile(net, fullgraph=True, backend="eager")(x), wanted)
