"""In place and back: what a model keeps, what it survives, what is refused."""

import copy
import io
import pickle  # noqa: TID251
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import timm
import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn
from versions import BEFORE_2_11

from visionpe import set_padding
from visionpe.paddings.found import paddings
from visionpe.paddings.modes import Mode


def small() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.MaxPool2d(3, 2, 1))


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("resnet10t", (64, 96)),
        ("tf_mobilenetv3_small_minimal_100", (64, 96)),
        ("test_efficientnet_ln", (64, 96)),
        ("test_convnext2", (160, 192)),
        ("resnetblur18", (64, 96)),
    ],
)
def test_backbones_keep_shapes_change_values_and_come_back_bit_for_bit(
    name: str, size: tuple[int, int]
) -> None:
    model = timm.create_model(name).eval()
    keys, kinds = list(model.state_dict()), [type(m) for m in model.modules()]
    x = torch.randn(2, 3, *size)
    for module in model.modules():  # untrained scales hide what blocks do
        if getattr(module, "gamma", None) is not None:
            nn.init.ones_(module.gamma)
    before = model(x)
    outcomes = [before]
    modes: list[Mode] = ["reflect", "replicate", "circular", "none"]
    for mode in modes:
        change = set_padding(model, mode)
        assert len(change) == len(change.changed) > 0
        assert all(p.mode == mode for p in paddings(model))
        after = model(x)
        assert after.shape == before.shape
        assert all(not torch.allclose(after, other, rtol=1e-3) for other in outcomes)
        outcomes.append(after)
        assert list(model.state_dict()) == keys
        assert [type(m) for m in model.modules()] == kinds
    set_padding(model, "original")
    assert torch.equal(model(x), before)
    assert not any("forward" in vars(module) for module in model.modules())


def test_zeros_are_the_original_where_the_model_pads_with_zeros() -> None:
    model = torchvision.models.resnet18().eval()
    x = torch.randn(1, 3, 64, 96)
    before = model(x)
    set_padding(model, "circular")
    set_padding(model, "zeros")
    assert torch.equal(model(x), before)
    assert not any("forward" in vars(module) for module in model.modules())


def test_tokens_that_fill_up_windows_are_padded_too() -> None:
    for model in (
        torchvision.models.SwinTransformer([4, 4], 16, [1, 1], [2, 2], [5, 5]).eval(),
        timm.create_model("test_vit", dynamic_img_size=True, dynamic_img_pad=True).eval(),
    ):
        x = torch.rand(1, 3, 56, 72) + 1
        before = model(x)
        assert {p.kind for p in paddings(model)} == {"call"}
        set_padding(model, "replicate")
        assert model(x).shape == before.shape
        assert not torch.allclose(model(x), before, rtol=1e-3)
        set_padding(model, "original")
        assert torch.equal(model(x), before)


def test_once_more_changes_nothing() -> None:
    net = small()
    assert set_padding(net, "reflect").changed == ["0", "2"]
    x = torch.randn(1, 3, 6, 9)
    before = net.eval()(x)
    change = set_padding(net, "reflect")
    assert (len(change), bool(change)) == (0, True)
    assert torch.equal(net(x), before)


def test_the_report_says_what_was_changed() -> None:
    change = set_padding(small(), "circular")
    assert [p.made_with for p in change.before] == ["zeros", "ignored"]
    assert [p.mode for p in change.after] == ["circular", "circular"]
    assert repr(change) == (
        "<PaddingChange of Sequential to 'circular': 2 of 2 modules changed; 1 conv, 1 pool>"
    )


