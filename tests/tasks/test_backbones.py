"""Backbones by name, their weights from a file, and what weight decay leaves alone."""

import pickle  # noqa: TID251 # to make the files that are refused
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import torchvision
from safetensors.torch import save_file
from torch import nn

import visionpe
from visionpe.errors import CheckpointError, ConfigError
from visionpe.models.convnet import ConvNet
from visionpe.models.resnet import ResNet
from visionpe.models.vit import ViT
from visionpe.tasks.backbones import Subject, make_backbone
from visionpe.tasks.decay import parameter_groups
from visionpe.tasks.weights import load_weights

SUBJECT = Subject(5, 3, (32, 48))
SMALL = {"embed_dim": 32, "depth": 1, "num_heads": 2}


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("test_vit", SMALL),
        ("timm/test_resnet", None),
        ("torchvision/shufflenet_v2_x0_5", None),
        ("shufflenet_v2_x0_5", None),  # timm has none of this name
        ("visionpe.models.convnet.ConvNet", {"width": 4}),
        ({"class_path": "visionpe.models.vit.ViT", "init_args": {"patch": [8, 8]}}, {"depth": 1}),
    ],
    ids=str,
)
def test_every_kind_of_name_makes_a_net_for_the_data(name: Any, arguments: Any) -> None:
    net = make_backbone(name, SUBJECT, arguments).eval()
    assert net(torch.randn(2, 3, 32, 48)).shape == (2, 5)


def test_channels_and_sizes_are_the_datas() -> None:
    net = make_backbone("test_vit", Subject(5, 1, (16, 48)), SMALL)
    assert net.patch_embed.grid_size == (1, 3)  # type: ignore[union-attr]
    assert net(torch.randn(1, 1, 16, 48)).shape == (1, 5)
    convnet = make_backbone("visionpe.models.convnet.ConvNet", Subject(5, 2, (9, 7)))
    assert isinstance(convnet, ConvNet)
    assert convnet(torch.randn(2, 2, 9, 7)).shape == (2, 5)


@pytest.mark.parametrize(
    ("name", "arguments", "says"),
    [
        (
            "vit_tiny_patch16_225",
            None,
            "`backbone` must be a model of timm or torchvision or the path of a class, but there "
            "is no 'vit_tiny_patch16_225'. Did you mean vit_tiny_patch16_224, "
            "deit_tiny_patch16_224, vit_tiny_patch16_384?",
        ),
        (
            "visionpe.models.vit.VitT",
            None,
            "`backbone` must be a model of timm or torchvision or the path of a class, but there "
            "is no 'visionpe.models.vit.VitT'.",
        ),
        (
            "test_vit",
            {"embed": 3},
            "`backbone_args` must be what test_vit takes, but: VisionTransformer.__init__() got an "
            "unexpected keyword argument 'embed'.",
        ),
        (
            {"class_path": "visionpe.models.vit.ViT", "init_args": {"widht": 8}},
            None,
            "`backbone`: ViT has no argument 'widht'. Did you mean 'width'? It has patch, "
            "channels, width, depth, heads, mlp_ratio, classes, class_token, registers, pool, "
            "encodings, share.",
        ),
        (
            {"class": "ViT"},
            None,
            "`backbone` must be a name, or a mapping of `class_path` and `init_args`, but is "
            "{'class': 'ViT'}.",
        ),
    ],
)
def test_a_backbone_that_cannot_be_is_refused_in_one_sentence(
    name: Any, arguments: Any, says: str
) -> None:
    with pytest.raises(ValueError, match="backbone") as caught:
        make_backbone(name, SUBJECT, arguments)
    assert str(caught.value) == says


def test_torchvision_takes_three_channels_and_says_so() -> None:
    says = (
        "`channels` must be 3 for torchvision's shufflenet_v2_x0_5, but is 1. Take a backbone of "
        "timm, which adapts its first layer."
    )
    with pytest.raises(ValueError, match="channels") as caught:
        make_backbone("shufflenet_v2_x0_5", Subject(5, 1, (32, 48)))
    assert str(caught.value) == says


