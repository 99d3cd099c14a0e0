import math
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from visionpe import (
    Frame,
    Learned2d,
    Places,
    grid,
    learned2d_code,
    resample_table,
    resample_table_dinov2,
    sample_bicubic,
    sample_bilinear,
)

Sampler = Callable[[Tensor, Tensor], Tensor]


def drawn(width: int = 6, cells: tuple[int, int] = (5, 9), *, bicubic: bool = True) -> Learned2d:
    return Learned2d(width, cells, bicubic=bicubic, init_std=1.0)


def slowly(table: Tensor, y: float, x: float, *, bicubic: bool) -> Tensor:
    """One place: the sum over the whole table, borders repeated, weighted by distance."""

    def weight(distance: float) -> float:
        r, a = abs(distance), -0.75
        if not bicubic:
            return max(0.0, 1 - r)
        if r <= 1:
            return (a + 2) * r**3 - (a + 3) * r**2 + 1
        return a * r**3 - 5 * a * r**2 + 8 * a * r - 4 * a if r < 2 else 0.0

    rows, columns = table.shape[-2:]
    v, u = (y + 1) * rows / 2 - 0.5, (x + 1) * columns / 2 - 0.5
    code = torch.zeros(table.shape[0], dtype=torch.float64)
    for i in range(math.floor(v) - 2, math.floor(v) + 4):
        for j in range(math.floor(u) - 2, math.floor(u) + 4):
            entry = table[:, min(max(i, 0), rows - 1), min(max(j, 0), columns - 1)]
            code += entry.double() * weight(v - i) * weight(u - j)
    return code


@pytest.mark.parametrize(("sampler", "bicubic"), [(sample_bilinear, False), (sample_bicubic, True)])
def test_a_sample_is_the_weighted_sum_over_the_table(sampler: Sampler, bicubic: bool) -> None:
    table = torch.randn(3, 4, 7, dtype=torch.float64)
    points = torch.rand(2, 5, 6, dtype=torch.float64) * 3 - 1.5  # some of them outside
    code = sampler(table, points)
    for i in range(5):
        for j in range(6):
            wanted = slowly(table, *points[:, i, j].tolist(), bicubic=bicubic)
            torch.testing.assert_close(code[:, i, j], wanted, rtol=0, atol=1e-11)


@pytest.mark.parametrize(
    ("sampler", "mode"), [(sample_bilinear, "bilinear"), (sample_bicubic, "bicubic")]
)
@settings(deadline=None, max_examples=40, derandomize=True)
@given(
    h=st.integers(1, 64), w=st.integers(1, 64), rows=st.integers(1, 20), columns=st.integers(1, 20)
)
def test_torch_interpolates_to_the_same_at_every_size(
    sampler: Sampler, mode: str, h: int, w: int, rows: int, columns: int
) -> None:
    table = torch.randn(3, rows, columns, dtype=torch.float64)
    theirs = F.interpolate(table[None], (h, w), mode=mode, align_corners=False)[0]
    ours = sampler(table, grid(h, w, dtype=torch.float64))
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-10)


def test_torchs_grid_sampling_gives_the_same_at_any_place() -> None:
    table = torch.randn(3, 5, 8, dtype=torch.float64)
    points = torch.rand(2, 9, 4, dtype=torch.float64) * 4 - 2
    xy = points.flip(0).movedim(0, -1)[None]
    for sampler, mode in ((sample_bilinear, "bilinear"), (sample_bicubic, "bicubic")):
        theirs = F.grid_sample(
            table[None], xy, mode=mode, padding_mode="border", align_corners=False
        )
        torch.testing.assert_close(sampler(table, points), theirs[0], rtol=0, atol=1e-10)


@pytest.mark.parametrize("bicubic", [True, False])
def test_at_its_own_size_it_is_the_table_to_the_last_bit(bicubic: bool) -> None:
    for cells in ((5, 9), (14, 14), (37, 49), (1, 6), (6, 1), (1, 1)):
        module = drawn(3, cells, bicubic=bicubic)
        assert torch.equal(module(torch.zeros(1, 3, *cells))[0], module.table)
        module.table.data[0] = 0.0  # where a neighbour's share would show, however small
        framed = module(torch.zeros(1, 3, *cells), Frame.identity(*cells))[0]
        assert torch.equal(framed, module.table)


