import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from visionpe import (
    AddFourierFeatures,
    FourierFeatures,
    Frame,
    LogAxisFeatures,
    NerfFeatures,
    Places,
    PointEncoding,
    axis_fourier_code,
    fourier_code,
    fourier_features,
    gaussian_frequencies,
    grid,
    log_axis_frequencies,
    octave_frequencies,
)

ENCODINGS: list[Callable[[], PointEncoding]] = [
    lambda: FourierFeatures(7, sigma=3.0),
    lambda: FourierFeatures(7, trainable=True),
    lambda: AddFourierFeatures(6, 7, init_std=0.5),
    lambda: NerfFeatures(4),
    lambda: LogAxisFeatures(6, octaves=4.5),
]


def code_of(module: PointEncoding, h: int, w: int, frame: Frame | None = None) -> Tensor:
    result: Tensor = module(torch.zeros(1, 6, h, w), frame)[0]
    return result.detach()


@settings(deadline=None, max_examples=20, derandomize=True)
@given(h=st.integers(1, 9), w=st.integers(1, 9), bands=st.integers(1, 5))
def test_features_are_the_papers_on_the_unit_square_but_for_a_phase(
    h: int, w: int, bands: int
) -> None:
    matrix = gaussian_frequencies(bands, sigma=10.0).double()
    code = fourier_features(grid(h, w, dtype=torch.float64), matrix)
    for i in range(h):
        for j in range(w):
            v, u = (i + 0.5) / h, (j + 0.5) / w  # the paper's coordinates, in [0, 1]
            for k in range(bands):
                b, a = matrix[k].tolist()
                angle = 2 * math.pi * (b * v + a * u) - math.pi * (b + a)
                assert abs(float(code[k, i, j]) - math.sin(angle)) < 1e-10
                assert abs(float(code[bands + k, i, j]) - math.cos(angle)) < 1e-10


def test_their_kernel_is_the_papers_whose_origin_is_a_corner() -> None:
    matrix = gaussian_frequencies(16, sigma=4.0).double()
    points = grid(5, 8, dtype=torch.float64)
    ours = fourier_features(points, matrix).flatten(1)
    turns = torch.einsum("kp,phw->khw", matrix, (points + 1) / 2) * 2 * math.pi
    theirs = torch.cat([turns.sin(), turns.cos()]).flatten(1)
    torch.testing.assert_close(ours.mT @ ours, theirs.mT @ theirs, rtol=0, atol=1e-10)


def test_products_of_features_depend_on_differences_only() -> None:
    matrix = gaussian_frequencies(16, sigma=4.0).double()
    points = grid(5, 8, dtype=torch.float64)
    here = fourier_features(points, matrix).flatten(1)
    moved = points + torch.tensor([0.3, -1.7], dtype=torch.float64)[:, None, None]
    there = fourier_features(moved, matrix).flatten(1)
    torch.testing.assert_close(here.mT @ here, there.mT @ there, rtol=0, atol=1e-10)
    torch.testing.assert_close(
        here.square().sum(0), torch.full((40,), 16.0, dtype=torch.float64), rtol=0, atol=1e-10
    )
    scaled = fourier_features(points * 1.1, matrix).flatten(1)
    assert (scaled.mT @ scaled - here.mT @ here).abs().max() > 1.0


def test_the_gaussian_kernel_is_the_expectation_of_many_waves() -> None:
    matrix = gaussian_frequencies(40_000, sigma=0.5, generator=torch.Generator().manual_seed(1))
    points = torch.tensor([[0.0, 0.3], [0.0, -0.4]])[:, None]
    first, second = fourier_features(points, matrix).flatten(1).mT
    wanted = math.exp(-((math.pi * 0.5 * 0.5) ** 2) / 2)  # distance 0.5, sigma 0.5
    assert abs(float(first @ second) / 40_000 - wanted) < 0.015


