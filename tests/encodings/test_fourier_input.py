import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from visionpe import FourierInput, Frame, band_limited, grid


def source(h: int = 9, w: int = 14, latent: int | None = None) -> FourierInput:
    return FourierInput(6, h, w, sampling_rate=8.0, bandwidth=1.5, latent=latent).double()


def moved(y: float = 0, x: float = 0, turn: float = 0, zoom: float = 1) -> Tensor:
    """The transform `p -> zoom R p + (y, x)`."""
    c, s = zoom * math.cos(turn), zoom * math.sin(turn)
    return torch.tensor([[c, -s, y], [s, c, x]], dtype=torch.float64)


def slowly(net: FourierInput, h: int, w: int, transform: Tensor) -> Tensor:
    """One number at a time, from the formulas of arXiv 2106.12423, section 3.2 and appendix."""
    c, rate, band = net.channels, net.sampling_rate, net.bandwidth
    (a, b, ty), (d, e, tx) = transform.tolist()
    signal = torch.zeros(c, h, w, dtype=torch.float64)
    for k in range(c):
        fy, fx = net.frequencies[k].tolist()
        speed = math.hypot(a * fy + d * fx, b * fy + e * fx)
        fade = min(max(1 - (speed - band) / (rate / 2 - band), 0), 1)
        for i in range(h):
            for j in range(w):
                y, x = (i + 0.5 - h / 2) / rate, (j + 0.5 - w / 2) / rate
                cycles = fy * (a * y + b * x + ty) + fx * (d * y + e * x + tx)
                cycles += float(net.phases[k])
                signal[k, i, j] = fade * math.sin(2 * math.pi * cycles)
    mixed: Tensor = torch.einsum("ok,khw->ohw", net.weight.double(), signal) / c**0.5
    return mixed


@pytest.mark.parametrize(("h", "w"), [(9, 14), (1, 5), (6, 1)])
@pytest.mark.parametrize("transform", [moved(), moved(0.3, -0.7, 0.4, 2.2), moved(zoom=9)])
def test_it_is_the_papers_formula(h: int, w: int, transform: Tensor) -> None:
    net = source(h, w)
    wanted = slowly(net, h, w, transform)
    torch.testing.assert_close(net(1, transform=transform)[0], wanted, rtol=0, atol=1e-12)


def test_torchs_sampling_grid_gives_the_same_coordinates() -> None:
    """`affine_grid` counts x first and from -1 to 1 over the map: half the map's size in units."""
    net = source()
    transform = moved(0.25, -0.5, 0.7)
    half = torch.tensor([9 / 16, 14 / 16], dtype=torch.float64)
    theta = transform.clone()
    theta[:, :2] *= half
    theirs = theta.flip(0)[:, [1, 0, 2]]  # points (x, y)
    xy = F.affine_grid(theirs[None], [1, 1, 9, 14], align_corners=False)[0]
    points = xy.flip(-1).movedim(-1, 0)
    wanted = band_limited(points, net.frequencies, net.phases, sampling_rate=8, bandwidth=1.5)
    ours = band_limited(
        grid(9, 14, dtype=torch.float64) * half[:, None, None],
        net.frequencies,
        net.phases,
        sampling_rate=8,
        bandwidth=1.5,
        transform=transform,
    )
    torch.testing.assert_close(ours, wanted, rtol=0, atol=1e-12)


@settings(deadline=None, max_examples=30, derandomize=True)
@given(
    h=st.integers(1, 64), w=st.integers(1, 64), down=st.integers(-9, 9), right=st.integers(-9, 9)
)
def test_a_translation_of_the_transform_is_a_translation_of_the_map(
    h: int, w: int, down: int, right: int
) -> None:
    net = source(h + 9, w + 9)
    still = net(1)
    shifted = net(1, transform=moved(down / 8, right / 8))  # shows what was `down` cells below
    top, left = max(-down, 0), max(-right, 0)
    part = shifted[..., top : h + 9 - max(down, 0), left : w + 9 - max(right, 0)]
    wanted = still[..., max(down, 0) : h + 9 + min(down, 0), max(right, 0) : w + 9 + min(right, 0)]
    torch.testing.assert_close(part, wanted, rtol=0, atol=1e-10)


def test_a_rotation_of_the_transform_is_a_rotation_of_the_map() -> None:
    net = source(9, 9)
    quarter = net(1, transform=moved(turn=math.pi / 2))
    torch.testing.assert_close(quarter, net(1).rot90(-1, (2, 3)), rtol=0, atol=1e-10)
    net = source(9, 14)
    points = torch.randn(2, 1, 40, dtype=torch.float64)
    transform = moved(turn=0.6)
    turned = torch.einsum("ij,jhw->ihw", transform[:, :2], points)
    options: dict[str, Any] = {"sampling_rate": 8.0, "bandwidth": 1.5}
    of_map = band_limited(points, net.frequencies, net.phases, transform=transform, **options)
    of_points = band_limited(turned, net.frequencies, net.phases, **options)
    torch.testing.assert_close(of_map, of_points, rtol=0, atol=1e-10)


