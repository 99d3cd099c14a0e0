"""Arguments of the wrong kind are refused when a module is made."""

from collections.abc import Callable
from typing import Any

import pytest

from visionpe import (
    AppendComplexOrder,
    ComplexOrder,
    Factorised2d,
    FourierFeatures,
    Learned2d,
    LieRE,
    NerfFeatures,
    Rotary,
    Sinusoidal2d,
)

PAIRS: list[tuple[str, Callable[[Any], object]]] = [
    ("cells", lambda pair: Sinusoidal2d(cells=pair)),
    ("cells", lambda pair: ComplexOrder(4, cells=pair)),
    ("cells", lambda pair: AppendComplexOrder(4, cells=pair)),
    ("cells", lambda pair: Rotary(cells=pair)),
    ("cells", lambda pair: Learned2d(4, pair)),
    ("cells", lambda pair: Factorised2d(4, pair)),
    ("unit", lambda pair: LieRE(2, 8, unit=pair)),
]


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(("name", "make"), PAIRS)
@pytest.mark.parametrize("pair", [(8,), (8, 8, 8)])
def test_what_belongs_to_two_axes_is_two_numbers(
    name: str, make: Callable[[Any], object], pair: tuple[int, ...]
) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the whole message is compared
        make(pair)
    says = f"`{name}` must be two numbers, one for y and one for x, but is {pair}."
    assert str(caught.value) == says


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(("name", "make"), [("octaves", NerfFeatures), ("bands", FourierFeatures)])
def test_a_number_of_waves_is_whole(name: str, make: Callable[[Any], object]) -> None:
    with pytest.raises(TypeError, match=f"^`{name}` must be a whole number, but is 2.5.$"):
        make(2.5)