def test_nerfs_octaves_are_its_formula() -> None:
    code = code_of(NerfFeatures(3), 5, 8)[6:].double()
    points = grid(5, 8, dtype=torch.float64)
    wanted = [
        function(torch.tensor(2.0**k * math.pi) * points[axis])
        for function in (torch.sin, torch.cos)
        for axis in (0, 1)
        for k in range(3)
    ]
    torch.testing.assert_close(code, torch.stack(wanted), rtol=0, atol=1e-6)


def test_log_axis_frequencies_are_powers_of_two_less_one() -> None:
    matrix = log_axis_frequencies(8, octaves=6)
    wanted = [2.0**s - 1 for s in (0, 2, 4, 6)]
    torch.testing.assert_close(matrix[:4, 0], torch.tensor(wanted))
    torch.testing.assert_close(matrix[4:, 1], torch.tensor(wanted))
    assert float(matrix[:4, 1].abs().max() + matrix[4:, 0].abs().max()) == 0.0


def test_axis_frequencies_vary_along_their_own_axis_only_and_random_ones_along_both() -> None:
    for module in (NerfFeatures(3), LogAxisFeatures(6)):
        code = code_of(module, 5, 8)[6:]
        of_y = torch.cat([code[:3], code[6:9]])
        assert torch.equal(of_y, of_y[..., :1].expand_as(of_y))
        assert (of_y.diff(dim=-2)).abs().max() > 0.1
    random = code_of(FourierFeatures(6), 5, 8)[6:]
    assert bool((random.diff(dim=-1).abs().amax((-1, -2)) > 0.01).all())


@settings(deadline=None, max_examples=30, derandomize=True)
@given(h=st.integers(1, 64), w=st.integers(1, 64), bands=st.integers(1, 9))
def test_waves_along_the_axes_are_those_of_their_matrix(h: int, w: int, bands: int) -> None:
    frequencies = 50 * torch.rand(bands)
    still = torch.zeros(bands)
    axes = [torch.cat([frequencies, still]), torch.cat([still, frequencies])]
    code = axis_fourier_code(h, w, frequencies)
    wanted = fourier_code(h, w, torch.stack(axes, -1))
    torch.testing.assert_close(code, wanted, rtol=0, atol=6e-7)
    crop = Frame.stack([Frame.identity(80, 90).crop(3, 7, h=h, w=w), Frame.identity(h, w).hflip()])
    wanted = fourier_features(grid(h, w, crop, dtype=torch.float64), torch.stack(axes, -1))
    framed = axis_fourier_code(h, w, frequencies, crop, dtype=torch.float64)
    torch.testing.assert_close(framed, wanted, rtol=0, atol=1e-10)


def test_waves_along_the_axes_learn_their_frequencies() -> None:
    frequencies = torch.rand(3, dtype=torch.float64, requires_grad=True)
    for h, w in ((4, 4), (3, 5)):
        assert torch.autograd.gradcheck(
            lambda f, h=h, w=w: axis_fourier_code(h, w, f, dtype=torch.float64), [frequencies]
        )


@settings(deadline=None, max_examples=30, derandomize=True)
@given(h=st.integers(1, 64), w=st.integers(1, 64), bands=st.integers(1, 9))
def test_the_separable_build_is_the_general_one(h: int, w: int, bands: int) -> None:
    matrix = gaussian_frequencies(bands, sigma=20.0)
    separable = fourier_code(h, w, matrix)
    torch.testing.assert_close(separable, fourier_features(grid(h, w), matrix), rtol=0, atol=2e-5)
    framed = fourier_code(h, w, matrix, Frame.identity(h, w))
    torch.testing.assert_close(separable, framed, rtol=0, atol=6e-7)
    exact = fourier_features(grid(h, w, dtype=torch.float64), matrix)
    torch.testing.assert_close(separable.double(), exact, rtol=0, atol=6e-7)


