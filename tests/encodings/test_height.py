import math
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from visionpe import Frame, HeightAttention, band_means, height_code

# (lower, higher) channels of the four sites in DeepLabV3+ on a ResNet-101: the third stage before
# the fourth, the fourth before the pyramid, the pyramid before its bottleneck, and the decoder's
# 256 + 48 channels before its last convolutions.
SITES = [(1024, 2048), (2048, 1280), (1280, 256), (304, 256)]


def made(channels: int = 6, lower: int = 8, **options: object) -> HeightAttention:
    return HeightAttention(channels, lower, reduction=2, **options).double().eval()  # type: ignore[arg-type]


def symmetric(module: HeightAttention) -> HeightAttention:
    """Kernels that look up as they look down."""
    with torch.no_grad():
        for conv in (module.widen, module.excite):
            conv.weight.copy_((conv.weight + conv.weight.flip(-1)) / 2)
    return module


def slow_code(position: float, width: int) -> list[float]:
    """The paper's code of a row, one number at a time: base 100 (10 past 50 channels), and + 1."""
    base = 10 if width > 50 else 100
    angles = [position / base ** (2 * (j // 2) / width) for j in range(width)]
    return [1 + (math.cos(a) if j % 2 else math.sin(a)) for j, a in enumerate(angles)]


@settings(deadline=None, max_examples=30, derandomize=True)
@given(width=st.integers(1, 64), n=st.integers(1, 64))
def test_the_rows_code_is_the_papers_formula(width: int, n: int) -> None:
    points = torch.arange(n, dtype=torch.float64) * 8 + 3.5
    wanted = torch.tensor([slow_code(p, width) for p in points.tolist()], dtype=torch.float64)
    torch.testing.assert_close(height_code(points, width), wanted.mT, rtol=0, atol=1e-10)


def test_the_whole_is_the_papers_layers_in_the_papers_order() -> None:
    module = made(rows=128, dropout=0.1)
    for norm in (module.norm, module.widened_norm):
        torch.nn.init.uniform_(norm.weight, 0.5, 2)
        norm.running_mean.normal_()  # type: ignore[union-attr]
        norm.running_var.uniform_(0.5, 2)  # type: ignore[union-attr]
    low, high = (
        torch.randn(2, 8, 20, 9, dtype=torch.float64),
        torch.randn(2, 6, 37, 5, dtype=torch.float64),
    )

    def normed(x: Tensor, norm: torch.nn.BatchNorm1d) -> Tensor:
        return F.batch_norm(x, norm.running_mean, norm.running_var, norm.weight, norm.bias)

    z = F.adaptive_avg_pool2d(low, (16, 1)).squeeze(3)
    z = F.relu(normed(F.conv1d(z, module.squeeze.weight), module.norm))
    rows = [slow_code(8 * i + 3.5, 4) for i in range(16)]  # 8 of 128 rows a band
    z = z + torch.tensor(rows, dtype=torch.float64).mT
    z = F.conv1d(z, module.widen.weight, module.widen.bias, padding=1)
    z = F.relu(normed(z, module.widened_norm))
    z = torch.sigmoid(F.conv1d(z, module.excite.weight, module.excite.bias, padding=1))
    gate = F.interpolate(z, size=37, mode="linear")
    torch.testing.assert_close(module.attention(low, 37), gate, rtol=0, atol=1e-10)
    got = module(high, lower=low)
    torch.testing.assert_close(got, high * gate[..., None], rtol=0, atol=1e-10)


def test_it_has_the_papers_parameters() -> None:
    modules = [HeightAttention(high, low, reduction=64) for low, high in SITES]
    assert sum(p.numel() for module in modules for p in module.parameters()) == 604_462


@settings(deadline=None, max_examples=40, derandomize=True)
@given(h=st.integers(1, 64), w=st.integers(1, 20), bands=st.integers(1, 20))
def test_band_means_are_torchs_adaptive_pooling(h: int, w: int, bands: int) -> None:
    x = torch.randn(2, 3, h, w, dtype=torch.float64)
    wanted = F.adaptive_avg_pool2d(x, (bands, 1)).squeeze(3)
    torch.testing.assert_close(band_means(x, bands), wanted, rtol=0, atol=1e-10)


def test_the_gate_depends_on_height_only_and_is_between_zero_and_one() -> None:
    module = made()
    x = torch.randn(2, 6, 19, 23, dtype=torch.float64)
    low = torch.randn(2, 8, 10, 12, dtype=torch.float64)
    gate = module(x, lower=low) / x
    torch.testing.assert_close(gate, gate[..., :1].expand_as(gate), rtol=0, atol=1e-10)
    assert gate.min() > 0
    assert gate.max() < 1
    assert gate.std(-2).max() > 1e-3


def test_permuted_columns_leave_the_gate_and_permuted_rows_do_not() -> None:
    module = made()
    low = torch.randn(1, 8, 16, 12, dtype=torch.float64)
    gate = module.attention(low, 21)
    columns, rows = torch.randperm(12), torch.randperm(16)
    shuffled = module.attention(low[..., columns], 21)
    torch.testing.assert_close(shuffled, gate, rtol=0, atol=1e-10)
    assert (module.attention(low[..., rows, :], 21) - gate).abs().max() > 1e-3


def test_a_mirrored_view_with_its_frame_has_the_gate_of_the_image() -> None:
    module = symmetric(made())
    low = torch.randn(1, 8, 20, 9, dtype=torch.float64)
    frame = Frame.identity(20, 9)
    gate = module.attention(low, 33, frame)
    left = module.attention(low.flip(-1), 33, frame.hflip())
    torch.testing.assert_close(left, gate, rtol=0, atol=1e-6)
    over = module.attention(low.flip(-2), 33, frame.vflip())
    torch.testing.assert_close(over.flip(-1), gate, rtol=0, atol=1e-6)
    # without the frame, up is taken for down
    assert (module.attention(low.flip(-2), 33).flip(-1) - gate).abs().max() > 1e-3


def test_without_the_rows_code_it_does_not_know_up_from_down() -> None:
    low = torch.randn(1, 8, 20, 9, dtype=torch.float64)

    def change(module: HeightAttention) -> float:
        gate, over = module.attention(low, 33), module.attention(low.flip(-2), 33)
        return (over.flip(-1) - gate).abs().max().item()

    assert change(symmetric(made(position=False))) < 1e-10
    assert change(symmetric(made())) > 1e-3


def test_a_crop_has_the_rows_of_the_image_and_not_its_own() -> None:
    """Of a map without content, the gate of a crop is that of the same rows in the image."""
    module = made(bands=4, rows=16)
    low = torch.zeros(1, 8, 4, 5, dtype=torch.float64)
    frame = Frame.identity(16, 10)
    top, bottom = frame.crop(0, 0, h=4, w=5), frame.crop(12, 5, h=4, w=5)
    assert module._rows(low, top).tolist() == [0, 1, 2, 3]
    assert module._rows(low, bottom).tolist() == [12, 13, 14, 15]
    assert module._rows(low, bottom.vflip()).tolist() == [15, 14, 13, 12]
    turned = module._rows(low, frame.rotate(90))  # every middle is on the middle row
    torch.testing.assert_close(turned, torch.full((4,), 7.5, dtype=torch.float64))
    gates = [module.attention(low, 4, view) for view in (top, bottom)]
    assert (gates[0] - gates[1]).abs().max() > 1e-3
    both = module.attention(low.expand(2, 8, 4, 5), 4, Frame.stack([top, bottom]))
    torch.testing.assert_close(both, torch.cat(gates), rtol=0, atol=1e-10)


def test_rows_count_the_same_at_every_resolution() -> None:
    module = made()
    coarse = torch.randn(1, 8, 16, 3, dtype=torch.float64)
    fine = coarse.repeat_interleave(4, -2).repeat_interleave(2, -1)
    torch.testing.assert_close(module.attention(fine, 9), module.attention(coarse, 9))


def test_training_moves_rows_by_whole_numbers_and_evaluation_does_not() -> None:
    module = made(jitter=2.0, dropout=0.0)
    low = torch.zeros(64, 8, 5, 4, dtype=torch.float64)
    still = module._rows(low, None)
    noise = module.train()._rows(low, None) - still
    assert noise.shape == (64, 16)
    assert torch.equal(noise, noise.round())
    assert noise.std().item() == pytest.approx((4 + 1 / 12) ** 0.5, rel=0.1)
    assert abs(noise.mean().item()) < 0.2
    assert torch.equal(module.eval()._rows(low, None), still)


def test_it_starts_near_a_half_or_as_the_identity() -> None:
    x = torch.randn(2, 64, 9, 7)
    gate = HeightAttention(64, reduction=16).attention(x, 9)
    assert (gate - 0.5).abs().max() < 0.4
    module = HeightAttention(64, reduction=16, identity=True)
    assert torch.equal(module(x), x)
    optimizer = torch.optim.SGD(module.parameters(), lr=1.0)
    for _ in range(2):
        optimizer.zero_grad()
        (module(x) * x).square().mean().backward()
        optimizer.step()
    for parameter in module.parameters():
        assert parameter.grad is not None
        assert parameter.grad.abs().max() > 0


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_rows_stay_exact_in_half_precision(dtype: torch.dtype) -> None:
    points = torch.arange(65_536.0, 69_632.0)
    exact = height_code(points.double(), 7).to(dtype)
    error = (height_code(points, 7).to(dtype).double() - exact.double()).abs().max()
    assert error <= 2 * torch.finfo(dtype).eps  # an ulp between 1 and 2
    module = made().to(dtype)
    x = torch.randn(2, 6, 9, 7, dtype=dtype)
    out = module(x, lower=torch.randn(2, 8, 5, 6, dtype=dtype))
    assert out.dtype == dtype
    with torch.autocast("cpu", torch.bfloat16):
        assert made().float()(x.float(), lower=torch.randn(2, 8, 5, 6)).dtype == torch.float32


def test_an_empty_batch_is_gated_in_training_too() -> None:
    for module in (made(), made().train()):
        x = torch.zeros(0, 6, 4, 5, dtype=torch.float64)
        assert module(x, lower=torch.zeros(0, 8, 3, 3, dtype=torch.float64)).shape == x.shape


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: height_code(torch.zeros(2), 0),
            "`width` (the number of channels) must be at least 1, but is 0.",
        ),
        (lambda: HeightAttention(0), "`channels` must be at least 1, but is 0."),
        (lambda: HeightAttention(4, 0), "`lower_channels` must be at least 1, but is 0."),
        (lambda: HeightAttention(4, reduction=0), "`reduction` must be at least 1, but is 0."),
        (lambda: HeightAttention(4, bands=0), "`bands` must be at least 1, but is 0."),
        (lambda: HeightAttention(4, rows=-1), "`rows` must be at least 1, but is -1."),
        (lambda: HeightAttention(4, dropout=1.0), "`dropout` must be in [0, 1), but is 1.0."),
        (lambda: HeightAttention(4, jitter=-0.5), "`jitter` must be at least 0 rows, but is -0.5."),
        (
            lambda: HeightAttention(4)(torch.zeros(1, 3, 5, 5)),
            "`x` must have the 4 channels that HeightAttention is made for, but has 3.",
        ),
        (
            lambda: HeightAttention(4, 8)(torch.zeros(1, 4, 5, 5)),
            "`lower` must have the 8 channels that the gate is made from, but has 4.",
        ),
    ],
)
def test_bad_input_is_refused_in_one_sentence(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the whole message is compared
        make()
    assert str(caught.value) == message
