"""An independent check: a place is where the gradient of what is there comes from."""

from typing import Any

import pytest
import timm
import torch
import torchvision
from torch import nn

from visionpe import trace

SIZE = {"img_size": (64, 96)}
# family, arguments, largest distance in cells; nets with branches that are shifted against each
# other (a mean of 2 x 2 beside the centre tap of 3 x 3) have a place only up to that shift
FAMILIES: list[tuple[str, dict[str, Any], float]] = [
    ("test_convnext", {}, 0.15),
    ("test_efficientnet", {}, 0.15),
    ("test_mambaout", {}, 0.15),
    ("test_vit", SIZE, 0.1),
    ("test_vit_relpos", SIZE, 0.1),
    ("test_coatnet", SIZE, 0.15),
    ("test_resnet", {}, 0.35),
    ("test_nfnet", {}, 0.35),
    ("test_byobnet", {}, 0.35),
    ("pvt_v2_b0", {"depths": (1, 1, 1, 1)}, 0.15),
    ("swin_t", {}, 0.15),
    ("resnet18", {}, 0.15),
    ("mobilenet_v2", {}, 0.35),
    ("vgg11", {}, 0.35),
]


def made(name: str, arguments: dict[str, Any]) -> nn.Module:
    if name in ("swin_t", "resnet18", "mobilenet_v2"):
        model: nn.Module = torchvision.models.get_model(name, weights=None)
    elif name == "vgg11":
        model = torchvision.models.vgg11(weights=None).features  # 4096 wide layers behind them
    else:
        model = timm.create_model(name, **arguments)
    return model.eval()


@pytest.mark.parametrize(("name", "arguments", "far"), FAMILIES, ids=[f[0] for f in FAMILIES])
def test_gradients_peak_where_the_trace_says(
    name: str, arguments: dict[str, Any], far: float
) -> None:
    h, w = 64, 96
    model = made(name, arguments)
    site = [
        s
        for s in trace(model, h, w).outputs
        if s.layout in ("NCHW", "NHWC", "NLC")
        and s.windows == 1
        and s.lattice
        # small enough to have seen much, large enough to have a cell away from the border
        and min(s.lattice.h, s.lattice.w) >= 4
    ][-1]
    lattice = site.lattice
    assert lattice is not None
    outputs: list[torch.Tensor] = []
    model.get_submodule(site.module).register_forward_hook(lambda m, a, o: outputs.append(o))
    image = torch.rand(2, 3, h, w, requires_grad=True)
    model(image)
    y = outputs[-1]
    if site.layout != "NLC":
        y = y.flatten(2).mT if site.layout == "NCHW" else y.flatten(1, 2)  # b n c
    row, column = lattice.h // 2, lattice.w // 2
    cell = y[:, site.prefix + row * lattice.w + column]
    (gradient,) = torch.autograd.grad((cell * torch.randn_like(cell)).sum(), image)
    # The fourth power weighs the peak, not the haze that attention spreads over everything.
    weight = gradient.double().square().sum((0, 1)).square()
    weight = weight / weight.sum()
    centre = (
        (weight.sum(1) * (torch.arange(h) + 0.5)).sum(),
        (weight.sum(0) * (torch.arange(w) + 0.5)).sum(),
    )
    for axis, index in ((0, row), (1, column)):
        says = lattice.offset[axis] + index * lattice.spacing[axis]
        assert abs(float(centre[axis]) - says) / lattice.spacing[axis] < far