@pytest.mark.parametrize("make", ENCODINGS)
def test_a_pixel_has_one_code_in_the_image_a_crop_a_tile_a_flip_and_a_resize(
    make: Callable[[], PointEncoding],
) -> None:
    module = make()
    frame = Frame.identity(20, 28)
    whole = code_of(module, 20, 28)
    resized = code_of(module, 60, 84, frame.resize(60, 84))[:, 1::3, 1::3]
    views = [
        (code_of(module, 8, 11, frame.crop(3, 5, h=8, w=11)), whole[:, 3:11, 5:16]),
        (code_of(module, 20, 28, frame.hflip()), whole.flip(-1)),
        (code_of(module, 20, 28, frame.vflip()), whole.flip(-2)),
        (code_of(module, 10, 14, frame.tiles(10, 14).sample(1)), whole[:, :10, 14:]),
    ]
    for view, wanted in views:
        torch.testing.assert_close(view, wanted, rtol=0, atol=2e-6)  # weighted sums in float32
    torch.testing.assert_close(resized, whole, rtol=0, atol=2e-6)
    assert (code_of(module, 8, 11) - whole[:, 3:11, 5:16]).abs().max() > 0.1  # without its frame


@pytest.mark.parametrize("make", ENCODINGS)
def test_tokens_get_the_maps_codes_and_those_without_a_place_none(
    make: Callable[[], PointEncoding],
) -> None:
    module = make()
    frames = Frame.stack([Frame.identity(14, 8), Frame.identity(16, 28).crop(2, 3, h=7, w=16)])
    x = torch.randn(2, 6, 7, 4, dtype=torch.float64)
    extra = torch.randn(2, 3, 6, dtype=torch.float64)
    tokens = torch.cat([extra[:, :2], x.flatten(-2).mT, extra[:, 2:]], 1)
    places = Places.of(7, 4, frames, prefix=2, suffix=1, dtype=torch.float64)
    out = module.tokens(tokens, places)
    wanted = module(x, frames).flatten(-2).mT
    torch.testing.assert_close(out[:, 2:-1], wanted, rtol=0, atol=1e-10)
    assert torch.equal(out[:, [0, 1, -1], :6], extra)
    assert not out[:, [0, 1, -1], 6:].any()
    assert out.shape[-1] == module.out_channels(6)
    one = module.tokens(tokens[:, 2:-1], Places.of(7, 4, dtype=torch.float64))
    torch.testing.assert_close(one, module(x).flatten(-2).mT, rtol=0, atol=1e-10)


def test_modules_append_and_add_what_the_functions_give() -> None:
    x = torch.randn(2, 6, 5, 7)
    module = FourierFeatures(4, sigma=2.0, seed=3)
    code = fourier_code(5, 7, module.matrix)
    assert torch.equal(module(x), torch.cat([x, code.expand(2, -1, -1, -1)], 1))
    adding = AddFourierFeatures(6, 4, sigma=2.0, seed=3, init_std=1.0)
    assert torch.equal(adding.matrix, module.matrix)
    wanted = x + torch.einsum("ck,khw->chw", adding.weight, code)
    torch.testing.assert_close(adding(x), wanted, rtol=0, atol=1e-6)


def test_a_seed_gives_one_matrix_and_sigma_scales_it() -> None:
    state = torch.random.get_rng_state()
    first = FourierFeatures(5, seed=1)
    assert torch.equal(torch.random.get_rng_state(), state)  # its own generator
    assert torch.equal(first.matrix, FourierFeatures(5, seed=1).matrix)
    assert torch.equal(first.matrix * 2, FourierFeatures(5, seed=1, sigma=20.0).matrix)
    assert not torch.equal(first.matrix, FourierFeatures(5, seed=2).matrix)
    assert not torch.equal(FourierFeatures(5).matrix, FourierFeatures(5).matrix)
    drawn = gaussian_frequencies(5000, sigma=3.0)
    assert 2.9 < float(drawn.std()) < 3.1


def test_adding_starts_as_the_identity_and_learns_waves_from_the_second_step() -> None:
    module = AddFourierFeatures(6, 4, trainable=True)
    x = torch.randn(2, 6, 5, 7)
    assert torch.equal(module(x), x)
    module(x).square().sum().backward()
    grad: Tensor | None = module.matrix.grad
    assert module.weight.grad is not None
    assert bool((module.weight.grad != 0).all())
    assert grad is not None
    assert not grad.any()
    module.weight.data.normal_()
    module(x).square().sum().backward()
    assert bool((grad != 0).all())


