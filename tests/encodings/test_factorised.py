from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from timm.models.naflexvit import NaFlexEmbeds
from torch import Tensor

from visionpe import (
    Factorised2d,
    Frame,
    Places,
    factorised2d,
    factorised2d_index,
    resample_axis_table,
)


def drawn(cells: tuple[int, int] = (12, 9), *, fractional: bool = True) -> Factorised2d:
    return Factorised2d(6, cells, fractional=fractional, init_std=1.0)


def read(table: Tensor, entry: float) -> Tensor:
    """A table read linearly at one fractional entry, its ends repeated."""
    entry = min(max(entry, 0.0), table.shape[-1] - 1.0)
    low = int(entry)
    high = min(low + 1, table.shape[-1] - 1)
    return table[:, low] + (entry - low) * (table[:, high] - table[:, low])


@settings(deadline=None, max_examples=30, derandomize=True)
@given(h=st.integers(1, 20), w=st.integers(1, 20), r=st.integers(1, 20), c=st.integers(1, 20))
def test_it_is_the_sum_of_a_rows_and_a_columns_entry(h: int, w: int, r: int, c: int) -> None:
    rows, columns = torch.randn(3, r).double(), torch.randn(3, c).double()
    fraction, index = factorised2d(rows, columns, h, w), factorised2d_index(rows, columns, h, w)
    for i in range(h):
        for j in range(w):
            wanted = read(rows, (i + 0.5) * r / h - 0.5) + read(columns, (j + 0.5) * c / w - 0.5)
            torch.testing.assert_close(fraction[:, i, j], wanted, rtol=0, atol=1e-10)
            assert torch.equal(index[:, i, j], read(rows, i) + read(columns, j))


@pytest.mark.parametrize(("h", "w"), [(12, 9), (5, 7), (17, 3)])
def test_timms_factorised_embedding_is_the_same(h: int, w: int) -> None:
    module = drawn()
    theirs = NaFlexEmbeds(
        embed_dim=6, class_token=False, pos_embed="factorized", pos_embed_grid_size=(12, 9)
    )
    theirs.pos_embed_y.data.copy_(module.rows.data.mT)
    theirs.pos_embed_x.data.copy_(module.columns.data.mT)
    y, x = torch.meshgrid(torch.arange(h), torch.arange(w), indexing="ij")
    tokens = torch.zeros(1, h * w, 6)
    with torch.no_grad():
        theirs._apply_factorized_naflex_pos_embed(
            tokens, torch.stack([y.flatten(), x.flatten()], -1)[None]
        )
    ours = module(torch.zeros(1, 6, h, w)).flatten(-2).mT
    torch.testing.assert_close(ours, tokens, rtol=0, atol=5e-6)  # theirs counts in float32


def test_at_its_own_size_it_is_the_tables_to_the_last_bit() -> None:
    for fractional in (True, False):
        module = drawn((37, 49), fractional=fractional)
        code = module(torch.zeros(1, 6, 37, 49))[0]
        assert torch.equal(code, module.rows[:, :, None] + module.columns[:, None, :])


def test_steps_along_every_row_are_the_same() -> None:
    code = drawn()(torch.zeros(1, 6, 5, 7, dtype=torch.float64))[0]
    steps = code.diff(dim=-1)
    torch.testing.assert_close(steps, steps[:, :1].expand_as(steps), rtol=0, atol=1e-12)
    assert (code.diff(dim=-2) - code.diff(dim=-2)[:, :1]).abs().max() > 0.1


@pytest.mark.parametrize("fractional", [True, False])
def test_a_pixel_has_one_code_in_the_image_a_crop_a_tile_and_a_flip(fractional: bool) -> None:
    module = drawn((20, 28) if not fractional else (12, 9), fractional=fractional)
    frame = Frame.identity(20, 28)
    whole = module(torch.zeros(1, 6, 20, 28))[0]
    crop = module(torch.zeros(1, 6, 8, 11), frame.crop(3, 5, h=8, w=11))[0]
    torch.testing.assert_close(crop, whole[:, 3:11, 5:16], rtol=0, atol=1e-6)
    flip = module(torch.zeros(1, 6, 20, 28), frame.hflip())[0]
    torch.testing.assert_close(flip, whole.flip(-1), rtol=0, atol=1e-6)
    tiles = module(torch.zeros(4, 6, 10, 14), frame.tiles(10, 14))
    torch.testing.assert_close(tiles[3], whole[:, 10:, 14:], rtol=0, atol=1e-6)
    turned = module(torch.zeros(1, 6, 20, 28), frame.rotate(180))[0]
    torch.testing.assert_close(turned, whole.flip(-1, -2), rtol=0, atol=1e-6)