def test_copies_pickles_and_state_dicts_carry_what_they_should() -> None:
    net = small().eval()
    x = torch.randn(1, 3, 6, 9)
    plain = net(x)
    set_padding(net, "circular")
    padded = net(x)
    file = io.BytesIO()
    torch.save(net, file)
    file.seek(0)
    copies: list[Any] = [
        copy.deepcopy(net),
        pickle.loads(pickle.dumps(net)),  # noqa: S301
        torch.load(file, weights_only=False),
    ]
    for other in copies:
        assert torch.equal(other(x), padded)
        nn.init.zeros_(other[0].weight)  # a copy has its own weights, and uses them
        assert not torch.equal(other(x), padded)
        set_padding(other, "original")
    assert torch.equal(net(x), padded)
    fresh = small().eval()
    fresh.load_state_dict(net.state_dict())
    assert torch.equal(fresh(x), plain)


def test_gradients_are_those_of_a_net_padded_by_hand() -> None:
    conv = nn.Conv2d(3, 4, 3).double()
    by_hand = nn.Sequential(nn.CircularPad2d(1), conv)
    padded = nn.Conv2d(3, 4, 3, padding=1).double()
    padded.load_state_dict(conv.state_dict())
    set_padding(padded, "circular")
    x = torch.randn(2, 3, 5, 7, dtype=torch.float64)
    by_hand(x).square().sum().backward()
    padded(x).square().sum().backward()
    torch.testing.assert_close(padded.weight.grad, conv.weight.grad)


def test_graphs_capture_the_other_pads_with_open_height_and_width(unchecked: None) -> None:
    stem, strided = small(), nn.Conv2d(4, 4, 3, 2, 1)
    net = nn.Sequential(stem, strided).eval()
    # Before 2.11, torch takes a max pool for even sizes or odd ones only, whatever its padding.
    exported = nn.Sequential(*stem[:2], strided) if BEFORE_2_11 else net
    x, other = torch.randn(1, 3, 12, 20), torch.randn(1, 3, 16, 28)
    sizes = {2: torch.export.Dim("h", min=8), 3: torch.export.Dim("w", min=8)}
    modes: list[Mode] = ["circular", "reflect", "none"]
    for mode in modes:
        set_padding(net, mode)
        compiled = torch.compile(net, fullgraph=True, backend="eager", dynamic=True)
        assert torch.equal(compiled(x), net(x))
        assert torch.equal(compiled(other), net(other))
        if mode != "none":  # how many windows are whole depends on the size: not open
            program = torch.export.export(exported, (x,), dynamic_shapes=(sizes,))
            assert torch.equal(program.module()(other), exported(other))


def test_mixed_precision_and_memory_formats_pass() -> None:
    net = small().eval()
    set_padding(net, "reflect")
    x = torch.randn(2, 3, 6, 9)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.allclose(net(x).float(), net(x.float()).float())
        assert (net(x) - net.float()(x)).abs().max() < 0.1
    assert torch.allclose(net(x.contiguous(memory_format=torch.channels_last)), net(x), atol=1e-6)


def test_the_ways_into_a_model_pad_alike() -> None:
    model = timm.create_model("resnet10t", num_classes=0).eval()
    set_padding(model, "circular")
    x = torch.randn(1, 3, 64, 96)
    last = model.forward_features(x)
    assert torch.equal(model.forward_intermediates(x, indices=1, intermediates_only=True)[0], last)
    weight = model.conv1[0].weight
    model(x).sum().backward()
    plain, weight.grad = weight.grad, None
    model.set_grad_checkpointing(True)
    model(x).sum().backward()
    assert torch.equal(weight.grad, plain)
    model.reset_classifier(5)
    assert model(x).shape == (1, 5)


def test_features_only_models_are_reached() -> None:
    model = timm.create_model("resnet10t", features_only=True).eval()
    x = torch.randn(1, 3, 64, 96)
    before = [f.shape for f in model(x)]
    assert len(set_padding(model, "none")) == 15
    assert [f.shape for f in model(x)] == before


def test_some_modules_by_name_or_function() -> None:
    model = timm.create_model("resnet10t")
    change = set_padding(model, "circular", at=["layer1", "*2.0.downsample", "conv1.0"])
    assert change.changed == [
        "conv1.0",
        "layer1.0.conv1",
        "layer1.0.conv2",
        "layer2.0.downsample.0",
    ]
    assert {p.module for p in paddings(model) if p.mode == "circular"} == set(change.changed)
    change = set_padding(model, "reflect", at=lambda name, m: isinstance(m, nn.MaxPool2d))
    assert change.changed == ["maxpool"]