def test_the_learned_motion_starts_as_none_and_is_what_the_latent_says() -> None:
    net = source(latent=5)
    z = torch.randn(3, 5, dtype=torch.float64)
    assert net.affine is not None
    torch.testing.assert_close(net(z), source_like(net)(3), rtol=0, atol=1e-12)
    with torch.no_grad():
        net.affine.bias.copy_(
            torch.tensor([math.cos(0.4), math.sin(0.4), 0.5, -0.25], dtype=torch.float64)
        )
    turn = moved(turn=0.4)
    turn[:, 2] = -turn[:, :2] @ torch.tensor([0.5, -0.25], dtype=torch.float64)  # R (p - t)
    torch.testing.assert_close(net(z), source_like(net)(3, transform=turn), rtol=0, atol=1e-12)
    with torch.no_grad():
        net.affine.weight.normal_()
    assert (net(z)[0] - net(z)[1]).abs().max() > 0.1


def source_like(net: FourierInput) -> FourierInput:
    """The same source without a latent."""
    other = source(*net.size)
    state = {k: v for k, v in net.state_dict().items() if not k.startswith("affine")}
    other.load_state_dict(state)
    return other


def test_a_learned_translation_does_not_depend_on_the_length_of_the_rotation() -> None:
    net = source(latent=1)
    z = torch.zeros(1, 1, dtype=torch.float64)
    assert net.affine is not None
    maps = []
    for length in (1.0, 3.0):
        with torch.no_grad():
            net.affine.bias.copy_(torch.tensor([length, 0.0, 0.5, -0.25]))
        maps.append(net(z))
    torch.testing.assert_close(maps[0], maps[1], rtol=0, atol=1e-12)
    divided = source_like(net)(1, transform=moved(-0.5 / 3, 0.25 / 3))  # as in the released code
    assert (maps[1] - divided).abs().max() > 0.1


def test_the_users_transform_is_applied_to_the_map_before_the_learned_one() -> None:
    net = source(latent=1)
    assert net.affine is not None
    with torch.no_grad():
        net.affine.bias.copy_(torch.tensor([0.0, 1.0, 0.5, 0.0]))
    given = moved(0.125, 0.25, 0.3)
    learned = moved(turn=math.pi / 2)
    learned[:, 2] = -learned[:, :2] @ torch.tensor([0.5, 0.0], dtype=torch.float64)
    both = learned[:, :2] @ given
    both[:, 2] += learned[:, 2]
    got = net(torch.zeros(2, 1, dtype=torch.float64), transform=given)
    wanted = source_like(net)(2, transform=both)
    torch.testing.assert_close(got, wanted, rtol=0, atol=1e-12)


def test_a_crop_of_the_source_is_the_crop_of_the_whole() -> None:
    net = source()
    whole = net(2)
    frame = Frame.identity(9, 14).crop(2, 3, h=5, w=8)
    torch.testing.assert_close(net(2, frame, h=5, w=8), whole[..., 2:7, 3:11], rtol=0, atol=1e-10)
    flipped = net(2, Frame.identity(9, 14).hflip())
    torch.testing.assert_close(flipped, whole.flip(-1), rtol=0, atol=1e-10)
    tiles = net(6, Frame.identity(9, 14).tiles(3, 7), h=3, w=7)
    glued = torch.cat([torch.cat([*tiles[i : i + 2]], -1) for i in (0, 2, 4)], -2)
    torch.testing.assert_close(glued, whole[0], rtol=0, atol=1e-10)


def test_a_pixel_has_one_value_at_every_scale() -> None:
    net = source()
    frame = Frame.identity(9, 14).resize(27, 42)
    fine = net(1, frame, h=27, w=42)
    # A frame holds thirds of a pixel in float32.
    torch.testing.assert_close(fine[..., 1::3, 1::3], net(1), rtol=0, atol=1e-6)


def test_without_a_frame_more_cells_are_more_of_the_signal() -> None:
    net = source()
    wide = net(1, h=11, w=18)
    torch.testing.assert_close(wide[..., 1:-1, 2:-2], net(1), rtol=0, atol=1e-10)


def test_a_map_is_not_its_own_shift_and_two_sources_differ() -> None:
    net = source()
    assert (net(1) - net(1).roll(1, -1)).abs().max() > 0.1
    assert (net(1) - source()(1)).abs().max() > 0.1


def test_what_cannot_be_sampled_fades_out() -> None:
    net = source()
    assert net(1).abs().max() > 0.5
    assert net(1, transform=moved(zoom=1000)).abs().max() == 0
    f = torch.tensor([[0.0, 1.5], [0.0, 2.75], [0.0, 4.0]], dtype=torch.float64)
    quarter = torch.full((3,), 0.25, dtype=torch.float64)
    at_zero = torch.zeros(2, 1, 1, dtype=torch.float64)
    peaks = band_limited(at_zero, f, quarter, sampling_rate=8, bandwidth=1.5)
    torch.testing.assert_close(peaks.flatten(), torch.tensor([1.0, 0.5, 0.0]).double())


