import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from positional_encodings.torch_encodings import PositionalEncoding1D
from torch import Tensor, nn

from visionpe import StepEmbedding, step_code, step_code_adm

CODES = [step_code, step_code_adm]
Code = Callable[..., Tensor]


def slowly(steps: list[float], width: int, form: str) -> Tensor:
    """One number at a time: DDPM's released form, or ADM's."""
    half = width // 2
    last = max(half - 1, 1) if form == "ddpm" else half
    rows = []
    for t in steps:
        angles = [t * math.exp(-math.log(10000) * k / last) for k in range(half)]
        sin, cos = [math.sin(a) for a in angles], [math.cos(a) for a in angles]
        row = sin + cos if form == "ddpm" else cos + sin
        rows.append(row + [0.0] * (width % 2))
    return torch.tensor(rows, dtype=torch.float64)


@pytest.mark.parametrize(("code", "form"), [(step_code, "ddpm"), (step_code_adm, "adm")])
@pytest.mark.parametrize("width", [2, 3, 8, 65, 256])
def test_each_form_is_its_formula(code: Code, form: str, width: int) -> None:
    steps = [0.0, 1.0, 17.0, 999.0, 0.25]
    got = code(torch.tensor(steps, dtype=torch.float64), width)
    torch.testing.assert_close(got, slowly(steps, width, form), rtol=0, atol=1e-10)


def test_a_peers_one_dimensional_code_is_adms_with_its_channels_interleaved() -> None:
    theirs = PositionalEncoding1D(16)(torch.zeros(1, 50, 16))[0]
    sin, cos = theirs[:, 0::2], theirs[:, 1::2]
    ours = step_code_adm(torch.arange(50), 16)
    torch.testing.assert_close(ours, torch.cat([cos, sin], 1), rtol=0, atol=1e-6)


def test_the_forms_differ_as_much_as_codes_can() -> None:
    t = torch.arange(1000)
    assert (step_code(t, 64) - step_code_adm(t, 64)).abs().max() > 1.99
    swapped = torch.cat(step_code_adm(t, 64).chunk(2, 1)[::-1], 1)
    assert (step_code(t, 64) - swapped).abs().max() > 1.9  # the frequencies differ as well


@pytest.mark.parametrize("code", CODES)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_steps_up_to_65536_have_the_nearest_code_in_any_dtype(
    code: Code, dtype: torch.dtype
) -> None:
    t = torch.cat([torch.arange(4096), torch.arange(65_536 - 4096, 65_537)])
    wanted = code(t.double(), 32).to(dtype)
    assert torch.equal(code(t, 32, dtype=dtype), wanted)
    form = "ddpm" if code is step_code else "adm"
    exact = slowly([65_536.0], 32, form)
    limit = torch.finfo(dtype).eps
    assert (code(t[-1:], 32, dtype=dtype).double() - exact).abs().max() <= limit


@pytest.mark.parametrize("code", CODES)
def test_products_of_codes_depend_on_the_difference_of_the_steps_only(code: Code) -> None:
    t = torch.randint(0, 1000, (50,)).double()
    products = [(code(t + d, 32) * code(t, 32)).sum(-1) for d in (0.0, 1.0, 100.0)]
    for product in products:
        assert product.max() - product.min() <= 1e-10
    torch.testing.assert_close(products[0], torch.full_like(t, 16.0))  # the norm is constant
    assert products[2].mean() < products[1].mean() < products[0].mean()


@settings(deadline=None, max_examples=40, derandomize=True)
@given(width=st.integers(2, 130), n=st.integers(0, 64), start=st.integers(0, 65_536))
def test_a_step_has_one_code_alone_and_in_a_batch(width: int, n: int, start: int) -> None:
    t = torch.arange(start, start + n)
    for code in CODES:
        rows = code(t, width)
        assert rows.shape == (n, width)
        if n:
            assert torch.equal(rows[n // 2], code(t[n // 2], width))
        if width % 2:
            assert rows[:, -1].abs().sum() == 0


def test_steps_given_in_bfloat16_collide_and_integers_do_not() -> None:
    t = torch.tensor([256, 257])
    held = step_code(t.bfloat16(), 16)
    assert held.dtype == torch.bfloat16
    assert torch.equal(held[0], held[1])
    whole = step_code(t, 16, dtype=torch.bfloat16)
    assert (whole[0] - whole[1]).abs().max() > 0.5


def test_the_module_is_the_code_and_two_layers() -> None:
    t = torch.randint(0, 1000, (5,))
    for adm, code in ((False, step_code), (True, step_code_adm)):
        net = StepEmbedding(9, 12, adm=adm, max_period=100.0)
        first, _, last = net.layers
        assert isinstance(first, nn.Linear)
        hidden = code(t, 9, max_period=100.0) @ first.weight.T + first.bias
        wanted = last(hidden * hidden.sigmoid())
        torch.testing.assert_close(net(t), wanted)
    assert StepEmbedding(8)(t).shape == (5, 32)
    # DiT's: 256 to 1152 (arXiv 2212.09748, released code): 256 * 1152 + 1152 * 1152 + 2 * 1152.
    dit = StepEmbedding(256, 1152, adm=True)
    assert sum(p.numel() for p in dit.parameters()) == 1_624_320


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_the_embedding_has_the_dtype_of_its_layers(dtype: torch.dtype) -> None:
    net = StepEmbedding(8, 4).to(dtype)
    assert net(torch.arange(3)).dtype == dtype
    far = net(torch.tensor([65_535, 65_536]))
    assert (far[0] - far[1]).abs().max() > 1e-3


def test_its_repr_is_the_call_that_makes_it() -> None:
    net = StepEmbedding(6, 5, adm=True, max_period=7.0)
    assert repr(net) == "StepEmbedding(6, 5, adm=True, max_period=7.0)"
    assert repr(eval(repr(net))) == repr(net)  # noqa: S307 - our own text


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: step_code(torch.zeros(1), 1),
            "`width` must be at least 2, a sine and a cosine, but is 1.",
        ),
        (
            lambda: StepEmbedding(0),
            "`width` must be at least 2, a sine and a cosine, but is 0.",
        ),
        (lambda: StepEmbedding(4, 0), "`out` must be at least 1, but is 0."),
        (
            lambda: StepEmbedding(4, max_period=0.0),
            "`max_period` must be positive, but is 0.0.",
        ),
    ],
)
def test_bad_input_is_refused_in_one_sentence(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the whole message is compared
        make()
    assert str(caught.value) == message