def test_weights_that_cannot_be_fetched_name_the_way_without_a_network(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*args: Any, **kwargs: Any) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr(timm, "create_model", refuse)
    with pytest.raises(ConfigError) as caught:
        make_backbone("resnet18", SUBJECT, pretrained=True)
    assert str(caught.value) == (
        "`pretrained` weights of resnet18 cannot be fetched: no route to host. Without a network, "
        "give a file that you have: `weights: FILE`."
    )


def test_the_small_resnet_is_torchvisions_with_another_stem() -> None:
    ours = ResNet(classes=5).eval()
    theirs = torchvision.models.resnet18(num_classes=5)
    theirs.conv1 = nn.Conv2d(3, 64, 3, 1, 1, bias=False)
    theirs.maxpool = nn.Identity()
    ours.load_state_dict(theirs.eval().state_dict())  # key by key
    images = torch.randn(2, 3, 8, 12)
    torch.testing.assert_close(ours(images), theirs(images))
    assert sum(p.numel() for p in ResNet().parameters()) == 11_173_962


def net(classes: int = 5, size: tuple[int, int] = (32, 48), seed: int = 1) -> nn.Module:
    torch.manual_seed(seed)
    return make_backbone("test_vit", Subject(classes, 3, size), SMALL)


@pytest.mark.parametrize("ending", ["safetensors", "pth"])
@pytest.mark.parametrize("wrapper", [None, "state_dict"])
def test_a_file_of_weights_fills_the_net(ending: str, wrapper: str | None, tmp_path: Path) -> None:
    source, target = net(seed=1), net(seed=2)
    path, state = tmp_path / f"w.{ending}", source.state_dict()
    if ending == "safetensors":
        save_file(state, path)
    else:
        torch.save(state if wrapper is None else {wrapper: state, "epoch": 3}, path)
    assert load_weights(target, path, num_classes=5) == []
    images = torch.randn(1, 3, 32, 48)
    assert torch.equal(source.eval()(images), target.eval()(images))


def test_a_head_of_another_number_of_classes_is_left_out_and_named(tmp_path: Path) -> None:
    source, target = net(classes=7), net(classes=5, seed=2)
    path, before = tmp_path / "w.pth", target.head.weight.clone()  # type: ignore[union-attr,operator]
    torch.save(source.state_dict(), path)
    assert load_weights(target, path, num_classes=5) == ["head.weight", "head.bias"]
    assert torch.equal(target.head.weight, before)  # type: ignore[union-attr,arg-type]
    assert torch.equal(target.pos_embed, source.pos_embed)  # type: ignore[arg-type]


def test_a_table_of_another_size_is_resized_as_timm_does(tmp_path: Path) -> None:
    source, target = net(size=(64, 64)), net(size=(32, 32), seed=2)
    path = tmp_path / "w.pth"
    torch.save(source.state_dict(), path)
    assert load_weights(target, path, num_classes=5) == []
    wanted = timm.layers.resample_abs_pos_embed(source.pos_embed, [2, 2], [4, 4])
    torch.testing.assert_close(target.pos_embed, wanted)


def test_weights_that_do_not_fit_are_listed(tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    state = net().state_dict()
    state["stray"] = torch.zeros(2)
    del state["norm.weight"]
    state["norm.bias"] = torch.zeros(3)
    torch.save(state, path)
    with pytest.raises(CheckpointError) as caught:
        load_weights(net(), path, num_classes=5)
    assert str(caught.value) == (
        f"The weights {path} do not fit VisionTransformer; only a head of another number of "
        "classes may be left out:\n  norm.weight is missing\n  stray is not in the model\n"
        "  norm.bias has shape (3,), not (32,)"
    )


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "The file of weights {path} does not exist."),
        (
            pickle.dumps([1, 2]),
            "The file of weights {path} is damaged or of another format: fetch it again.",
        ),
        (
            b"PK\x03\x04 cut",
            "The file of weights {path} is damaged or of another format: fetch it again.",
        ),
    ],
)
def test_a_file_that_holds_no_weights_is_refused(
    content: bytes | None, says: str, tmp_path: Path
) -> None:
    path = tmp_path / "w.pth"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(CheckpointError) as caught:
        load_weights(net(), path, num_classes=5)
    assert str(caught.value) == says.format(path=path)


