"""What other pads do to maps: laws of whole nets, both ways, and of single operations."""

from collections.abc import Callable
from typing import Any, Literal

import pytest
import timm
import torch
import torch.nn.functional as F
from timm.layers import AvgPool2dSame, Conv2dSame
from timm.layers.pool2d_same import MaxPool2dSame
from torch import Tensor, nn

from visionpe import set_padding
from visionpe.paddings.modes import Mode

MODES: list[Mode] = ["reflect", "replicate", "circular", "none"]


class PadsInForward(nn.Module):
    """As HGNet's stem: pads, then convolves and pools what it padded."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 2)
        self.pool = nn.MaxPool2d(2, stride=1, ceil_mode=True)

    def forward(self, x: Tensor) -> Tensor:
        x = F.pad(x, (0, 1, 0, 1))
        pooled: Tensor = self.pool(x)
        return pooled + F.conv2d(x, self.conv.weight, self.conv.bias)


def stride_one() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(3, 1, 1),
        nn.Conv2d(4, 4, (5, 3), padding=(4, 1), dilation=(2, 1), groups=2),
        PadsInForward(),
        nn.AvgPool2d(3, 1, 1),
        nn.ReflectionPad2d(1),
        nn.Conv2d(4, 4, 3),
        nn.Conv2d(4, 4, 4, padding="same"),
        Conv2dSame(4, 4, 4),
        nn.AvgPool2d(3, 1, 1, count_include_pad=False),
    ).double()


def strided() -> nn.Module:
    return nn.Sequential(
        Conv2dSame(3, 4, 3, stride=2),
        MaxPool2dSame(3, 2),
        AvgPool2dSame(3, 1),
        nn.Conv2d(4, 4, 3, 2, 1),
        nn.ConvTranspose2d(4, 4, 4, 2, 1),
    ).double()


def shifted(net: nn.Module, x: Tensor, cells: tuple[int, int], pixels: int) -> float:
    """How far the net of the shifted image is from the shifted net of the image."""
    moved = torch.roll(x, (cells[0] * pixels, cells[1] * pixels), (2, 3))
    with torch.no_grad():
        return float((net(moved) - torch.roll(net(x), cells, (2, 3))).abs().max())


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel:UserWarning")
@pytest.mark.parametrize("make", [stride_one, strided])
def test_with_circular_padding_a_net_follows_circular_shifts_and_with_zeros_it_does_not(
    make: Callable[[], nn.Module],
) -> None:
    net, pixels = make(), 1 if make is stride_one else 8
    x = torch.randn(2, 3, 16, 24, dtype=torch.float64)
    if make is strided:  # ends at a quarter of the image
        net = nn.Sequential(net, nn.Conv2d(4, 4, 3, 2, 1)).double()
    assert shifted(net, x, (1, -1), pixels) > 1e-3
    for mode in ("reflect", "replicate", "none", "zeros"):
        set_padding(net, mode)
        assert shifted(net, x, (1, -1), pixels) > 1e-3
    set_padding(net, "circular")
    assert shifted(net, x, (1, -1), pixels) < 1e-12


@pytest.mark.parametrize(
    ("name", "pixels"),
    [("resnet10t", 32), ("test_efficientnet", 32), ("tf_mobilenetv3_small_minimal_100", 32)],
)
def test_backbones_with_circular_padding_follow_shifts_by_their_stride(
    name: str, pixels: int
) -> None:
    net = timm.create_model(name, num_classes=0, global_pool="").eval().double()
    x = torch.randn(1, 3, 96, 160, dtype=torch.float64)
    scale = float(net(x).detach().abs().max())
    assert shifted(net, x, (1, 2), pixels) > 1e-4 * scale
    set_padding(net, "circular")
    assert shifted(net, x, (1, 2), pixels) < 1e-10 * scale


def varies(y: Tensor) -> float:
    """How far a map is from having the same features everywhere."""
    return float((y - y[..., :1, :1]).detach().abs().max())


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel:UserWarning")
def test_an_even_image_stays_even_but_with_zeros() -> None:
    net = stride_one()
    grey = torch.randn(2, 3, 1, 1, dtype=torch.float64).expand(2, 3, 12, 16)
    assert varies(net(grey)) > 1e-3
    for mode in MODES:
        set_padding(net, mode)
        assert varies(net(grey)) < 1e-12
    set_padding(net, "zeros")
    assert varies(net(grey)) > 1e-3


@pytest.mark.parametrize("mode", MODES)
def test_shapes_are_kept_and_cells_far_from_the_edge_too(mode: Mode) -> None:
    net = nn.Sequential(
        nn.Conv2d(3, 4, 5, 2, 1), nn.MaxPool2d(3, 2, 0, ceil_mode=True), nn.Conv2d(4, 5, 3, 1, 1)
    )
    x = torch.randn(2, 3, 37, 54)
    before = net(x)
    set_padding(net, mode)
    after = net(x)
    assert after.shape == before.shape
    assert torch.allclose(after[..., 2:-2, 2:-2], before[..., 2:-2, 2:-2], atol=1e-6)
    assert not torch.allclose(after, before, atol=1e-3)


@pytest.mark.parametrize("mode", ["reflect", "replicate", "circular"])
def test_a_convolution_pads_as_torchs_own_padding_mode(
    mode: Literal["reflect", "replicate", "circular"],
) -> None:
    ours = nn.Conv2d(3, 4, (3, 5), 2, (1, 2))
    torchs = nn.Conv2d(3, 4, (3, 5), 2, (1, 2), padding_mode=mode)
    torchs.load_state_dict(ours.state_dict())
    x = torch.randn(2, 3, 9, 14)
    set_padding(ours, mode)
    assert torch.equal(ours(x), torchs(x))
    zeros = nn.Conv2d(3, 4, (3, 5), 2, (1, 2))
    zeros.load_state_dict(ours.state_dict())
    set_padding(torchs, "zeros")
    assert torch.equal(torchs(x), zeros(x))
    set_padding(torchs, "original")
    assert torch.equal(torchs(x), ours(x))


@pytest.mark.parametrize(
    "module",
    [
        nn.Conv2d(3, 3, 3, 1, 1),
        nn.Conv2d(3, 3, 4, 3, 2),
        nn.Conv2d(3, 3, 3, 2, 2, dilation=2),
        Conv2dSame(3, 3, 3, stride=2),
        nn.AvgPool2d(3, 2, 1),
        nn.MaxPool2d(3, 2, 1),
    ],
)
def test_without_padding_windows_over_the_edge_repeat_the_nearest_whole_one(
    module: Any,
) -> None:
    """A loop straight from the definition, with NaN beyond the edge."""
    x = torch.randn(1, 3, 11, 13)
    reach = 6
    nan = F.pad(x, [reach] * 4, value=torch.nan)
    h, w = module(x).shape[-2:]
    extent = both(getattr(module, "dilation", 1)) * (both(module.kernel_size) - 1) + 1
    stride = both(module.stride)
    if isinstance(module, Conv2dSame):
        pads = [max((size - 1) * stride + extent - n, 0) // 2 for size, n in ((h, 11), (w, 13))]
    else:
        pads = [both(module.padding)] * 2
    wanted = torch.full(module(x).shape, torch.nan)
    for i in range(h):
        for j in range(w):
            top, left = (reach + k * stride - p for k, p in zip((i, j), pads, strict=True))
            window = nan[..., top : top + extent, left : left + extent]
            step = both(getattr(module, "dilation", 1))
            if isinstance(module, nn.Conv2d):
                one = F.conv2d(window, module.weight, module.bias, dilation=step)
            else:
                one = (
                    window.mean((2, 3)) if isinstance(module, nn.AvgPool2d) else window.amax((2, 3))
                )
            wanted[..., i, j] = one.flatten(1)
    whole = ~wanted.isnan().any(1)[0]
    rows, columns = whole.any(1).nonzero()[:, 0], whole.any(0).nonzero()[:, 0]
    near_rows = torch.arange(h).clamp(int(rows[0]), int(rows[-1]))
    near_columns = torch.arange(w).clamp(int(columns[0]), int(columns[-1]))
    wanted = wanted[..., near_rows, :][..., near_columns]
    set_padding(module, "none")
    assert torch.allclose(module(x), wanted, atol=1e-6)


def both(value: int | tuple[int, int]) -> int:
    return value if isinstance(value, int) else value[0]


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (1, 8), (3, 2)])
@pytest.mark.parametrize("mode", ["replicate", "none"])
def test_maps_smaller_than_a_window_are_taken(mode: Mode, size: tuple[int, int]) -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 7, 1, 3), nn.Conv2d(4, 4, 3, 2, 1), nn.MaxPool2d(3, 2, 1))
    x = torch.randn(2, 3, *size)
    shape = net(x).shape
    set_padding(net, mode)
    assert net(x).shape == shape
    assert net(x).isfinite().all()


@pytest.mark.parametrize(("h", "w"), [(6, 9), (7, 8), (5, 5)])
@pytest.mark.parametrize("padding", [0, 1])
def test_pools_that_hang_over_the_end_keep_their_size(h: int, w: int, padding: int) -> None:
    for pool in (
        nn.MaxPool2d(3, 2, padding, ceil_mode=True),
        nn.AvgPool2d(3, 2, padding, ceil_mode=True, count_include_pad=False),
    ):
        x = torch.randn(1, 2, h, w)
        shape = pool(x).shape
        for mode in MODES:
            set_padding(pool, mode)
            assert pool(x).shape == shape


def test_unfolding_pads_the_map() -> None:
    unfold = nn.Unfold((3, 5), padding=(1, 2), stride=2)
    x = torch.randn(2, 3, 6, 9)
    set_padding(unfold, "circular")
    wanted = F.unfold(F.pad(x, (2, 2, 1, 1), mode="circular"), (3, 5), stride=2)
    assert torch.equal(unfold(x), wanted)
    set_padding(unfold, "none")
    assert unfold(x).shape == wanted.shape


def test_pads_that_are_no_maps_stay() -> None:
    class Scores(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            skewed = F.pad(x.flatten(2), [0, 1])  # relative to absolute
            prefix = F.pad(x, [1, 0, 1, 0])  # tokens without a place
            ones = F.pad(x, [0, 1, 0, 1], value=1.0)
            return torch.cat([t.flatten() for t in (skewed, prefix, ones)])

    net, x = Scores(), torch.randn(2, 3, 4, 5)
    before = net(x)
    for mode in MODES:
        set_padding(net, mode)
        assert torch.equal(net(x), before)