def test_at_another_size_it_is_dinov2s_resampling_and_not_timms() -> None:
    module = drawn()
    code = module(torch.zeros(1, 6, 3, 4))[0]
    torch.testing.assert_close(code, resample_table_dinov2(module.table, 3, 4), rtol=0, atol=1e-6)
    assert (code - resample_table(module.table, 3, 4)).abs().max() > 0.1


@pytest.mark.parametrize("bicubic", [True, False])
def test_a_pixel_has_one_code_in_the_image_a_crop_a_tile_a_flip_and_a_resize(bicubic: bool) -> None:
    module = drawn(bicubic=bicubic)
    frame = Frame.identity(20, 28)
    whole = module(torch.zeros(1, 6, 20, 28, dtype=torch.float64))[0]

    def code(view: Frame, h: int, w: int) -> Tensor:
        result: Tensor = module(torch.zeros(1, 6, h, w, dtype=torch.float64), view)[0]
        return result

    views = [
        (code(frame, 20, 28), whole),
        (code(frame.crop(3, 5, h=8, w=11), 8, 11), whole[:, 3:11, 5:16]),
        (code(frame.hflip(), 20, 28), whole.flip(-1)),
        (code(frame.vflip(), 20, 28), whole.flip(-2)),
        (code(frame.rotate(180), 20, 28), whole.flip(-1, -2)),
    ]
    for view, wanted in views:
        torch.testing.assert_close(view, wanted, rtol=0, atol=1e-10)
    small = code(frame.crop(3, 5, h=8, w=11).resize(24, 33), 24, 33)[:, 1::3, 1::3]
    # A frame holds the third in float32.
    torch.testing.assert_close(small, whole[:, 3:11, 5:16], rtol=0, atol=1e-6)
    tiles = module(torch.zeros(4, 6, 10, 14, dtype=torch.float64), frame.tiles(10, 14))
    rows = [torch.cat([tiles[0], tiles[1]], -1), torch.cat([tiles[2], tiles[3]], -1)]
    torch.testing.assert_close(torch.cat(rows, -2), whole, rtol=0, atol=1e-10)


def test_a_crop_that_forgets_its_frame_gets_other_codes() -> None:
    module = drawn()
    frame = Frame.identity(20, 28).crop(3, 5, h=8, w=11)
    x = torch.zeros(1, 6, 8, 11)
    assert (module(x) - module(x, frame)).abs().max() > 0.5


def test_swapping_the_axes_of_table_and_map_swaps_those_of_the_code_and_no_less() -> None:
    table = torch.randn(3, 4, 7, dtype=torch.float64)
    code = learned2d_code(table, 5, 6)
    torch.testing.assert_close(learned2d_code(table.mT, 6, 5).mT, code, rtol=0, atol=1e-12)
    assert (learned2d_code(table, 6, 5).mT - code).abs().max() > 0.1


def test_outside_the_image_it_is_the_tables_border() -> None:
    module = drawn()
    frame = Frame.identity(10, 18).pad(left=40)
    code = module(torch.zeros(1, 6, 5, 29), frame)[0]
    far = code[..., :18]  # farther than the two cells that a cubic reaches
    torch.testing.assert_close(far, module.table[..., :1].expand(-1, -1, 18), rtol=0, atol=1e-6)


