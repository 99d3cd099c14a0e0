"""`offsets` finds encodings that follow crops, but not every view; sound ones are not accused."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from visionpe import AddCoords, Frame, Places, PointEncoding, check

pytestmark = pytest.mark.usefixtures("unchecked")


class Mutant(PointEncoding):
    """`AddCoords` with a fault of its own in the frame, or in the places."""

    def forward(self, x: Tensor, frame: Frame | None = None) -> Tensor:
        out: Tensor = AddCoords()(x, None if frame is None else self.changed(frame, x))
        return out

    def tokens(self, x: Tensor, places: Places) -> Tensor:
        return AddCoords().tokens(x, places)

    def changed(self, frame: Frame, x: Tensor) -> Frame:
        return frame


class FirstFrameForAll(Mutant):
    def changed(self, frame: Frame, x: Tensor) -> Frame:
        return frame.sample(0) if frame.view.dim() > 1 else frame


class IgnoresFlips(Mutant):
    def changed(self, frame: Frame, x: Tensor) -> Frame:
        linear, offset = frame.affine[..., :2], frame.affine[..., 2:]
        return frame._replace(affine=torch.cat([linear.abs(), offset], -1))


class IgnoresVerticalFlips(Mutant):
    def changed(self, frame: Frame, x: Tensor) -> Frame:
        affine = torch.where(frame.affine[..., :1, :1] < 0, frame.affine.abs(), frame.affine)
        return frame._replace(affine=affine)


class TakesCellsForPixels(Mutant):
    def changed(self, frame: Frame, x: Tensor) -> Frame:
        return frame._replace(view=torch.tensor(x.shape[-2:]).float().expand_as(frame.view))


class WrongSign(Mutant):
    def changed(self, frame: Frame, x: Tensor) -> Frame:
        linear, offset = frame.affine[..., :2], frame.affine[..., 2:]
        return frame._replace(affine=torch.cat([linear, -offset], -1))


class SwapsTokens(Mutant):
    def tokens(self, x: Tensor, places: Places) -> Tensor:
        return AddCoords().tokens(x, places._replace(positions=places.positions.flip(-1)))


class Stranger(nn.Module):
    """No `PointEncoding`: its cells may see their neighbours."""

    def forward(self, x: Tensor, frame: Frame | None = None) -> Tensor:
        out: Tensor = WrongSign()(x, frame)
        return out


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        (FirstFrameForAll, "in a batch of two frames, sample 1 has another code than alone"),
        (IgnoresFlips, "a view mirrored left to right does not have the image's code, mirrored"),
        (IgnoresVerticalFlips, "a view mirrored top to bottom does not have the image's code"),
        (TakesCellsForPixels, "with 4 pixels a cell, a pixel of a crop has another code than in"),
        (WrongSign, "a pixel of a crop has another code than in the image"),
        (SwapsTokens, "`tokens` gives another code at a map's places than the map has"),
    ],
)
def test_a_view_with_another_code_is_found(kind: type[nn.Module], says: str) -> None:
    finding = check(kind, only=["offsets"])["offsets"]
    assert finding.outcome.value == "failed"
    assert says in finding.says


def test_nothing_is_said_of_frames_where_cells_may_see_each_other() -> None:
    finding = check(Stranger, layout="bchw", channels=4, only=["offsets"])["offsets"]
    assert finding.outcome.value == "skipped"
    assert "the frame reaches the result, but" in finding.says


def test_without_a_fault_every_view_is_right() -> None:
    assert check(Mutant, only=["offsets"])["offsets"].outcome.value == "ok"


HALVES = ["bfloat16_input", "float16_input", "bfloat16_module", "float16_module", "autocast"]


class Table(nn.Module):
    """A learned table of one size, which torch itself refuses to add to another."""

    def __init__(self, *shape: int) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.zeros(1, *shape))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.table.to(x.dtype)


@pytest.mark.parametrize(
    ("shape", "options"),
    [
        ((8, 6, 6), {"layout": "bchw", "sizes": [(6, 6)]}),
        ((36, 8), {"layout": "bnc", "sizes": [(6, 6)]}),
        ((36, 8), {"layout": "bnc"}),
    ],
)
def test_a_table_of_one_size_is_not_accused_of_its_precision(
    shape: tuple[int, ...], options: dict[str, Any]
) -> None:
    result = check(Table(*shape), channels=8, **options, only=HALVES)
    assert result.passed, str(result)
    assert all((f.outcome.value == "ok") == ("sizes" in options) for f in result), str(result)


class BreaksInHalf(Table):
    def forward(self, x: Tensor) -> Tensor:
        if self.table.dtype == torch.bfloat16:
            raise IndexError("half")
        return super().forward(x)


def test_what_works_in_float32_alone_is_still_a_fault() -> None:
    result = check(
        BreaksInHalf(8, 6, 6), layout="bchw", channels=8, sizes=[(6, 6)], only=["bfloat16_module"]
    )
    assert result["bfloat16_module"].says == "breaks with IndexError: half"


class Sides(nn.Module):
    """Returns a mask, an index and complex phases beside the map."""

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        index = torch.arange(x.shape[1], device=x.device)
        angle = index.double() / 7
        phases = torch.polar(torch.ones_like(angle), angle).to(torch.complex64)
        return x * 1, torch.ones(x.shape[:-1], dtype=torch.bool, device=x.device), index, phases


def test_masks_indices_and_phases_beside_the_map_are_no_fault() -> None:
    names = [*HALVES, "rectangular", "stale_dtype", "modes", "own_output", "deterministic"]
    result = check(Sides, layout="bhwc", channels=8, only=names)
    assert result.passed, str(result)


class RoughPhases(nn.Module):
    """Complex phases whose angles are counted in the dtype of the activations."""

    def forward(self, x: Tensor) -> Tensor:
        angle = torch.arange(x.shape[1], device=x.device, dtype=x.dtype) * 0.3
        angle = angle.to(torch.promote_types(x.dtype, torch.float32))
        return torch.polar(torch.ones_like(angle), angle)


def test_wrong_complex_numbers_are_found() -> None:
    result = check(RoughPhases, layout="bhwc", channels=8, only=["bfloat16_input"])
    assert result["bfloat16_input"].outcome.value == "failed"