def test_fractions_agree_at_every_scale_and_indices_do_not() -> None:
    fine = Frame.identity(4, 6).resize(12, 18)
    for fractional in (True, False):
        module = drawn((18, 18), fractional=fractional)
        coarse = module(torch.zeros(1, 6, 4, 6))
        gap = (module(torch.zeros(1, 6, 12, 18), fine)[..., 1::3, 1::3] - coarse).abs().max()
        assert gap < 2e-6 if fractional else gap > 0.5


@pytest.mark.parametrize("fractional", [True, False])
def test_tokens_get_the_maps_codes_and_classes_keep_their_value(fractional: bool) -> None:
    module = drawn(fractional=fractional)
    frames = Frame.stack([Frame.identity(7, 4), Frame.identity(9, 9).crop(2, 3, h=7, w=4)])
    x = torch.randn(2, 6, 7, 4)
    extra = torch.randn(2, 3, 6)
    tokens = torch.cat([extra[:, :2], x.flatten(-2).mT, extra[:, 2:]], 1)
    out = module.tokens(tokens, Places.of(7, 4, frames, prefix=2, suffix=1))
    wanted = module(x, frames).flatten(-2).mT
    torch.testing.assert_close(out[:, 2:-1], wanted, rtol=0, atol=1e-6)
    assert torch.equal(out[:, [0, 1, -1]], extra)
    whole = module.tokens(tokens[:, 2:-1], Places.of(7, 4))
    torch.testing.assert_close(whole, module(x).flatten(-2).mT, rtol=0, atol=1e-6)


def test_samples_of_a_packed_batch_have_each_their_own_size() -> None:
    module = drawn()
    extents = torch.tensor([[2.0, 6.0], [4.0, 3.0]])
    points = torch.stack([Places.of(2, 6).positions, Places.of(4, 3).positions])
    packed = module.tokens(torch.zeros(2, 12, 6), Places(points, extents))
    for sample, (h, w) in zip(packed, ((2, 6), (4, 3)), strict=True):
        wanted = module(torch.zeros(1, 6, h, w))[0].flatten(-2).mT
        torch.testing.assert_close(sample, wanted, rtol=0, atol=1e-6)


@pytest.mark.parametrize("fractional", [True, False])
@settings(deadline=None, max_examples=30, derandomize=True)
@given(h=st.integers(1, 12), w=st.integers(1, 9), prefix=st.integers(0, 2))
def test_the_quick_way_of_a_lattice_is_the_general_one(
    fractional: bool, h: int, w: int, prefix: int
) -> None:
    module = drawn(fractional=fractional)
    x = torch.randn(2, prefix + h * w, 6)
    whole = Places.of(h, w, prefix=prefix)
    offsets = torch.tensor([[[0.0, 0.0]], [[2.5, 40.0]]])
    lattices = whole._replace(positions=whole.positions + offsets, extent=whole.extent.expand(2, 2))
    for places in (whole, lattices):
        quick = module.tokens(x, places)
        assert torch.equal(quick, module.tokens(x, places._replace(shape=None)))
    assert (module.tokens(x, lattices) - module.tokens(x, whole))[1].abs().max() > 1e-3


