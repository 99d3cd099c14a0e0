from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from visionpe import Frame
from visionpe.models.broadcast import (
    BroadcastDecoder,
    BroadcastEncoder,
    DeconvDecoder,
    broadcast_conv,
    slot_coordinates,
)


def tiled(net: BroadcastDecoder, z: Tensor, h: int, w: int) -> Tensor:
    """The decoder as the paper draws it: tile, concatenate, convolve; coordinates by hand."""
    y = [
        2 * i / max(h - 1, 1) - (h > 1) if net.align_corners else (2 * i + 1 - h) / h
        for i in range(h)
    ]
    x = [
        2 * j / max(w - 1, 1) - (w > 1) if net.align_corners else (2 * j + 1 - w) / w
        for j in range(w)
    ]
    code = torch.stack(
        [torch.tensor(y)[:, None].expand(h, w), torch.tensor(x)[None].expand(h, w)]
    ).to(z)
    if net.slot:
        code = (code + 1) / 2
        code = torch.cat([code, 1 - code])
    out = torch.cat([z[:, :, None, None].expand(-1, -1, h, w), code.expand(len(z), -1, h, w)], 1)
    layers: list[nn.Module] = [*net.layers]
    for layer in layers[:-1]:
        out = layer(out).relu()
    result: Tensor = layers[-1](out)
    return result


def test_parameter_counts_are_the_papers() -> None:
    def count(net: nn.Module) -> int:
        return sum(p.numel() for p in net.parameters())

    assert count(BroadcastDecoder(10)) == 45_635
    assert count(DeconvDecoder(10)) == 268_291
    four = 3 * 64 * 16 + 64 + 3 * (64 * 64 * 16 + 64)
    assert count(BroadcastEncoder(10)) == four + 1024 * 256 + 256 + 256 * 20 + 20


@settings(deadline=None, max_examples=40, derandomize=True)
@given(
    h=st.integers(1, 64),
    w=st.integers(1, 64),
    b=st.integers(0, 3),
    z=st.integers(1, 7),
    kernel=st.sampled_from([1, 3, 5]),
)
def test_an_untiled_convolution_is_the_tiled_one(
    h: int, w: int, b: int, z: int, kernel: int
) -> None:
    latent = torch.randn(b, z, dtype=torch.float64)
    weight = torch.randn(4, z, kernel, kernel, dtype=torch.float64)
    wanted = F.conv2d(latent[:, :, None, None].expand(-1, -1, h, w), weight, padding=kernel // 2)
    torch.testing.assert_close(broadcast_conv(latent, weight, h, w), wanted, rtol=0, atol=1e-10)


@pytest.mark.parametrize(("h", "w"), [(9, 14), (1, 6), (2, 1)])
@pytest.mark.parametrize("slot", [False, True])
@pytest.mark.parametrize("align", [False, True])
def test_picture_and_gradients_are_the_tiling_decoders(
    h: int, w: int, slot: bool, align: bool
) -> None:
    torch.set_default_dtype(torch.float64)
    try:
        net = BroadcastDecoder(5, width=6, slot=slot, align_corners=align)
        z = torch.randn(3, 5, requires_grad=True)
        wanted, got = tiled(net, z, h, w), net(z, h, w)
    finally:
        torch.set_default_dtype(torch.float32)
    torch.testing.assert_close(got, wanted, rtol=0, atol=1e-12)
    inputs = [z, *net.parameters()]
    outer = torch.randn_like(got)
    for ours, theirs in zip(
        torch.autograd.grad(got, inputs, outer),
        torch.autograd.grad(wanted, inputs, outer),
        strict=True,
    ):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-10)


def test_a_picture_has_one_value_a_point_at_every_resolution_if_kernels_are_cells() -> None:
    z = torch.randn(2, 5, dtype=torch.float64)
    net = BroadcastDecoder(5, width=8, kernel=1).double()
    torch.testing.assert_close(net(z, 27, 42)[..., 1::3, 1::3], net(z, 9, 14), rtol=0, atol=1e-10)
    # At twice the size four cells lie around each old centre: their mean is near, not equal.
    fine, coarse = net(z, 36, 56), net(z, 18, 28)
    assert (F.avg_pool2d(fine, 2) - coarse).abs().max() < 0.1 * coarse.std()
    wide = BroadcastDecoder(5, width=8).double()  # kernels reach less far on a finer canvas
    assert (wide(z, 27, 42)[..., 1::3, 1::3] - wide(z, 9, 14)).abs().max() > 1e-3
    corners = BroadcastDecoder(5, width=8, kernel=1, align_corners=True).double()
    assert (corners(z, 27, 42)[..., 1::3, 1::3] - corners(z, 9, 14)).abs().max() > 1e-3


