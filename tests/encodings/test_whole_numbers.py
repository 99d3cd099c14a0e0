"""Whole numbers: positions may be, maps may not, and a source's samples may be labels."""

import pytest
import torch
from torch import Tensor

from visionpe import (
    FourierInput,
    LearnedConstant,
    complex_order,
    fourier_features,
    height_code,
    sinusoidal1d,
    sinusoidal2d,
    sinusoidal2d_mae,
)
from visionpe.encodings.base import require_floating

POINTS = torch.tensor([[0, 3, 7], [2, 1, 5]])
WAVE = (torch.tensor([[0.5], [0.2]]), torch.tensor([0.1]))  # frequency and phase
CODES = [
    lambda points: sinusoidal1d(points, 5),
    lambda points: sinusoidal2d(points[:, None], 7),
    lambda points: sinusoidal2d_mae(points[:, None], 8),
    lambda points: height_code(points, 5),
    lambda points: fourier_features(points[:, None], torch.tensor([[0.1, 0.3]])),
    lambda points: complex_order(points.mT, torch.ones(1), *WAVE),
]


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("code", CODES)
@pytest.mark.parametrize("kind", [torch.int64, torch.int32, torch.uint8])
def test_the_code_of_whole_positions_is_that_of_the_same_floats(
    code: type, kind: torch.dtype
) -> None:
    got: Tensor = code(POINTS.to(kind))
    assert got.dtype == torch.float32
    assert torch.equal(got, code(POINTS.float()))


def test_labels_give_a_sources_map_in_its_weights_dtype() -> None:
    labels = torch.tensor([3, 1])
    for source in (FourierInput(4, 3, 5), LearnedConstant(4, 3, 5, init="randn")):
        for dtype in (torch.float32, torch.float64):
            made = source.to(dtype)(labels)
            assert made.dtype == dtype
            assert torch.equal(made, source(2))


def test_a_map_of_whole_numbers_is_refused_with_the_remedy() -> None:
    with pytest.raises(TypeError) as caught:
        require_floating("x", torch.zeros(1, dtype=torch.uint8))
    assert str(caught.value) == (
        "`x` must hold floating point numbers, but holds torch.uint8. "
        "Convert it first: `x.float()`."
    )
