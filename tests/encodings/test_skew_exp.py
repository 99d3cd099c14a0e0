"""The exponential behind `liere_rotations`, against torch's."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from visionpe.encodings._skew_exp import _KEPT, skew_exp


def skew(*shape: int, angle: float, dtype: torch.dtype = torch.float64) -> Tensor:
    """Random skew-symmetric matrices; the largest angle of each is `angle`."""
    a = torch.randn(*shape, shape[-1], dtype=torch.float64)
    a = a - a.mT
    unit: Tensor = a / torch.linalg.matrix_norm(a, 2)[..., None, None]
    return (angle * unit).to(dtype)


@settings(deadline=None, max_examples=60, derandomize=True)
@given(
    side=st.integers(2, 17),
    n=st.integers(0, 4),
    angle=st.floats(0, 300),
    dtype=st.sampled_from([torch.float32, torch.float64]),
)
def test_it_is_the_matrix_exponential(side: int, n: int, angle: float, dtype: torch.dtype) -> None:
    a = skew(2, n, side, angle=angle, dtype=dtype)
    wanted = torch.linalg.matrix_exp(a.double())
    # An angle is known to half a unit of its last place: what its sines, on both sides, can be.
    bound = (16 + 4 * angle) * torch.finfo(dtype).eps
    assert skew_exp(a).dtype == dtype
    torch.testing.assert_close(skew_exp(a).double(), wanted, rtol=0, atol=bound)


@pytest.mark.parametrize("angle", [0.3, 2.0, 40.0])
def test_its_gradient_is_the_matrix_exponentials(angle: float) -> None:
    a = skew(3, 5, angle=angle).requires_grad_()
    weights = torch.randn(3, 5, 5, dtype=torch.float64)
    (got,) = torch.autograd.grad((skew_exp(a) * weights).sum(), a)
    (wanted,) = torch.autograd.grad((torch.linalg.matrix_exp(a) * weights).sum(), a)
    torch.testing.assert_close(got, wanted, rtol=1e-11, atol=1e-11)


def test_of_many_the_gradient_is_the_same_and_no_product_is_kept() -> None:
    a = skew(2**15 + 1, 8, angle=3.0, dtype=torch.float32).requires_grad_()  # 2**21 numbers
    assert a.numel() > _KEPT
    weights, kept = torch.randn(a.shape), dict[int, int]()

    def note(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.numel()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        out = skew_exp(a)
    assert sum(kept.values()) <= a.numel()
    (grad,) = torch.autograd.grad((out * weights).sum(), a)
    few = a[:9].detach().requires_grad_()
    (wanted,) = torch.autograd.grad((skew_exp(few) * weights[:9]).sum(), few)
    torch.testing.assert_close(out[:9], skew_exp(few), rtol=0, atol=1e-6)
    torch.testing.assert_close(grad[:9], wanted, rtol=1e-5, atol=1e-5)


def test_nothing_is_the_identity_to_the_last_bit() -> None:
    eye = torch.eye(7).expand(3, 7, 7)
    assert torch.equal(skew_exp(torch.zeros(3, 7, 7)), eye)


def test_a_rotation_does_not_depend_on_the_others() -> None:
    few, many = skew(4, 6, angle=1.0), skew(4, 6, angle=500.0)
    assert torch.equal(skew_exp(torch.cat([few, many]))[:4], skew_exp(few))


def test_a_transform_which_cannot_ask_how_large_an_angle_is_gets_the_same() -> None:
    a = torch.cat([skew(2, 5, angle=angle) for angle in (0.0, 1.0, 70.0, 4000.0)])
    assert torch.equal(torch.func.vmap(skew_exp)(a), skew_exp(a))


def test_angles_of_a_million_still_turn() -> None:
    a = skew(3, 4, angle=1e6)
    out = skew_exp(a)
    eye = torch.eye(4, dtype=torch.float64).expand_as(out)
    torch.testing.assert_close(out @ out.mT, eye, rtol=0, atol=1e-8)
    torch.testing.assert_close(out, torch.linalg.matrix_exp(a), rtol=0, atol=1e-8)


def test_what_is_no_number_stays_none() -> None:
    a = skew(2, 3, angle=1.0)
    a[0, 0, 1] = torch.nan
    out = skew_exp(a)
    assert out[0].isnan().all()
    assert torch.equal(out[1], skew_exp(a[1]))
