import copy
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from visionpe import Frame, HyperConv2d, HyperScale, MapEncoding, Places, grid, per_cell_conv2d


def scale(channels: int = 3, **options: int) -> HyperScale:
    return HyperScale(channels, zero_init=False, **options).double()


def conv(channels: int = 4, **options: int) -> HyperConv2d:
    return HyperConv2d(channels, zero_init=False, **options).double()


def network(module: HyperScale | HyperConv2d) -> nn.Sequential:
    return nn.Sequential(module.network.first, nn.GELU(), module.network.last)


def test_a_scale_is_a_perceptron_of_the_coordinates_at_each_cell() -> None:
    module = scale(hidden=7)
    x = torch.randn(2, 3, 5, 6, dtype=torch.float64)
    wanted = torch.empty_like(x)
    for i in range(5):
        for j in range(6):
            place = torch.tensor([(2 * i - 4) / 5, (2 * j - 5) / 6], dtype=torch.float64)
            code = network(module)(place)
            wanted[..., i, j] = x[..., i, j] * (1 + code[:3]) + code[3:]
    torch.testing.assert_close(module(x), wanted, rtol=0, atol=1e-10)


@settings(deadline=None, max_examples=30, derandomize=True)
@given(
    h=st.integers(1, 12),
    w=st.integers(1, 12),
    groups=st.sampled_from([1, 3]),
    reach=st.integers(0, 2),
    batch=st.integers(0, 2),
)
def test_a_convolution_of_another_kernel_at_each_cell_is_unfold_and_a_product(
    h: int, w: int, groups: int, reach: int, batch: int
) -> None:
    side = 2 * reach + 1
    x = torch.randn(batch, 6, h, w, dtype=torch.float64)
    kernels = torch.randn(batch, groups, side**2, h, w, dtype=torch.float64)
    windows = F.unfold(x, side, padding=reach) if batch else x.new_zeros(0, 6 * side**2, h * w)
    windows = windows.view(batch, groups, 6 // groups, side**2, h, w)
    wanted = (windows * kernels[:, :, None]).sum(3).flatten(1, 2)
    torch.testing.assert_close(per_cell_conv2d(x, kernels), wanted, rtol=0, atol=1e-10)


def test_with_one_kernel_for_all_cells_it_is_torchs_depthwise_convolution() -> None:
    x = torch.randn(2, 4, 5, 7, dtype=torch.float64)
    weight = torch.randn(4, 1, 3, 3, dtype=torch.float64)
    kernels = weight.view(1, 4, 9, 1, 1).expand(-1, -1, -1, 5, 7)
    wanted = F.conv2d(x, weight, padding=1, groups=4)
    torch.testing.assert_close(per_cell_conv2d(x, kernels), wanted, rtol=0, atol=1e-10)


@pytest.mark.parametrize("groups", [1, 2, 4])
def test_a_convolutions_kernel_is_a_perceptron_of_the_coordinates(groups: int) -> None:
    module = conv(groups=groups, hidden=5)
    x = torch.randn(2, 4, 5, 6, dtype=torch.float64)
    points = grid(5, 6, dtype=torch.float64).permute(1, 2, 0)
    kernels = network(module)(points).permute(2, 0, 1).view(1, groups, 9, 5, 6)
    torch.testing.assert_close(module(x), x + per_cell_conv2d(x, kernels), rtol=0, atol=1e-10)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("make", [HyperScale, HyperConv2d])
def test_it_starts_as_the_identity_and_learns(
    make: type[HyperScale | HyperConv2d], dtype: torch.dtype
) -> None:
    module = make(4).to(dtype)
    x = torch.randn(2, 4, 5, 7, dtype=dtype)
    assert torch.equal(module(x), x)
    assert module(x).dtype == dtype
    if dtype == torch.float32:
        optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
        for _ in range(2):
            optimizer.zero_grad()
            (module(x) * x.flip(-1)).mean().backward()
            optimizer.step()
        for parameter in module.parameters():
            assert parameter.grad is not None
            assert parameter.grad.abs().max() > 0


@pytest.mark.parametrize("make", [scale, conv])
def test_a_cell_has_its_own_weights_in_the_image_a_crop_and_a_resize(
    make: Callable[[], MapEncoding],
) -> None:
    module = make()
    channels = 3 if isinstance(module, HyperScale) else 4
    x = torch.randn(1, channels, 12, 18, dtype=torch.float64)
    whole = module(x)
    frame = Frame.identity(12, 18).crop(2, 5, h=7, w=9)
    crop = module(x[..., 2:9, 5:14], frame)[..., 1:-1, 1:-1]  # a kernel sees no crop's border
    torch.testing.assert_close(crop, whole[..., 3:8, 6:13], rtol=0, atol=1e-6)
    assert (module(x[..., 2:9, 5:14])[..., 1:-1, 1:-1] - crop).abs().max() > 1e-2


def test_a_scale_is_the_same_at_every_resolution() -> None:
    module = scale()
    ones = torch.ones(1, 3, 4, 6, dtype=torch.float64)
    fine = module(ones.repeat(1, 1, 3, 3))[..., 1::3, 1::3]
    torch.testing.assert_close(fine, module(ones), rtol=0, atol=1e-10)


@pytest.mark.parametrize("make", [scale, conv])
def test_shifts_change_what_is_done_to_a_cell_and_constant_weights_do_not(
    make: Callable[[], HyperScale | HyperConv2d],
) -> None:
    module = make()
    x = torch.randn(1, module.channels, 8, 11, dtype=torch.float64)

    def change() -> float:
        moved, still = module(x.roll(3, -1)), module(x).roll(3, -1)
        return torch.abs(moved - still)[..., 4:-1].max().item()

    assert change() > 1e-3
    with torch.no_grad():
        module.network.first.weight.zero_()  # the coordinates reach it no more
    assert change() < 1e-10


def test_what_is_added_does_not_depend_on_the_image() -> None:
    module = scale()
    a, b = torch.randn(2, 1, 3, 5, 7, dtype=torch.float64).unbind(0)
    # affine in the map, the map's linear part the same for all
    torch.testing.assert_close(module(a) + module(b), module(a + b) + module(0 * a))
    kernel = conv()
    a, b = torch.randn(2, 1, 4, 5, 7, dtype=torch.float64).unbind(0)
    torch.testing.assert_close(kernel(a) + kernel(b), kernel(a + b), rtol=0, atol=1e-10)


@pytest.mark.parametrize("crop", [False, True])
def test_tokens_are_scaled_as_cells_are_and_others_keep_their_value(crop: bool) -> None:
    module = scale()
    frame = Frame.identity(12, 18).crop(2, 5, h=5, w=7) if crop else None
    places = Places.of(5, 7, frame, prefix=2, suffix=1, dtype=torch.float64)
    x = torch.randn(2, 38, 3, dtype=torch.float64)
    got = module.tokens(x, places)
    wanted = module(x[:, 2:-1].mT.unflatten(-1, (5, 7)), frame).flatten(2).mT
    torch.testing.assert_close(got[:, 2:-1], wanted, rtol=0, atol=1e-6)
    assert torch.equal(got[:, :2], x[:, :2])
    assert torch.equal(got[:, -1:], x[:, -1:])
    order = torch.randperm(35)
    mixed = Places.at(places.positions[order], (12, 18) if crop else (5, 7))
    shuffled = module.tokens(x[:, 2:-1][:, order], mixed)
    torch.testing.assert_close(shuffled, got[:, 2:-1][:, order], rtol=0, atol=1e-10)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_the_coordinates_are_not_rounded_in_half_precision(dtype: torch.dtype) -> None:
    """A network that gives the coordinate back: 4,096 columns, each its own number."""
    module = HyperScale(1, hidden=1)
    with torch.no_grad():
        module.network.first.weight.copy_(torch.tensor([[0.0, 1.0]]))
        module.network.first.bias.fill_(1)  # GELU of [0, 2]
        module.network.last.weight.copy_(torch.tensor([[0.0], [1.0]]))
    zeros = torch.zeros(1, 1, 1, 4096)
    x = grid(1, 4096, dtype=torch.float64)[1]
    wanted = F.gelu(1 + x)[None, None]
    low = copy.deepcopy(module).to(dtype)(zeros.to(dtype))
    assert (low.double() - wanted.to(dtype).double()).abs().max() <= 2 * torch.finfo(dtype).eps
    with torch.autocast("cpu", torch.bfloat16):
        assert module(zeros).dtype == torch.float32
        error = (module(zeros).double() - wanted).abs().max()
    assert error <= 2 * torch.finfo(torch.bfloat16).eps


def spread(*, groups: int, taps: int) -> Tensor:
    return per_cell_conv2d(torch.zeros(1, 4, 2, 3), torch.zeros(1, groups, taps, 2, 3))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: spread(groups=1, taps=8),
            "`kernels` must have the square of an odd side of taps, but has 8.",
        ),
        (
            lambda: spread(groups=1, taps=4),
            "`kernels` must have the square of an odd side of taps, but has 4.",
        ),
        (lambda: spread(groups=3, taps=9), "`groups` must divide the 4 channels, but is 3."),
        (lambda: HyperScale(0), "`channels` must be at least 1, but is 0."),
        (lambda: HyperScale(4, hidden=0), "`hidden` must be at least 1, but is 0."),
        (lambda: HyperConv2d(0), "`channels` must be at least 1, but is 0."),
        (lambda: HyperConv2d(4, groups=3), "`groups` must divide the 4 channels, but is 3."),
        (
            lambda: HyperConv2d(4, kernel_size=2),
            "`kernel_size` must be an odd number of cells, but is 2.",
        ),
        (
            lambda: HyperScale(4)(torch.zeros(1, 3, 5, 5)),
            "`x` must have the 4 channels that HyperScale is made for, but has 3.",
        ),
    ],
)
def test_bad_input_is_refused_in_one_sentence(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the whole message is compared
        make()
    assert str(caught.value) == message
