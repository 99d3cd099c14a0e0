import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.profiler import ProfilerActivity, profile

from visionpe import Places, RelativeBias, attend, attention_backend

KERNEL = {
    "MATH": "aten::_scaled_dot_product_attention_math",
    "FLASH_ATTENTION": "aten::_scaled_dot_product_flash_attention_for_cpu",
}


@pytest.mark.filterwarnings("ignore:Warning. Profiler clears events")  # of torch 2.10, always
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("encoded", [True, False])
def test_the_kernel_it_names_is_the_one_that_runs(training: bool, encoded: bool) -> None:
    q, k, v = torch.randn(3, 2, 2, 15, 8)
    places = Places.of(3, 5)
    layer = RelativeBias(2, (3, 5), std=1.0)
    with torch.set_grad_enabled(training):
        bias = layer.bias(q, k, places, places, 0.5) if encoded else None
        name = attention_backend(q, k, v, bias)
        with profile(activities=[ProfilerActivity.CPU]) as seen:
            attend(q, k, v, [layer] if encoded else [], places)
    ran = {event.key for event in seen.key_averages()}
    named = {KERNEL[name]} if name in KERNEL else set()
    assert ran & {*KERNEL.values()} == named
    assert name == ("EAGER" if training and encoded else "FLASH_ATTENTION")


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_and_autocast_are_left_to_torch(dtype: torch.dtype) -> None:
    q, bias = torch.randn(1, 2, 6, 8), torch.randn(1, 2, 6, 6, requires_grad=True)
    half = q.to(dtype)
    assert attention_backend(half, half, half, bias.to(dtype)) == "MATH"
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert attention_backend(q, q, q, bias) == "MATH"
    exact = q.double()
    assert attention_backend(exact, exact, exact, bias.double()) == "EAGER"


def test_a_mask_that_needs_a_gradient_or_dropout_means_a_formula_on_the_cpu() -> None:
    q = torch.randn(1, 2, 6, 8, requires_grad=True)
    bias = torch.randn(1, 2, 6, 6)
    seen = torch.ones(1, 1, 6, 6, dtype=torch.bool)
    assert attention_backend(q, q, q) == "FLASH_ATTENTION"
    assert attention_backend(q, q, q, bias) == "FLASH_ATTENTION"
    assert attention_backend(q, q, q, seen) == "FLASH_ATTENTION"
    assert attention_backend(q, q, q, bias.requires_grad_()) == "EAGER"
    assert attention_backend(q, q, q, dropout=0.1) == "MATH"
    with torch.no_grad():
        assert attention_backend(q, q, q, bias) == "EAGER"  # a parameter itself,
        assert attention_backend(q, q, q, 1 * bias) == "FLASH_ATTENTION"  # not what is made of it


def test_it_follows_the_kernels_that_are_allowed() -> None:
    q = torch.randn(1, 2, 6, 8)
    with sdpa_kernel(SDPBackend.MATH):
        assert attention_backend(q, q, q) == "MATH"