def test_weights_that_would_run_code_are_refused(tmp_path: Path) -> None:
    class Payload:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (tmp_path / "executed",)

    path = tmp_path / "w.pth"
    path.write_bytes(pickle.dumps(Payload()))
    with pytest.raises(CheckpointError, match="is damaged or of another format"):
        load_weights(net(), path, num_classes=5)
    torch.save({"x": Payload()}, path)
    with pytest.raises(CheckpointError, match="loading it could run code"):
        load_weights(net(), path, num_classes=5)
    assert not (tmp_path / "executed").exists()


def test_weight_decay_leaves_tables_biases_and_norms_alone() -> None:
    model = net()
    visionpe.attach(model, visionpe.RelativeBias(2, (2, 3)), size=(32, 48))
    visionpe.attach(model, visionpe.PEG(32), size=(32, 48))
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    decayed, others = parameter_groups(model, 0.1)
    assert (decayed["weight_decay"], others["weight_decay"]) == (0.1, 0.0)
    kernels = {names[id(parameter)] for parameter in decayed["params"]}
    assert kernels == {
        "patch_embed.proj.weight",
        *(f"blocks.0.attn.{part}.weight" for part in ("qkv", "proj")),
        *(f"blocks.0.mlp.{part}.weight" for part in ("fc1", "fc2")),
        "head.weight",
    }
    assert len(decayed["params"]) + len(others["params"]) == len(names)


def test_tables_are_known_in_torchvision_and_in_our_own_nets() -> None:
    swin = torchvision.models.swin_transformer.SwinTransformer(
        [4, 4], 12, [2], [2], [4, 4], num_classes=3
    )
    vit = ViT((4, 4), width=8, depth=1, heads=2, encodings=visionpe.Learned2d(8, (2, 3)))
    for model, words in ((swin, "relative_position_bias_table"), (vit, "on_map.0.table")):
        names = {id(parameter): name for name, parameter in model.named_parameters()}
        spared = {names[id(p)] for p in parameter_groups(model, 0.1)[1]["params"]}
        assert any(words in name for name in spared)
        assert not any("mlp" in name and name.endswith("weight") for name in spared)


def test_layers_learn_slower_the_deeper_they_are() -> None:
    groups = parameter_groups(net(), 0.1, layer_decay=0.5)
    scales = {group["lr_scale"] for group in groups}
    assert max(scales) == 1.0
    assert len(scales) > 2
    assert sum(len(group["params"]) for group in groups) == len(list(net().parameters()))


def test_kernels_of_token_mixers_decay_and_scales_with_sides_of_one_do_not() -> None:
    def spared(name: str) -> set[str]:
        model = timm.create_model(name)
        names = {id(p): key for key, p in model.named_parameters()}
        _, others = parameter_groups(model, 0.1)
        return {names[id(p)] for p in others["params"]}

    mixer = spared("gmixer_12_224")
    assert not any(key.endswith("mlp_tokens.fc1.weight") for key in mixer)
    scaled = spared("swiftformer_xs")
    assert any(key.endswith("gamma") or "layer_scale" in key for key in scaled)
    assert not any(key.endswith("conv.weight") for key in scaled)
    assert {"cls_token", "pos_embed"} <= spared("test_vit")


class _Inner(nn.Module):
    """Has a part named as what wrappers of others are (VOLO's has)."""

    def __init__(self) -> None:
        super().__init__()
        self.network = nn.Linear(2, 3)
        self.head = nn.Linear(3, 5)


@pytest.mark.parametrize("prefix", ["", "network.", "_orig_mod.", "_orig_mod.module.", "module."])
def test_a_part_named_like_a_wrapper_is_no_wrapper(prefix: str, tmp_path: Path) -> None:
    source, target, path = _Inner(), _Inner(), tmp_path / "w.pth"
    torch.save({f"{prefix}{key}": value for key, value in source.state_dict().items()}, path)
    assert load_weights(target, path, num_classes=5) == []
    assert torch.equal(source.network.weight, target.network.weight)
