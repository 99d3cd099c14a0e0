import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from visionpe import Frame, Places, TransformerXL, attend


def randomised(module: TransformerXL) -> TransformerXL:
    for parameter in module.parameters():
        nn.init.normal_(parameter)
    return module.double()


def code(dy: float, dx: float, width: int, temperature: float = 10000.0) -> Tensor:
    """`R` of an offset of query from key: sines then cosines of each axis, rows' first."""
    bands = width // 4
    parts = [
        function(offset * temperature ** -(band / bands))
        for offset in (dy, dx)
        for function in (math.sin, math.cos)
        for band in range(bands)
    ]
    return torch.tensor(parts, dtype=torch.float64)


def slowly(
    module: TransformerXL, q: Tensor, k: Tensor, places: Places, key_places: Places
) -> Tensor:
    """The terms (b), (c) and (d) of the paper's sum, one pair of tokens at a time."""
    out = torch.zeros(*q.shape[:-1], k.shape[-2], dtype=torch.float64)
    u, v = module.content_bias, module.position_bias
    for i in range(q.shape[-2]):
        for j in range(k.shape[-2]):
            dy, dx = (places.positions[i] - key_places.positions[j]).tolist()
            r = module.weight @ code(dy, dx, module.width, module.temperature)  # heads d
            query, key = q[:, :, i], k[:, :, j]
            out[:, :, i, j] = ((query * r) + (u * key) + (v * r)).sum(-1)
    return out / math.sqrt(q.shape[-1])


def qk(n: int, m: int | None = None, b: int = 2, heads: int = 3, d: int = 5) -> list[Tensor]:
    return [torch.randn(b, heads, c, d, dtype=torch.float64) for c in (n, m or n)]


def shifted(x: Tensor) -> Tensor:
    """The paper's relative shift, `n 2n-1 -> n n`: row i starts n - 1 - i columns later."""
    n = x.shape[-2]
    padded = nn.functional.pad(x, (1, 0)).flatten(-2)[..., n:]
    rows: Tensor = padded.unflatten(-1, (n, 2 * n - 1))
    return rows[..., :n]


@pytest.mark.parametrize(("width", "temperature"), [(8, 10000.0), (12, 20.0)])
def test_the_bias_is_the_papers_sum(width: int, temperature: float) -> None:
    module = randomised(TransformerXL(3, 5, width=width, temperature=temperature))
    places, key_places = Places.of(2, 6), Places.of(4, 3)
    q, k = qk(12)
    wanted = slowly(module, q, k, places, key_places)
    for keys in (key_places, key_places._replace(shape=None)):
        bias = module.bias(q, k, places, keys, 5**-0.5)
        torch.testing.assert_close(bias, wanted, rtol=0, atol=1e-10)


def test_places_between_cells_have_the_code_of_their_offset() -> None:
    module = randomised(TransformerXL(3, 5, width=8))
    places = Places.at(9 * torch.rand(7, 2, dtype=torch.float64), (9, 9))
    key_places = Places.at(9 * torch.rand(6, 2, dtype=torch.float64), (9, 9))
    q, k = qk(7, 6)
    torch.testing.assert_close(
        module.bias(q, k, places, key_places, 5**-0.5),
        slowly(module, q, k, places, key_places),
        rtol=0,
        atol=1e-10,
    )


def test_on_a_line_it_is_the_papers_relative_shift() -> None:
    n, width = 9, 8
    module = randomised(TransformerXL(3, 5, width=2 * width))
    with torch.no_grad():
        module.weight[..., :width] = 0  # no rows on a line
    q, k = qk(n)
    band = 10000.0 ** -(torch.arange(4, dtype=torch.float64) / 4)
    angle = torch.arange(n - 1, -n, -1, dtype=torch.float64)[:, None] * band  # offsets, falling
    r = torch.cat([angle.sin(), angle.cos()], -1) @ module.weight[..., width:].mT  # heads 2n-1 d
    position = shifted((q + module.position_bias[:, None]) @ r.mT)
    content = (q + module.content_bias[:, None]) @ k.mT
    wanted = (content + position) / math.sqrt(5)
    bias = module.bias(q, k, *2 * (Places.of(1, n),), 5**-0.5)
    torch.testing.assert_close(bias + q @ k.mT / math.sqrt(5), wanted, rtol=0, atol=1e-10)