def test_only_a_trainable_matrix_is_a_parameter_and_both_are_saved() -> None:
    for trainable in (True, False):
        module = FourierFeatures(4, trainable=trainable)
        assert [name for name, _ in module.named_parameters()] == ["matrix"] * trainable
        other = FourierFeatures(4, trainable=trainable)
        other.load_state_dict(module.state_dict())
        assert torch.equal(other.matrix, module.matrix)


@pytest.mark.parametrize("trainable", [True, False])
@pytest.mark.parametrize("cast", [nn.Module.half, nn.Module.bfloat16])
def test_frequencies_stay_in_float32_when_the_module_is_cast(
    trainable: bool, cast: Callable[[nn.Module], nn.Module]
) -> None:
    module = AddFourierFeatures(6, 4, trainable=trainable, init_std=1.0)
    module(torch.zeros(1, 6, 2, 3)).sum().backward()
    before = module.matrix.clone()
    cast(module)
    assert module.weight.dtype != torch.float32
    assert module.matrix.dtype == torch.float32
    assert torch.equal(module.matrix, before)
    assert not trainable or (module.matrix.grad is not None and module.matrix.requires_grad)
    assert module(torch.zeros(1, 6, 2, 3, dtype=module.weight.dtype)).dtype == module.weight.dtype
    assert module.double().matrix.dtype == torch.float64
    assert module.to("meta").matrix.device.type == "meta"


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("make", [lambda: FourierFeatures(6), lambda: NerfFeatures(10)])
def test_half_precision_has_the_right_code_in_far_tiles(
    dtype: torch.dtype, make: Callable[[], PointEncoding]
) -> None:
    module = make().to(dtype)
    frame = Frame.identity(8, 131_072).crop(0, 65_536, h=8, w=4096)
    code = module(torch.zeros(1, 1, 1, 4096, dtype=dtype), frame)[0, 1:]
    matrix = module.matrix if isinstance(module, FourierFeatures) else octave_frequencies(10)
    exact = fourier_features(grid(1, 4096, frame, dtype=torch.float64), matrix)
    assert code.dtype == dtype
    assert (code.double() - exact).abs().max() <= torch.finfo(dtype).eps


def test_autocast_changes_nothing() -> None:
    x = torch.randn(1, 6, 5, 7)
    for make in ENCODINGS:
        module = make()
        wanted = module(x)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert torch.equal(module(x), wanted)


def test_their_reprs_are_the_calls_that_make_them() -> None:
    for make in ENCODINGS:
        module = make()
        assert repr(eval(repr(module))) == repr(module)  # noqa: S307 - our own text


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: FourierFeatures(0), "`bands` must be at least 1, but is 0."),
        (lambda: FourierFeatures(4, sigma=0), "`sigma` must be positive, but is 0."),
        (lambda: gaussian_frequencies(4, sigma=-1), "`sigma` must be positive, but is -1."),
        (lambda: NerfFeatures(0), "`octaves` must be at least 1, but is 0."),
        (
            lambda: LogAxisFeatures(3),
            "`bands` must be an even number of at least 2, but is 3.",
        ),
        (lambda: LogAxisFeatures(4, octaves=0), "`octaves` must be positive, but is 0."),
        (
            lambda: AddFourierFeatures(0, 4),
            "`channels` must be at least 1, but is 0.",
        ),
        (
            lambda: AddFourierFeatures(3, 4, init_std=-1),
            "`init_std` must be at least 0, but is -1.",
        ),
        (
            lambda: AddFourierFeatures(3, 4)(torch.zeros(1, 6, 2, 3)),
            "`x` must have the 3 channels that AddFourierFeatures is made for, but has 6.",
        ),
    ],
)
def test_bad_input_is_refused_in_one_sentence(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the whole message is compared
        make()
    assert str(caught.value) == message
