"""Small models of other people, for images that are not square."""

from collections.abc import Callable
from typing import Any, NamedTuple

import timm
import torch
import torchvision
from torch import nn

from visionpe import Learned2d, RelativeBias, Site


class Backbone(NamedTuple):
    """How to make it, and for which images."""

    make: Callable[[], nn.Module]
    h: int
    w: int

    def model(self) -> nn.Module:
        return self.make().eval()

    def images(self, batch: int = 2) -> torch.Tensor:
        return torch.randn(batch, 3, self.h, self.w)


def swin(**options: object) -> nn.Module:
    small = {"window_size": 4, "embed_dim": 16, "depths": (2, 2), "num_heads": (2, 4)}
    model: nn.Module = timm.create_model(
        "swin_tiny_patch4_window7_224", img_size=(32, 48), num_classes=3, **small | options
    )
    return model


def pvt() -> nn.Module:
    model: nn.Module = timm.create_model(
        "pvt_v2_b0", embed_dims=(8, 16, 20, 32), depths=(1, 1, 1, 1), num_classes=3
    )
    return model


def vit(name: str = "test_vit", **options: object) -> nn.Module:
    """It pools the patches: all of them matter, also in the last block."""
    model: nn.Module = timm.create_model(
        name, img_size=(48, 80), num_classes=3, global_pool="avg", **options
    )
    return model


def torchvision_vit() -> nn.Module:
    model: nn.Module = torchvision.models.vision_transformer.VisionTransformer(32, 8, 2, 2, 16, 32)
    model.heads = nn.Identity()  # it starts at zero
    return model


def torchvision_swin() -> nn.Module:
    model: nn.Module = torchvision.models.swin_transformer.SwinTransformer(
        [4, 4], 16, [2, 2], [2, 4], [4, 4]
    )
    return model


def vgg() -> nn.Module:
    with torch.device("meta"):
        model: nn.Module = torchvision.models.vgg11(num_classes=5)
    model.classifier = nn.Linear(512 * 7 * 7, 5, device="meta")  # its own are 400 MB
    model.to_empty(device="cpu")
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.02)
    return model


_VISION = torchvision.models
ATTENTION = {
    "vit": Backbone(vit, 48, 80),
    "vit4": Backbone(lambda: vit("test_vit4", init_values=None), 48, 80),
    "vit unfused": Backbone(lambda: unfused(vit()), 48, 80),
    "swin": Backbone(swin, 32, 48),
    "pvt": Backbone(pvt, 64, 96),
    "maxvit": Backbone(lambda: timm.create_model("test_maxvit", img_size=(64, 96)), 64, 96),
    "torchvision vit": Backbone(torchvision_vit, 32, 32),
    "torchvision swin": Backbone(torchvision_swin, 32, 48),
}
CONVOLUTIONS = {
    "resnet18": Backbone(lambda: _VISION.resnet18(num_classes=5), 40, 56),
    "mobilenet_v2": Backbone(lambda: _VISION.mobilenet_v2(num_classes=5, width_mult=0.25), 40, 56),
    "vgg11": Backbone(vgg, 40, 56),
    "tensorflow's same": Backbone(
        lambda: timm.create_model("tf_mobilenetv3_small_minimal_100", num_classes=5), 39, 57
    ),
}


def unfused(model: nn.Module) -> nn.Module:
    for module in model.modules():
        if "fused_attn" in vars(module):
            vars(module)["fused_attn"] = False
    return model


def bias(site: Site) -> RelativeBias:
    """A table for all offsets that there are."""
    assert site.lattice is not None
    return RelativeBias(site.heads or 1, (site.lattice.h, site.lattice.w), prefix_bias=True)


def learned(site: Site) -> Learned2d:
    assert site.lattice is not None
    channels = site.shape[1] if site.layout == "NCHW" else site.shape[-1]
    return Learned2d(channels, (site.lattice.h, site.lattice.w))


def facts(model: nn.Module) -> list[Any]:
    """All that may not change: classes, modes, hooks, attributes, and the state, to the bit."""
    modules = [
        (
            name,
            type(module),
            module.training,
            sorted(vars(module)),
            list(module._forward_hooks),
            list(module._forward_pre_hooks),
        )
        for name, module in model.named_modules()
    ]
    state = [
        (k, v.dtype, v.device, v.is_meta or v.numpy().tobytes())
        for k, v in model.state_dict().items()
    ]
    return [modules, state]
