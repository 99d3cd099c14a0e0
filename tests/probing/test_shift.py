"""Shift errors: none where a net must follow, and at the edge where it cannot."""

import pytest
import timm
import torch
from torch import nn

from visionpe import AddCoords, shift_error
from visionpe.probing.shift import inside_and_border
from visionpe.probing.twins import padding_twin


def net() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 3, stride=2, padding=1)
    )


def test_a_circular_net_follows_every_shift() -> None:
    errors = shift_error(padding_twin(net(), "circular"), torch.randn(2, 3, 16, 24), ["0", "2"])
    assert errors["0"].shape == (16, 24)
    assert errors["2"].shape == (8, 12)
    assert max(error.max() for error in errors.values()) < 1e-5


def test_a_zero_padded_net_errs_as_far_from_the_edge_as_its_kernels_reach() -> None:
    errors = shift_error(net(), torch.randn(2, 3, 16, 24), ["0", "2"])
    # One cell from the edge, on either side of the roll: rows 0, 1 and the last two.
    assert errors["0"][2:-2, 2:-2].max() < 1e-5
    assert min(errors["0"][0].min(), errors["0"][:, -1].min()) > 0.05
    assert errors["2"][2:-2, 2:-2].max() < 1e-5
    inside, border = inside_and_border(errors["2"], edge=2)
    assert inside < 1e-5
    assert border > 0.05


def test_coordinates_err_as_far_as_they_move() -> None:
    class Coordinates(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.coords = AddCoords()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            made: torch.Tensor = self.coords(x)[:, 3:] + 0 * x[:, :1]
            return made

    error = shift_error(Coordinates(), torch.randn(2, 3, 8, 8), [""])[""]
    # A step moves one of the two coordinates by the cell's distance.
    step = 1 / 8 * 2
    variance = ((torch.arange(8) * step).var(correction=0)).item()
    wanted = (step**2 / 2 / (2 * variance)) ** 0.5
    assert error[2:-2, 2:-2].mean().item() == pytest.approx(wanted, rel=1e-4)
    assert error[0, 4] > 2 * error[4, 4]


def test_unrelated_features_have_the_error_one() -> None:
    class Noise(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + 1000 * torch.randn(x.shape)

    error = shift_error(Noise(), torch.randn(16, 3, 16, 24), [""])[""]
    assert error.square().mean().sqrt().item() == pytest.approx(1, rel=0.05)


def test_a_vit_errs_everywhere() -> None:
    model = timm.create_model("test_vit", img_size=(48, 80), num_classes=3)
    error = shift_error(model, torch.randn(2, 3, 48, 80), ["blocks.1"])["blocks.1"]
    inside, border = inside_and_border(error)
    assert error.shape == (3, 5)
    assert min(inside, border) > 1e-3