class Around(nn.Module):
    """Pads by itself, and calls a convolution that pads."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1)
        self.pool = nn.MaxPool2d(3, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.pool(self.conv(nn.functional.pad(x, (1, 1, 1, 1))))
        return out


def test_a_module_keeps_its_own_pads_inside_one_that_has_others() -> None:
    net = Around()
    x = torch.randn(1, 3, 5, 8)
    wanted = net.pool(net.conv(nn.functional.pad(x, (1, 1, 1, 1), mode="circular")))
    set_padding(net, "circular")
    assert not torch.allclose(net(x), wanted)
    set_padding(net, "zeros", at=["conv", "pool"])
    assert torch.equal(net(x), wanted)
    set_padding(net, "original")
    assert not any("forward" in vars(module) for module in net.modules())


def test_a_forward_that_was_given_before_is_kept() -> None:
    net = nn.Conv2d(1, 1, 3, padding=1)
    own = net.forward
    vars(net)["forward"] = lambda x: own(x) + 1
    x = torch.randn(1, 1, 4, 6)
    before = net(x)
    set_padding(net, "reflect")
    assert not torch.equal(net(x), before)
    set_padding(net, "original")
    assert torch.equal(net(x), before)


@pytest.mark.parametrize("size", [(2, 9), (5, 1), (1, 3), (4, 4), (7, 2)])
@pytest.mark.parametrize(("mode", "name"), [("reflect", "reflect"), ("circular", "wrap")])
def test_small_maps_are_mirrored_and_repeated_as_often_as_numpy_does(
    mode: Mode, name: Any, size: tuple[int, int]
) -> None:
    conv = nn.Conv2d(3, 4, (9, 7), padding=(4, 3)).double()
    net = nn.Sequential(conv)
    x = torch.randn(2, 3, *size, dtype=torch.double, requires_grad=True)
    padded = torch.from_numpy(np.pad(x.detach(), ((0, 0), (0, 0), (4, 4), (3, 3)), mode=name))
    wanted = F.conv2d(padded, conv.weight, conv.bias)
    set_padding(net, mode)
    assert torch.equal(net(x), wanted)
    assert torch.autograd.gradcheck(net, x, fast_mode=True)


def test_what_cannot_be_done_is_refused_and_changes_nothing() -> None:
    net: Any = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU())
    refused: list[tuple[Callable[[], object], str]] = [
        (
            lambda: set_padding(net, "mirror"),  # type: ignore[arg-type]
            "`mode` must be one of 'zeros', 'reflect', 'replicate', 'circular', 'none', "
            "'original', but is 'mirror'.",
        ),
        (
            lambda: set_padding(nn.Sequential(nn.Conv2d(3, 4, 3), nn.Linear(2, 2)), "zeros"),
            "`model` must pad a map somewhere, but Sequential has no convolution, pool or call "
            "that does.",
        ),
        (
            lambda: set_padding(net, "circular", at="1"),
            "`at` must match modules that pad, but '1' holds none. These pad: '0'.",
        ),
        (
            lambda: set_padding(net, "circular", at="conv*"),
            "`at` must match modules of Sequential, but 'conv*' matches none. "
            "The nearest name is '1'.",
        ),
        (
            lambda: set_padding(nn.DataParallel(net), "circular"),
            "`model` must be the model itself, but is wrapped in DataParallel. Give its `.module`.",
        ),
    ]
    for call, message in refused:
        with pytest.raises(ValueError) as error:  # noqa: PT011
            call()
        assert str(error.value) == message
        assert not any("forward" in vars(module) for module in net.modules())
    with pytest.raises(TypeError, match=r"must be an `nn\.Module`, but is str\."):
        set_padding("resnet18", "zeros")  # type: ignore[arg-type]
