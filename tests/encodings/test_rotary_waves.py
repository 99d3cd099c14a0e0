"""What all rotary encodings of plane waves have in common."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from visionpe import (
    AttentionEncoding,
    Frame,
    Places,
    Rotary,
    RotaryDINOv3,
    RotaryMixed,
    RotarySimplex,
    RotarySpiral,
    attend,
    wave_angles,
)

HEADS, WIDTH = 2, 16
FROM_ZERO: list[Callable[[], AttentionEncoding]] = [
    Rotary,
    lambda: Rotary(theta=50, order="yx", layout="half"),
    lambda: RotaryMixed(HEADS, WIDTH),
    RotarySimplex,
    lambda: RotarySpiral(directions=4),
]
ALL = [*FROM_ZERO, RotaryDINOv3, lambda: RotaryDINOv3(normalize="max", layout="interleaved")]
every = pytest.mark.parametrize("make", ALL)
from_zero = pytest.mark.parametrize("make", FROM_ZERO)


def at(points: Tensor, **counts: int) -> Places:
    return Places.at(points, (40.0, 30.0), **counts)


def random_points(n: int) -> Tensor:
    return torch.rand(n, 2, dtype=torch.float64) * 30


def random_tokens(n: int, dtype: torch.dtype = torch.float64, batch: int = 2) -> Tensor:
    return torch.randn(batch, HEADS, n, WIDTH, dtype=torch.float64).to(dtype)


def turned(encoding: AttentionEncoding, x: Tensor, places: Places) -> Tensor:
    return encoding.rotate(x, x, places, places)[0]


@every
def test_products_depend_on_differences_only(make: Callable[[], AttentionEncoding]) -> None:
    encoding, q, k = make(), random_tokens(7), random_tokens(7)
    here, gap = random_points(7), random_points(7)
    products = []
    for shift in (torch.zeros(2), torch.tensor([3.0, -11.25]), torch.tensor([700.0, 0.5])):
        places, key_places = at(here + shift), at(here + gap + shift)
        a, b = encoding.rotate(q, k, places, key_places)
        products.append((a * b).sum(-1))
    torch.testing.assert_close(products[1], products[0], rtol=0, atol=1e-10)
    torch.testing.assert_close(products[2], products[0], rtol=0, atol=1e-10)
    a, b = encoding.rotate(q, k, at(here), at(here + 2 * gap))
    assert ((a * b).sum(-1) - products[0]).abs().max() > 0.1  # but on these they do


@every
def test_norms_are_kept(make: Callable[[], AttentionEncoding]) -> None:
    x = random_tokens(9)
    out = turned(make(), x, at(random_points(9)))
    torch.testing.assert_close(out.norm(dim=-1), x.norm(dim=-1), rtol=0, atol=1e-12)
    assert (out - x).abs().max() > 0.1


@from_zero
def test_position_zero_is_not_turned_and_turns_add_up(
    make: Callable[[], AttentionEncoding],
) -> None:
    encoding, x, a, b = make(), random_tokens(6), random_points(6), random_points(6)
    assert torch.equal(turned(encoding, x, at(torch.zeros(6, 2))), x)
    twice = turned(encoding, turned(encoding, x, at(a)), at(b))
    torch.testing.assert_close(twice, turned(encoding, x, at(a + b)), rtol=0, atol=1e-10)


@every
def test_tokens_without_a_place_are_left_alone(make: Callable[[], AttentionEncoding]) -> None:
    encoding = make()
    for places in (at(random_points(6)), Places.of(2, 3)):
        framed = places._replace(prefix=2, suffix=1)
        for dtype in (torch.float32, torch.bfloat16):
            x = random_tokens(9, dtype)
            out = turned(encoding, x, framed)
            assert torch.equal(out[..., :2, :], x[..., :2, :])
            assert torch.equal(out[..., 8:, :], x[..., 8:, :])
            assert torch.equal(out[..., 2:8, :], turned(encoding, x[..., 2:8, :], places))


@every
@settings(deadline=None, max_examples=25, derandomize=True)
@given(h=st.integers(1, 24), w=st.integers(1, 24), prefix=st.integers(0, 3))
def test_a_lattice_turns_as_its_points_do(
    make: Callable[[], AttentionEncoding], h: int, w: int, prefix: int
) -> None:
    encoding, places = make(), Places.of(h, w, prefix=prefix)
    x = random_tokens(h * w + prefix, batch=1)
    wanted = turned(encoding, x, places._replace(shape=None))
    torch.testing.assert_close(turned(encoding, x, places), wanted, rtol=0, atol=1e-12)


@every
def test_rows_and_columns_are_not_interchangeable(make: Callable[[], AttentionEncoding]) -> None:
    encoding, x = make(), random_tokens(15)
    places = Places.of(3, 5)
    swapped = places._replace(positions=places.positions.flip(-1), shape=None)
    assert (turned(encoding, x, places) - turned(encoding, x, swapped)).abs().max() > 0.1
    column, row = Places.of(5, 1), Places.of(1, 5)  # the same shape of code, another code
    y = x[..., :5, :]
    assert (turned(encoding, y, column) - turned(encoding, y, row)).abs().max() > 0.1


@every
def test_a_crop_is_turned_as_in_its_image(make: Callable[[], AttentionEncoding]) -> None:
    encoding, x = make(), random_tokens(8 * 6, torch.float32)
    q = turned(encoding, x, Places.of(8, 6)).unflatten(-2, (8, 6))[..., 2:5, 1:5, :].flatten(-3, -2)
    frame = Frame.identity(8, 6).crop(2, 1, h=3, w=4)
    cropped = x.unflatten(-2, (8, 6))[..., 2:5, 1:5, :].flatten(-3, -2)
    out = turned(encoding, cropped, Places.of(3, 4, frame))
    torch.testing.assert_close(out, q, rtol=0, atol=1e-6)


@from_zero
def test_attention_in_a_crop_is_as_if_it_were_the_image(
    make: Callable[[], AttentionEncoding],
) -> None:
    encoding, (q, k, v) = make(), (random_tokens(12) for _ in range(3))
    frame = Frame.identity(8, 6).crop(2, 1, h=3, w=4)
    inside = attend(q, k, v, [encoding], Places.of(3, 4, frame, dtype=torch.float64))
    alone = attend(q, k, v, [encoding], Places.of(3, 4))
    torch.testing.assert_close(inside, alone, rtol=0, atol=1e-10)
    q_in, _ = encoding.rotate(q, k, Places.of(3, 4, frame), Places.of(3, 4, frame))
    assert (q_in - turned(encoding, q, Places.of(3, 4))).abs().max() > 0.1  # though turned further


@every
def test_samples_have_each_their_own_places(make: Callable[[], AttentionEncoding]) -> None:
    encoding, x = make(), random_tokens(7, batch=3)
    points = torch.stack([random_points(7) for _ in range(3)])
    together = turned(encoding, x, at(points, prefix=0))
    for i in range(3):
        alone = turned(encoding, x[i : i + 1], at(points[i]))
        torch.testing.assert_close(together[i : i + 1], alone, rtol=0, atol=1e-12)
    assert turned(encoding, x[:0], at(points[0])).shape == (0, HEADS, 7, WIDTH)


@every
def test_queries_and_keys_may_have_other_places_and_numbers(
    make: Callable[[], AttentionEncoding],
) -> None:
    encoding, q, k = make(), random_tokens(6), random_tokens(13)
    places, key_places = Places.of(2, 3), Places.of(3, 4, prefix=1)
    a, b = encoding.rotate(q, k, places, key_places)
    assert torch.equal(a, turned(encoding, q, places))
    assert torch.equal(b, turned(encoding, k, key_places))


@every
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("start", [0.0, 65_536.0])
def test_far_positions_are_exact_in_half_precision(
    make: Callable[[], AttentionEncoding], dtype: torch.dtype, start: float
) -> None:
    encoding = make()
    encoding.to(dtype)
    along = start + torch.arange(4096.0)
    x = torch.randn(1, HEADS, 4096, WIDTH).to(dtype)
    for points in (torch.stack([along, along.flip(0)], -1), torch.stack([along * 0, along], -1)):
        places = Places.at(points, (65_536.0 + 4096, 65_536.0 + 4096))
        out = turned(encoding, x, places)
        assert out.dtype == dtype
        exact = turned(encoding, x.double(), places.to(dtype=torch.float64))
        bound = torch.finfo(dtype).eps / 2 * exact.abs() + 2e-6  # the rounding of the result
        assert ((out.double() - exact).abs() <= bound).all()


@every
def test_autocast_changes_nothing(make: Callable[[], AttentionEncoding]) -> None:
    encoding, x, places = make(), random_tokens(35, torch.float32), Places.of(5, 7)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = turned(encoding, x, places)
    assert out.dtype == torch.float32
    assert torch.equal(out, turned(encoding, x, places))


@every
@pytest.mark.usefixtures("unchecked")
def test_graphs_are_captured_with_any_number_of_tokens(
    make: Callable[[], AttentionEncoding],
) -> None:
    encoding = make().eval()
    n = torch.export.Dim("n", min=2, max=4096)

    class Attention(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoding = encoding

        def forward(self, q: Tensor, points: Tensor, extent: Tensor) -> Tensor:
            places = Places(points, extent, 1)
            return torch.stack(self.encoding.rotate(q, q, places, places))

    inputs = (random_tokens(13, torch.float32), random_points(12).float(), torch.tensor([9.0, 7.0]))
    shapes = ({2: n + 1}, {0: n}, None)
    program = torch.export.export(Attention(), inputs, dynamic_shapes=shapes)
    other = (random_tokens(31, torch.float32), random_points(30).float(), torch.tensor([9.0, 7.0]))
    torch.testing.assert_close(program.module()(*other), Attention()(*other), rtol=0, atol=1e-6)


def test_angles_are_places_times_waves() -> None:
    points, waves = random_points(5), torch.randn(2, HEADS, 4).double()
    wanted = torch.einsum("na,ahp->hnp", points, waves)
    torch.testing.assert_close(wave_angles(points, waves), wanted, rtol=0, atol=1e-12)
    assert wave_angles(points.half(), waves.half()).dtype == torch.float64