@settings(deadline=None, max_examples=25, derandomize=True)
@given(
    h=st.integers(1, 16),
    w=st.integers(1, 16),
    quarter=st.integers(1, 5),
    prefix=st.integers(0, 2),
    suffix=st.integers(0, 2),
)
def test_lattices_points_and_samples_apart_agree_at_every_size(
    h: int, w: int, quarter: int, prefix: int, suffix: int
) -> None:
    module = randomised(TransformerXL(3, 5, width=4 * quarter))
    places = Places.of(h, w, prefix=prefix, suffix=suffix)
    q, k = qk(places.tokens)
    bias = module.bias(q, k, places, places, 0.5)
    each = places._replace(positions=places.positions.expand(2, -1, -1), shape=None)
    torch.testing.assert_close(module.bias(q, k, each, each, 0.5), bias, rtol=0, atol=1e-10)
    end = places.tokens - suffix
    for outer in (bias[:, :, :prefix], bias[:, :, end:], bias[..., :prefix], bias[..., end:]):
        assert not outer.any()


def test_a_shift_of_all_places_changes_nothing_and_of_the_keys_alone_does() -> None:
    module = randomised(TransformerXL(3, 5, width=8))
    q, k = qk(35)
    here = Places.of(5, 7)
    moved = Places.at(here.positions + torch.tensor([65_536.0, 3.0]), (65_600, 40))
    bias = module.bias(q, k, here, here, 1.0)
    torch.testing.assert_close(module.bias(q, k, moved, moved, 1.0), bias, rtol=0, atol=1e-10)
    assert (module.bias(q, k, here, moved, 1.0) - bias).abs().max() > 0.1


def test_without_sines_it_is_symmetric_and_with_them_it_is_not() -> None:
    module = randomised(TransformerXL(2, 5, width=8))
    with torch.no_grad():
        module.content_bias.zero_()
    q = torch.zeros(1, 2, 12, 5, dtype=torch.float64)  # what is left is v . W R
    both = 2 * (Places.of(3, 4),)
    bias = module.bias(q, q, *both, 1.0)
    assert (bias - bias.mT).abs().max() > 0.1
    with torch.no_grad():
        module.weight[..., [0, 1, 4, 5]] = 0  # the sines of rows and of columns
    bias = module.bias(q, q, *both, 1.0)
    torch.testing.assert_close(bias, bias.mT, rtol=0, atol=1e-12)
    assert bias.abs().max() > 0.1


def test_a_flip_of_the_image_turns_the_sines_of_that_axis_over() -> None:
    module = randomised(TransformerXL(2, 5, width=8))
    q, k = qk(12, heads=2)
    turned = Places.of(3, 4, Frame.identity(3, 4).hflip())
    flipped = module.bias(q, k, turned, turned, 1.0)
    assert (flipped - module.bias(q, k, *2 * (Places.of(3, 4),), 1.0)).abs().max() > 0.1
    with torch.no_grad():
        module.weight[..., 4:6] *= -1
    same = module.bias(q, k, *2 * (Places.of(3, 4),), 1.0)
    torch.testing.assert_close(flipped, same, rtol=0, atol=1e-10)


def test_it_is_the_sum_of_a_row_term_and_a_column_term() -> None:
    module = randomised(TransformerXL(2, 5, width=8))
    with torch.no_grad():
        module.content_bias.zero_()
    q, k = qk(30, heads=2)
    table = module.bias(q, k, *2 * (Places.of(5, 6),), 1.0)[0, 0, 0].unflatten(-1, (5, 6))
    mixed = table - table[:1] - table[:, :1] + table[0, 0]
    assert mixed.abs().max() < 1e-12
    module = randomised(TransformerXL(2, 5, width=8))  # u . k is of any shape
    table = module.bias(q, k, *2 * (Places.of(5, 6),), 1.0)[0, 0, 0].unflatten(-1, (5, 6))
    assert (table - table[:1] - table[:, :1] + table[0, 0]).abs().max() > 0.1


