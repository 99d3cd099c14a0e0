"""Receptive fields: those of nets whose field is known."""

import pytest
import torch
from torch import nn

from visionpe import effective_field
from visionpe.probing.field import field_side


def averages(depth: int, kernel: int) -> nn.Sequential:
    layers = []
    for _ in range(depth):
        conv = nn.Conv2d(1, 1, kernel, padding=kernel // 2, bias=False)
        nn.init.constant_(conv.weight, 1 / kernel**2)
        layers.append(conv)
    return nn.Sequential(*layers)


@pytest.mark.parametrize("kernel", [1, 3, 5])
def test_the_field_of_an_average_is_its_window(kernel: int) -> None:
    field = effective_field(averages(1, kernel), torch.randn(2, 1, 15, 21), ["0"])["0"]
    reach = kernel // 2
    wanted = torch.zeros(15, 21)
    wanted[7 - reach : 8 + reach, 10 - reach : 11 + reach] = 1 / kernel**2
    torch.testing.assert_close(field, wanted)
    assert field_side(field) == pytest.approx(kernel)


def test_fields_grow_with_the_root_of_the_depth() -> None:
    fields = effective_field(averages(4, 3), torch.randn(2, 1, 21, 25), ["0", "3"])
    # Variances add: of a window of 3 it is 2/3 along each axis.
    assert field_side(fields["3"]) == pytest.approx((12 * 4 * 2 / 3 + 1) ** 0.5, rel=1e-4)
    assert all(field.sum() == pytest.approx(1) for field in fields.values())


def test_the_field_of_a_map_of_even_size_leans_to_no_side() -> None:
    net = nn.Sequential(nn.AvgPool2d(2))
    field = effective_field(net, torch.randn(2, 3, 8, 12), ["0"])["0"]
    torch.testing.assert_close(field, field.flip(0))
    torch.testing.assert_close(field, field.flip(1))
    assert (field > 0).sum() == 16


def test_what_does_not_depend_on_the_image_has_no_field() -> None:
    net = averages(1, 3)
    with torch.no_grad():
        next(net.parameters()).zero_()
    field = effective_field(net, torch.randn(2, 1, 8, 12), ["0"])["0"]
    assert not field.any()
    assert field_side(field) == 0


def test_the_model_gets_no_gradients() -> None:
    net = averages(2, 3)
    images = torch.randn(2, 1, 8, 12)
    effective_field(net, images, ["1"])
    assert all(p.grad is None for p in net.parameters())
    assert not images.requires_grad


class Withheld(nn.Module):
    """Ends in a map that no gradient reaches."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 2, 3, padding=1)
        self.second = nn.Conv2d(2, 2, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x.mul_(2)  # in place, on what it was given
        maps = self.first(x)
        with torch.no_grad():
            made: torch.Tensor = self.second(maps)
        return made


def test_what_runs_without_gradients_has_no_field_and_the_rest_has() -> None:
    images = torch.randn(2, 1, 9, 11)
    kept = images.clone()
    fields = effective_field(Withheld(), images, ["first", "second"])
    assert field_side(fields["first"]) > 1
    assert not fields["second"].any()
    assert torch.equal(images, kept)