def test_it_starts_as_the_identity_and_learns_both_tables() -> None:
    for fractional in (True, False):
        module = Factorised2d(6, (5, 9), fractional=fractional)
        x = torch.randn(2, 6, 5, 9)
        assert torch.equal(module(x), x)
        module(x).sum().backward()
        for table, wanted in ((module.rows, 18.0), (module.columns, 10.0)):
            assert table.grad is not None
            torch.testing.assert_close(table.grad, torch.full_like(table, wanted))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_reads_the_right_entries_of_far_tiles(dtype: torch.dtype) -> None:
    module = drawn((3, 97)).to(dtype)
    frame = Frame.identity(8, 131_072).crop(0, 65_536, h=8, w=4096)
    code = module(torch.zeros(1, 6, 1, 4096, dtype=dtype), frame)[0]
    wanted = drawn((3, 97)).double()
    wanted.load_state_dict(module.state_dict())
    exact = wanted(torch.zeros(1, 6, 1, 4096, dtype=torch.float64), frame)[0]
    bound = torch.finfo(dtype).eps * exact.abs().clamp(min=1.0)
    assert bool(((code.double() - exact).abs() <= bound).all())


def test_tables_of_another_length_are_refused_with_the_calls_that_mend_them() -> None:
    state = drawn((4, 7)).state_dict()
    module = drawn()
    with pytest.raises(RuntimeError) as caught:
        module.load_state_dict(state)
    assert str(caught.value) == (
        "Error(s) in loading state_dict for Factorised2d:\n\t"
        "`rows` must have shape (6, 12), but has (6, 4) in the state given. "
        'Resample it first: state["rows"] = visionpe.resample_axis_table(state["rows"], 12).\n\t'
        "`columns` must have shape (6, 9), but has (6, 7) in the state given. "
        'Resample it first: state["columns"] = visionpe.resample_axis_table(state["columns"], 9).'
    )
    state["rows"] = resample_axis_table(state["rows"], 12)
    state["columns"] = resample_axis_table(state["columns"], 9)
    module.load_state_dict(state)


def test_tables_of_indices_are_not_to_be_stretched() -> None:
    state = {"rows": torch.zeros(6, 12), "columns": torch.zeros(6, 7)}
    with pytest.raises(RuntimeError) as caught:
        drawn(fractional=False).load_state_dict(state)
    assert str(caught.value) == (
        "Error(s) in loading state_dict for Factorised2d:\n\t"
        "`columns` must have shape (6, 9), but has (6, 7) in the state given. "
        "Load it into an encoding of its own shape, not into "
        "Factorised2d(6, (12, 9), fractional=False, init_std=1.0)."
    )


@pytest.mark.usefixtures("unchecked")
def test_tables_of_indices_export_with_open_sizes() -> None:
    module = drawn(fractional=False)
    size = {2: torch.export.Dim("h", min=2, max=64), 3: torch.export.Dim("w", min=2, max=64)}
    program = torch.export.export(module, (torch.zeros(1, 6, 5, 7),), dynamic_shapes=(size,))
    x = torch.randn(1, 6, 11, 8)
    torch.testing.assert_close(program.module()(x), module(x), rtol=0, atol=1e-6)


def test_its_repr_is_the_call_that_makes_it() -> None:
    for module in (Factorised2d(6, (5, 9)), drawn(fractional=False)):
        assert repr(eval(repr(module))) == repr(module)  # noqa: S307 - our own text


TOO_LARGE = (
    "`x` must have at most the 5 x 9 cells of the tables, but has {}. "
    "Give more `cells`, or `fractional=True`."
)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: Factorised2d(0, (2, 3)),
            "`channels` must be at least 1, but is 0.",
        ),
        (
            lambda: Factorised2d(4, (0, 3)),
            "`cells` must be at least 1 cell an axis, but is (0, 3).",
        ),
        (lambda: Factorised2d(4, (2, 3), init_std=-1), "`init_std` must be at least 0, but is -1."),
        (
            lambda: Factorised2d(4, (2, 3))(torch.zeros(1, 6, 2, 3)),
            "`x` must have the 4 channels that Factorised2d is made for, but has 6.",
        ),
        (
            lambda: Factorised2d(4, (5, 9), fractional=False)(torch.zeros(1, 4, 6, 9)),
            TOO_LARGE.format("6 x 9"),
        ),
        (
            lambda: Factorised2d(4, (5, 9), fractional=False).tokens(
                torch.zeros(1, 20, 4), Places.of(2, 10)
            ),
            TOO_LARGE.format("2 x 10"),
        ),
    ],
)
def test_bad_input_is_refused_in_one_sentence(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the whole message is compared
        make()
    assert str(caught.value) == message