def test_it_starts_as_plain_attention_and_all_parameters_learn_from_the_second_step() -> None:
    module = TransformerXL(3, 5, width=8).double()
    optimiser = torch.optim.SGD(module.parameters(), lr=0.1)
    q, k = qk(12)
    v, places = torch.randn_like(k), Places.of(3, 4)
    out = module(q, k, v, places)
    torch.testing.assert_close(out, attend(q, k, v, [], places), rtol=0, atol=1e-12)
    out.square().sum().backward()
    idle = [name for name, p in module.named_parameters() if p.grad is None or not p.grad.any()]
    assert idle == ["position_bias"]  # it acts through `weight`, which is still zero
    optimiser.step()
    optimiser.zero_grad()
    module(q, k, v, places).square().sum().backward()
    for parameter in module.parameters():
        assert parameter.grad is not None
        assert parameter.grad.isfinite().all()
        assert parameter.grad.any()


def test_with_the_papers_start_all_parameters_learn_at_once() -> None:
    module = TransformerXL(3, 64, std=0.02)
    assert 0.015 < float(module.weight.detach().std()) < 0.02
    q, k = (x.float() for x in qk(12, d=64))
    module(q, k, torch.randn_like(k), Places.of(3, 4)).square().sum().backward()
    assert all(p.grad is not None and p.grad.any() for p in module.parameters())


@pytest.mark.parametrize(("dtype", "bound"), [(torch.bfloat16, 0.03), (torch.float16, 0.004)])
def test_half_precision_is_close_to_double_even_far_out(dtype: torch.dtype, bound: float) -> None:
    module = randomised(TransformerXL(3, 16))
    q, k = (x.to(dtype) for x in qk(63, d=16))
    far = Places.at(Places.of(7, 9).positions + 65_536, (65_600, 65_600))
    module = module.to(dtype)
    wanted = module.double().bias(q.double(), k.double(), far, far, 0.25)
    module.to(dtype)
    half = module.bias(q, k, far, far, 0.25)
    assert half.dtype == dtype
    assert (half.double() - wanted).abs().max() / wanted.abs().max() < bound


def test_autocast_touches_no_sine() -> None:
    module = randomised(TransformerXL(3, 5, width=8)).float()
    with torch.no_grad():
        module.content_bias.zero_()
        # Numbers that bfloat16 has: what is left to lose are the sines.
        for parameter in (module.weight, module.position_bias):
            parameter.copy_(torch.eye(*parameter.shape[-2:]).expand_as(parameter))
    q = torch.zeros(1, 3, 63, 5)
    both = 2 * (Places.of(7, 9),)
    bias = module.bias(q, q, *both, 1.0)
    with torch.autocast("cpu", torch.bfloat16):
        low = module.bias(q, q, *both, 1.0)
    assert low.dtype == torch.float32
    torch.testing.assert_close(low, bias, rtol=0, atol=1e-6)


def test_its_repr_is_the_call_that_makes_it() -> None:
    for module in (TransformerXL(2, 8), TransformerXL(2, 6, width=12, temperature=9, std=0.1)):
        assert repr(eval(repr(module))) == repr(module)  # noqa: S307 - our own text


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: TransformerXL(0, 8), "`heads` must be at least 1, but is 0."),
        (lambda: TransformerXL(2, 0), "`head_dim` must be at least 1, but is 0."),
        (
            lambda: TransformerXL(2, 6),
            "`width` (the number of channels) must be a multiple of 4, but is 6. "
            "Two axes have a sine and a cosine each.",
        ),
        (
            lambda: TransformerXL(2, 8, temperature=0),
            "`temperature` must be positive, but is 0.",
        ),
        (lambda: TransformerXL(2, 8, std=-1.0), "`std` must be at least 0, but is -1.0."),
    ],
)
def test_bad_input_is_refused_in_one_sentence(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the whole message is compared
        make()
    assert str(caught.value) == message


@pytest.mark.usefixtures("unchecked")
def test_keys_alone_may_be_many_under_vmap() -> None:
    layer = TransformerXL(2, 8, std=0.5)
    places = Places.of(2, 3)
    q, keys = torch.randn(1, 2, 6, 8), torch.randn(3, 1, 2, 6, 8)
    together = torch.func.vmap(lambda k: layer.bias(q, k, places, places, 0.5))(keys)
    for got, k in zip(together, keys, strict=True):
        torch.testing.assert_close(got, layer.bias(q, k, places, places, 0.5))
