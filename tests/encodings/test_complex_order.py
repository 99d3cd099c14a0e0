import cmath
import copy
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from visionpe import (
    AppendComplexOrder,
    ComplexOrder,
    Frame,
    Places,
    complex_order,
    positions,
    sinusoidal2d,
)


def waves(d: int) -> tuple[Tensor, Tensor, Tensor]:
    return tuple(torch.randn(*s, d, dtype=torch.float64) for s in ((), (2,), ()))  # type: ignore[return-value]


def drawn(channels: int) -> ComplexOrder:
    module = ComplexOrder(channels).double()
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter)
    return module


@settings(deadline=None, max_examples=30, derandomize=True)
@given(n=st.integers(1, 20), d=st.integers(1, 9))
def test_it_is_the_papers_complex_number(n: int, d: int) -> None:
    r, w, phi = waves(d)
    points = torch.randn(n, 2, dtype=torch.float64) * 9
    got = complex_order(points, r, w, phi)
    for i in range(n):
        y, x = points[i].tolist()
        for j in range(d):
            turn = w[0, j].item() * y + w[1, j].item() * x + phi[j].item()
            wanted = r[j].item() * cmath.exp(1j * turn)
            assert abs(complex(got[i, j].item(), got[i, d + j].item()) - wanted) < 1e-10


def test_a_shift_multiplies_by_a_number_that_does_not_depend_on_the_place() -> None:
    """The paper's first requirement: a position-free transformation of the offset."""
    r, w, phi = waves(5)
    points = torch.randn(50, 2, dtype=torch.float64) * 20
    offset = torch.tensor([3.0, -7.5], dtype=torch.float64)
    here, there = (
        torch.complex(*complex_order(p, r, w, phi).chunk(2, -1)) for p in (points, points + offset)
    )
    turn = torch.exp(1j * (offset @ w))
    torch.testing.assert_close(there, here * turn, rtol=0, atol=1e-10)
    twice = torch.complex(*complex_order(points + 2 * offset, r, w, phi).chunk(2, -1))
    torch.testing.assert_close(twice, here * turn**2, rtol=0, atol=1e-10)
    # one real part alone has no such transformation: the ratios differ from place to place
    assert (there.real / here.real).std(0).min() > 0.1


def test_it_is_bounded_by_the_amplitude_everywhere() -> None:
    """The paper's second requirement; a code that grows with the position has no bound."""
    r, w, phi = waves(5)
    points = torch.randn(1000, 2, dtype=torch.float64) * 1e6
    real, imaginary = complex_order(points, r, w, phi).chunk(2, -1)
    length = torch.hypot(real, imaginary)
    torch.testing.assert_close(length, r.abs().expand(1000, 5), rtol=0, atol=1e-10)


def test_products_depend_on_differences_only() -> None:
    r, w, phi = waves(6)
    points = torch.randn(9, 2, dtype=torch.float64)
    code, moved = complex_order(points, r, w, phi), complex_order(points + 4.25, r, w, phi)
    torch.testing.assert_close(moved @ moved.mT, code @ code.mT, rtol=0, atol=1e-10)
    assert (moved - code).abs().max() > 0.1


@pytest.mark.parametrize("channels", [8, 12])
def test_it_starts_with_the_waves_of_the_fixed_sinusoid(channels: int) -> None:
    got = ComplexOrder(channels, zero_init=False)(torch.zeros(1, channels, 5, 7))[0]
    fixed = sinusoidal2d(positions(5, 7), channels)
    q = channels // 4  # cos y, cos x, sin y, sin x here; sin y, cos y, sin x, cos x there
    order = torch.cat([torch.arange(q) + q * i for i in (1, 3, 0, 2)])
    torch.testing.assert_close(got, fixed[order], rtol=0, atol=1e-6)


def test_it_starts_as_the_identity_and_every_parameter_learns() -> None:
    module = ComplexOrder(6)
    x = torch.randn(2, 6, 5, 7)
    assert torch.equal(module(x), x)
    assert not AppendComplexOrder(6)(x)[:, 6:].any()
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
    for _ in range(2):
        optimizer.zero_grad()
        (module(x) * x.flip(-1)).sum().backward()
        optimizer.step()
    for parameter in module.parameters():
        assert parameter.grad is not None
        assert parameter.grad.abs().min() > 0