def test_a_crop_by_frame_is_the_crop_of_the_picture() -> None:
    z = torch.randn(2, 5, dtype=torch.float64)
    frame = Frame.identity(20, 28).crop(3, 6, h=11, w=13)
    pointwise = BroadcastDecoder(5, width=8, kernel=1).double()
    crop, whole = pointwise(z, 11, 13, frame), pointwise(z, 20, 28)[..., 3:14, 6:19]
    torch.testing.assert_close(crop, whole, rtol=0, atol=1e-10)
    net = BroadcastDecoder(5, width=8).double()
    crop, whole = net(z, 11, 13, frame), net(z, 20, 28)[..., 3:14, 6:19]
    inner = (..., slice(3, -3), slice(3, -3))  # three kernels reach over three cells
    torch.testing.assert_close(crop[inner], whole[inner], rtol=0, atol=1e-10)
    assert (crop - whole).abs().max() > 1e-3
    without = net(z, 11, 13)
    assert (without[inner] - whole[inner]).abs().max() > 1e-3
    frames = Frame.stack([frame, Frame.identity(20, 28).crop(0, 0, h=11, w=13)])
    torch.testing.assert_close(net(z, 11, 13, frames)[0], crop[0], rtol=0, atol=1e-10)


def test_without_coordinates_the_inside_of_the_picture_is_flat() -> None:
    net = BroadcastDecoder(5, width=8)
    with torch.no_grad():
        first = net.layers[0]
        assert isinstance(first, nn.Conv2d)
        first.weight[:, 5:] = 0
    inner = net(torch.randn(1, 5), 12, 17)[..., 3:-3, 3:-3]
    assert (inner - inner[..., :1, :1]).abs().max() < 1e-6


def test_slot_attentions_coordinates_are_its_grid() -> None:
    """`linspace(0, 1)` along each axis, then one minus these (arXiv 2006.15055, released code)."""
    y, x = torch.meshgrid(torch.linspace(0, 1, 5), torch.linspace(0, 1, 8), indexing="ij")
    wanted = torch.stack([y, x, 1 - y, 1 - x])
    got = slot_coordinates(5, 8, align_corners=True)
    torch.testing.assert_close(got, wanted, rtol=0, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_it_works_in_half_precision_near_the_precise_picture(dtype: torch.dtype) -> None:
    net = BroadcastDecoder(5, width=8)
    z = torch.randn(2, 5)
    precise = net(z, 9, 14)
    got = net.to(dtype)(z.to(dtype), 9, 14)
    assert got.dtype == dtype
    assert (got.float() - precise).abs().max() < 20 * torch.finfo(dtype).eps


@pytest.mark.usefixtures("unchecked")
def test_it_compiles_whole() -> None:
    net = BroadcastDecoder(5, width=8)
    z = torch.randn(2, 5)
    compiled = torch.compile(net, fullgraph=True, backend="eager", dynamic=True)
    for h, w in ((9, 14), (12, 7), (16, 16)):
        torch.testing.assert_close(compiled(z, h, w), net(z, h, w))


def test_encoder_and_baseline_fit_together() -> None:
    images = torch.randn(2, 3, 64, 64)
    mean, log_variance = BroadcastEncoder(10)(images)
    assert mean.shape == log_variance.shape == (2, 10)
    assert DeconvDecoder(10)(mean).shape == BroadcastDecoder(10)(mean).shape == images.shape
    assert BroadcastEncoder(4, h=32, w=48)(torch.randn(1, 3, 32, 48))[0].shape == (1, 4)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: BroadcastDecoder(0), "`latent` must be at least 1, but is 0."),
        (lambda: BroadcastDecoder(1, channels=0), "`channels` must be at least 1, but is 0."),
        (lambda: BroadcastDecoder(1, width=0), "`width` must be at least 1, but is 0."),
        (lambda: BroadcastDecoder(1, depth=0), "`depth` must be at least 1, but is 0."),
        (
            lambda: BroadcastDecoder(1, kernel=4),
            "`kernel` must be an odd number of cells, but is 4.",
        ),
        (
            lambda: BroadcastEncoder(1, h=64, w=40),
            "`h` and `w` must be multiples of 16, but are 64 and 40.",
        ),
    ],
)
def test_bad_input_is_refused_in_one_sentence(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the whole message is compared
        make()
    assert str(caught.value) == message