def test_tokens_in_any_order_get_the_maps_codes_and_classes_keep_their_value() -> None:
    module = drawn()
    x = torch.randn(2, 6, 7, 4, dtype=torch.float64)
    frames = Frame.stack([Frame.identity(20, 28), Frame.identity(20, 28).crop(2, 3, h=9, w=8)])
    wanted = module(x, frames).flatten(-2).mT
    places = Places.of(7, 4, frames, prefix=2, suffix=1, dtype=torch.float64)
    extra = torch.randn(2, 3, 6, dtype=torch.float64)
    tokens = torch.cat([extra[:, :2], x.flatten(-2).mT, extra[:, 2:]], 1)
    out = module.tokens(tokens, places)
    torch.testing.assert_close(out[:, 2:-1], wanted, rtol=0, atol=1e-6)
    assert torch.equal(out[:, [0, 1, -1]], extra)
    order = torch.randperm(28)
    shuffled = Places.at(places.positions[:, order], places.extent)
    mixed = module.tokens(tokens[:, 2:-1][:, order], shuffled)
    torch.testing.assert_close(mixed, wanted[:, order], rtol=0, atol=1e-6)


@pytest.mark.parametrize("bicubic", [True, False])
@settings(deadline=None, max_examples=30, derandomize=True)
@given(h=st.integers(1, 20), w=st.integers(1, 20), prefix=st.integers(0, 2))
def test_the_quick_way_of_a_lattice_is_the_general_one(
    bicubic: bool, h: int, w: int, prefix: int
) -> None:
    module = drawn(bicubic=bicubic).double()
    x = torch.randn(2, prefix + h * w, 6, dtype=torch.float64)
    whole = Places.of(h, w, prefix=prefix, dtype=torch.float64)
    offsets = torch.tensor([[[0.0, 0.0]], [[2.5, 40.0]]], dtype=torch.float64)
    lattices = whole._replace(positions=whole.positions + offsets, extent=whole.extent.expand(2, 2))
    for places in (whole, lattices):
        quick, general = (
            module.tokens(x, where) for where in (places, places._replace(shape=None))
        )
        torch.testing.assert_close(quick, general, rtol=0, atol=1e-10)
    assert (module.tokens(x, lattices) - module.tokens(x, whole))[1].abs().max() > 1e-3


@pytest.mark.parametrize("bicubic", [True, False])
def test_tokens_of_its_own_size_get_the_table_to_the_last_bit_even_under_autocast(
    bicubic: bool,
) -> None:
    module = drawn(3, (14, 9), bicubic=bicubic)
    x = torch.zeros(1, 126, 3)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(module.tokens(x, Places.of(14, 9))[0], module.table.flatten(1).mT)


def test_autocast_changes_no_code() -> None:
    module = drawn()
    x = torch.randn(2, 77, 6)
    fmap = x.mT.unflatten(-1, (7, 11))
    wanted = module(fmap), module.tokens(x, Places.of(7, 11))
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(module(fmap), wanted[0])
        assert torch.equal(module.tokens(x, Places.of(7, 11)), wanted[1])


def test_it_starts_as_the_identity_and_learns_every_entry() -> None:
    module = Learned2d(6, (5, 9))
    x = torch.randn(2, 6, 5, 9)
    assert torch.equal(module(x), x)
    module(x).sum().backward()
    assert module.table.grad is not None
    assert bool((module.table.grad == 2).all())


def test_other_cells_and_other_kernels_give_other_codes() -> None:
    x = torch.zeros(1, 6, 4, 11)
    module = drawn()
    other = drawn(bicubic=False)
    other.table.data.copy_(module.table)
    assert (module(x) - other(x)).abs().max() > 0.05
    assert 0.015 < float(Learned2d(64, (14, 14), init_std=0.02).table.detach().std()) < 0.025


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_reads_the_right_places_of_far_tiles(dtype: torch.dtype) -> None:
    module = drawn(4, (3, 97))
    frame = Frame.identity(8, 131_072).crop(0, 65_536, h=8, w=4096)
    points = grid(1, 4096, frame, dtype=torch.float64)
    wanted = sample_bicubic(module.table.detach().to(dtype).double(), points)
    code = module.to(dtype)(torch.zeros(1, 4, 1, 4096, dtype=dtype), frame)[0]
    assert code.dtype == dtype
    bound = torch.finfo(dtype).eps * wanted.abs().clamp(min=1.0)
    assert bool(((code.double() - wanted).abs() <= bound).all())