@pytest.mark.parametrize("cells", [None, (10, 14)])
def test_a_pixel_has_one_code_in_the_image_a_crop_and_a_flip(cells: tuple[int, int] | None) -> None:
    module = ComplexOrder(8, cells=cells, zero_init=False).double()
    zeros = torch.zeros(1, 8, 20, 28, dtype=torch.float64)
    whole = module(zeros)
    frame = Frame.identity(20, 28)
    crop = module(zeros[..., :8, :11], frame.crop(3, 5, h=8, w=11))
    torch.testing.assert_close(crop, whole[..., 3:11, 5:16], rtol=0, atol=1e-6)
    flip = module(zeros, frame.vflip())
    torch.testing.assert_close(flip, whole.flip(-2), rtol=0, atol=1e-6)
    assert (module(zeros[..., :8, :11]) - crop).abs().max() > 0.1


@settings(deadline=None, max_examples=30, derandomize=True)
@given(
    h=st.integers(1, 20),
    w=st.integers(1, 20),
    half=st.integers(1, 9),
    prefix=st.integers(0, 2),
    suffix=st.integers(0, 2),
    fixed=st.booleans(),
)
def test_tokens_are_encoded_as_the_maps_cells_are(
    h: int, w: int, half: int, prefix: int, suffix: int, fixed: bool
) -> None:
    cells = (9, 13) if fixed else None
    places = Places.of(h, w, prefix=prefix, suffix=suffix)
    x = torch.randn(2, places.tokens, 2 * half)
    placed = slice(prefix, prefix + h * w)
    for module in (
        ComplexOrder(2 * half, cells=cells, zero_init=False),
        AppendComplexOrder(4, cells=cells, zero_init=False),
    ):
        got = module.tokens(x, places)
        wanted = module(x[:, placed].mT.unflatten(-1, (h, w))).flatten(2).mT
        torch.testing.assert_close(got[:, placed], wanted, rtol=0, atol=1e-6)
        assert torch.equal(got[:, :prefix, : 2 * half], x[:, :prefix])
        assert not got[:, prefix + h * w :, 2 * half :].any()
        assert got.shape[-1] == module.out_channels(2 * half)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_frequencies_and_phases_stay_float32_and_far_positions_keep_their_code(
    dtype: torch.dtype,
) -> None:
    module = ComplexOrder(8, zero_init=False)
    torch.nn.init.uniform_(module.waves.phase)
    with torch.no_grad():
        module.waves.frequency.mul_(1.2345)
    exact = copy.deepcopy(module).double()
    module(torch.ones(1, 8, 2, 3)).sum().backward()
    half = module.to(dtype)
    assert half.waves.amplitude.dtype == dtype
    assert half.waves.frequency.dtype == half.waves.phase.dtype == torch.float32
    assert half.waves.frequency.grad is not None
    assert half.waves.frequency.grad.dtype == torch.float32
    frame = Frame.identity(1, 70_000).crop(0, 65_536, h=1, w=4096)
    got = half(torch.zeros(1, 8, 1, 4096, dtype=dtype), frame)
    wanted = exact(torch.zeros(1, 8, 1, 4096, dtype=torch.float64), frame).to(dtype)
    assert got.dtype == dtype
    assert (got.double() - wanted.double()).abs().max() <= torch.finfo(dtype).eps
    assert module.double().waves.frequency.dtype == torch.float64
    empty = ComplexOrder(8).to("meta").to(dtype).to_empty(device="cpu")
    assert empty.waves.frequency.dtype == torch.float32


def test_under_autocast_angles_are_not_rounded() -> None:
    module = ComplexOrder(8, zero_init=False)
    x = torch.zeros(1, 8, 3, 400)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(module(x), module.float()(x))
    assert module(x).dtype == torch.float32


def test_function_and_module_agree() -> None:
    module = drawn(6)
    x = torch.randn(2, 6, 4, 5, dtype=torch.float64)
    points = positions(4, 5, dtype=torch.float64).flatten(1).mT
    code = complex_order(points, module.waves.amplitude, module.waves.frequency, module.waves.phase)
    torch.testing.assert_close(module(x), x + code.mT.unflatten(-1, (4, 5)), rtol=0, atol=1e-12)


EVEN = "`{}` must be an even number of at least 2, but is {}. A complex number is two channels."


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ComplexOrder(5), EVEN.format("channels", 5)),
        (lambda: AppendComplexOrder(0), EVEN.format("width", 0)),
        (lambda: ComplexOrder(4, temperature=0), "`temperature` must be positive, but is 0."),
        (
            lambda: AppendComplexOrder(4, cells=(3, 0)),
            "`cells` must be at least 1 cell an axis, but is (3, 0).",
        ),
        (
            lambda: ComplexOrder(4)(torch.zeros(1, 6, 2, 3)),
            "`x` must have the 4 channels that ComplexOrder is made for, but has 6.",
        ),
    ],
)
def test_bad_input_is_refused_in_one_sentence(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the whole message is compared
        make()
    assert str(caught.value) == message