def test_frequencies_fill_the_disc_evenly() -> None:
    net = FourierInput(4096, 1, 1, bandwidth=2)
    area = net.frequencies.square().sum(-1) / 4
    assert area.max() <= 1
    # Uniform in area, direction and phase: each of ten parts holds a tenth, within 5 deviations.
    angle = torch.atan2(net.frequencies[:, 0], net.frequencies[:, 1]) / (2 * math.pi) + 0.5
    for share in (area, angle, net.phases + 0.5):
        counts = share.histc(10, 0, 1)
        assert (counts - 409.6).abs().max() < 5 * (4096 * 0.09) ** 0.5


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_frequencies_stay_float32_when_the_module_is_halved(dtype: torch.dtype) -> None:
    net = FourierInput(8, 5, 7, latent=3)
    before = net.frequencies.clone()
    net.to(dtype)
    assert net.frequencies.dtype == net.phases.dtype == torch.float32
    assert torch.equal(net.frequencies, before)
    assert net.weight.dtype == dtype
    out = net(torch.randn(2, 3, dtype=dtype))
    assert out.dtype == dtype
    net.double()
    precise = net(torch.randn(2, 3, dtype=torch.float64))
    assert precise.dtype == torch.float64


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_the_signal_is_right_to_the_last_bit_far_from_the_centre(dtype: torch.dtype) -> None:
    net = FourierInput(16, 1, 4096, latent=1)
    torch.nn.init.eye_(net.weight)
    far = Frame.identity(1, 4096).crop(0, 65536, h=1, w=4096)
    with torch.autocast("cpu", torch.bfloat16):
        got = net(torch.zeros(1, 1, dtype=dtype), far) * 4
    wanted = net.double()(torch.zeros(1, 1, dtype=torch.float64), far) * 4
    # 65,536 cells are 4,096 units: float32 itself is good to 8,192 cycles times its epsilon.
    limit = torch.finfo(dtype).eps + 2 * math.pi * 8192 * torch.finfo(torch.float32).eps
    assert (got.double() - wanted).abs().max() <= limit


def test_gradients_reach_all_parameters() -> None:
    net = source(latent=5)
    (net(torch.randn(3, 5, dtype=torch.float64)) ** 3).sum().backward()
    for parameter in net.parameters():
        assert parameter.grad is not None
        assert parameter.grad.abs().max() > 0


def test_batches_may_be_empty_and_transforms_one_for_each() -> None:
    net = source()
    assert net(0).shape == (0, 6, 9, 14)
    transforms = torch.stack([moved(), moved(0.5)])
    two = net(torch.zeros(2, 7, dtype=torch.float64), transform=transforms)
    torch.testing.assert_close(two[1:], net(1, transform=moved(0.5)), rtol=0, atol=1e-12)
    frames = Frame.stack([Frame.identity(9, 14), Frame.identity(9, 14).hflip()])
    torch.testing.assert_close(net(2, frames)[1], net(1)[0].flip(-1), rtol=0, atol=1e-12)


@pytest.mark.usefixtures("unchecked")
def test_it_compiles_whole_and_exports_with_an_open_batch() -> None:
    net = FourierInput(4, 5, 7, latent=3)
    z = torch.randn(6, 3)
    compiled = torch.compile(net, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(z), net(z))
    program = torch.export.export(net, (z[:2],), dynamic_shapes=({0: torch.export.Dim("b")},))
    torch.testing.assert_close(program.module()(z), net(z))


def test_its_repr_is_the_call_that_makes_it() -> None:
    net = FourierInput(3, 2, 7, sampling_rate=9.0, latent=4)
    wanted = "FourierInput(3, 2, 7, sampling_rate=9.0, bandwidth=2.0, latent=4)"
    assert repr(net) == wanted
    assert repr(eval(repr(net))) == wanted  # noqa: S307 - our own text


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: FourierInput(0), "`channels` must be at least 1, but is 0."),
        (lambda: FourierInput(1, 0), "`h` must be at least 1, but is 0."),
        (lambda: FourierInput(1, 1, -2), "`w` must be at least 1, but is -2."),
        (lambda: FourierInput(1, latent=0), "`latent` must be at least 1, but is 0."),
        (
            lambda: FourierInput(1, sampling_rate=4.0),
            "`bandwidth` must be positive and below half of `sampling_rate`, 2.0, but is 2.0.",
        ),
        (
            lambda: FourierInput(1, latent=3)(2),
            "`z` must be `b latent` with a latent of 3, but is 2.",
        ),
        (
            lambda: FourierInput(1, latent=3)(torch.zeros(2, 4)),
            "`z` must be `b latent` with a latent of 3, but is (2, 4).",
        ),
        (
            lambda: FourierInput(1)(3, Frame.stack([Frame.identity(2, 3)] * 2)),
            "`frame` must hold one place for all or one for each of the 3 samples, but holds 2.",
        ),
    ],
)
def test_bad_input_is_refused_in_one_sentence(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the whole message is compared
        make()
    assert str(caught.value) == message


def test_a_map_of_no_rows_is_refused_rather_than_made_of_the_default_number() -> None:
    with pytest.raises(ValueError, match="must be at least 1 cell, but is 0"):
        FourierInput(4, 4, 4)(2, h=0)