def test_a_table_of_another_size_is_refused_with_the_call_that_mends_it() -> None:
    state = torch.nn.ModuleDict({"pos": drawn(6, (4, 7))}).state_dict()
    model = torch.nn.ModuleDict({"pos": drawn()})
    with pytest.raises(RuntimeError) as caught:
        model.load_state_dict(state)
    message = (
        "`pos.table` must have shape (6, 5, 9), but has (6, 4, 7) in the state given. "
        'Resample it first: state["pos.table"] = visionpe.resample_table(state["pos.table"], 5, 9).'
    )
    assert str(caught.value) == f"Error(s) in loading state_dict for ModuleDict:\n\t{message}"
    state["pos.table"] = resample_table(state["pos.table"], 5, 9)
    model.load_state_dict(state)
    assert torch.equal(model.state_dict()["pos.table"], state["pos.table"])


def test_a_table_of_another_width_is_refused_without_a_resize_that_cannot_help() -> None:
    with pytest.raises(RuntimeError) as caught:
        Learned2d(6, (5, 9)).load_state_dict({"table": torch.zeros(8, 4, 7)})
    assert str(caught.value) == (
        "Error(s) in loading state_dict for Learned2d:\n\t"
        "`table` must have shape (6, 5, 9), but has (8, 4, 7) in the state given. "
        "Load it into an encoding of its own shape, not into "
        "Learned2d(6, (5, 9), bicubic=True, init_std=0.0)."
    )
    with pytest.raises(RuntimeError, match="Missing key"):
        Learned2d(6, (5, 9)).load_state_dict({})


@pytest.mark.usefixtures("unchecked")
def test_it_exports_with_open_sizes_and_a_frame() -> None:
    module = drawn()
    size = {2: torch.export.Dim("h", min=2, max=64), 3: torch.export.Dim("w", min=2, max=64)}
    frame = Frame.identity(20, 28).crop(3, 5, h=8, w=11)
    program = torch.export.export(
        module,
        (torch.zeros(1, 6, 4, 7), frame),
        dynamic_shapes=(size, Frame(None, None, None)),  # type: ignore[arg-type]
    )
    for h, w in ((11, 8), (5, 9)):  # the second is the table's own
        x = torch.randn(1, 6, h, w)
        out = program.module()(x, frame)
        torch.testing.assert_close(out, module(x, frame), rtol=0, atol=1e-6)


def test_gradients_reach_the_places() -> None:
    table = torch.randn(3, 4, 7, dtype=torch.float64)
    points = (torch.rand(2, 3, 2, dtype=torch.float64) * 1.8 - 0.9).requires_grad_()
    for sampler in (sample_bilinear, sample_bicubic):
        assert torch.autograd.gradcheck(lambda p, f=sampler: f(table, p), (points,))


def test_its_repr_is_the_call_that_makes_it() -> None:
    for module in (Learned2d(6, (5, 9)), drawn(bicubic=False)):
        assert repr(eval(repr(module))) == repr(module)  # noqa: S307 - our own text


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: Learned2d(0, (2, 3)),
            "`channels` must be at least 1, but is 0.",
        ),
        (
            lambda: Learned2d(4, (2, 0)),
            "`cells` must be at least 1 cell an axis, but is (2, 0).",
        ),
        (lambda: Learned2d(4, (2, 3), init_std=-1), "`init_std` must be at least 0, but is -1."),
        (
            lambda: Learned2d(4, (2, 3))(torch.zeros(1, 6, 2, 3)),
            "`x` must have the 4 channels that Learned2d is made for, but has 6.",
        ),
        (
            lambda: Learned2d(4, (2, 3)).tokens(torch.zeros(1, 6, 3), Places.of(2, 3)),
            "`x` must have the 4 channels that Learned2d is made for, but has 3.",
        ),
    ],
)
def test_bad_input_is_refused_in_one_sentence(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the whole message is compared
        make()
    assert str(caught.value) == message
