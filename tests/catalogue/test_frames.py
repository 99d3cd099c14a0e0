"""Places: one pixel, one code; differences for relative encodings; tokens without a place."""

from typing import Any

import pytest
import torch
from record import Kind, Record, Sample
from records import awake, oblong, samples
from torch import Tensor, nn

from visionpe import AttentionEncoding, Frame, Places, PointEncoding, inside

ABSOLUTE = samples(lambda r, s: r.absolute and r.kind in (Kind.MAP, Kind.POINT))
POINTS = samples(lambda r, s: r.kind is Kind.POINT)
ATTENTION = samples(lambda r, s: r.kind is Kind.ATTENTION)
RELATIVE = samples(lambda r, s: r.kind is Kind.ATTENTION and r.relative)
H, W = 12, 18  # of the whole image
WITHIN = 1e-6


def close(ours: Tensor, theirs: Tensor, within: float) -> None:
    ours, theirs = ours.detach(), theirs.detach()
    scale = max(1.0, float(theirs.abs().max())) if theirs.numel() else 1.0
    torch.testing.assert_close(ours, theirs, rtol=0, atol=within * scale)


def cell(sample: Sample) -> Tensor:
    """The content of a cell: the same in all, so that only places make a difference."""
    return torch.randn(1, sample.channels, 1, 1, dtype=torch.float64)


def whole_image() -> Frame:
    """In float64, as `exact` modules are."""
    return Frame(*(part.double() for part in Frame.identity(H, W)))


def exact(sample: Sample) -> nn.Module:
    """Awake, in float64: high frequencies turn float32's rounding of places into codes."""
    module = awake(sample)
    for part in module.modules():
        for name, parameter in part._parameters.items():
            if parameter is not None and parameter.is_floating_point():
                parameter.data = parameter.data.double()  # even if the module pins float32
            assert name in part._parameters
        for name, buffer in part._buffers.items():
            if buffer is not None and buffer.is_floating_point():
                part._buffers[name] = buffer.double()
    return module


@ABSOLUTE
def test_a_pixel_has_one_code_in_the_image_a_crop_a_tile_and_a_flip(
    record: Record, sample: Sample
) -> None:
    module, x = exact(sample), cell(sample)
    whole = whole_image()
    image = module(x.expand(1, -1, H, W), whole)
    crop = module(x.expand(1, -1, 5, 7), whole.crop(3, 9, h=5, w=7))
    close(crop, image[..., 3:8, 9:16], WITHIN)
    tiles = whole.tiles(4, 6)
    rows = module(x.expand(9, -1, 4, 6), tiles)
    close(rows[5:6], image[..., 4:8, 12:18], WITHIN)
    flipped = module(x.expand(1, -1, H, W), whole.hflip())
    close(flipped, image.flip(-1), WITHIN)
    flipped = module(x.expand(1, -1, H, W), whole.vflip())
    close(flipped, image.flip(-2), WITHIN)


@samples(
    lambda r, s: r.absolute and r.scale_free and s.scale_free and r.kind in (Kind.MAP, Kind.POINT)
)
def test_a_point_has_one_code_at_every_scale(record: Record, sample: Sample) -> None:
    module, x = exact(sample), cell(sample)
    whole = whole_image()
    coarse = module(x.expand(1, -1, H, W), whole)
    fine = module(x.expand(1, -1, 3 * H, 3 * W), whole.resize(3 * H, 3 * W))
    close(fine[..., 1::3, 1::3], coarse, WITHIN)  # the middle of three fine cells is a coarse one's


@ABSOLUTE
def test_in_float32_a_pixel_has_one_code_too_at_thirds_of_its_size_as_well(
    record: Record, sample: Sample
) -> None:
    module, x = awake(sample), cell(sample).float()
    whole = Frame.identity(4 * H, 12 * W)
    rows, columns = 4 * H, 12 * W
    image = module(x.expand(1, -1, rows, columns), whole)
    window = whole.crop(3, 29, h=35, w=37)
    crop = module(x.expand(1, -1, 35, 37), window)
    close(crop, image[..., 3:38, 29:66], WITHIN)
    close(module(x.expand(1, -1, rows, columns), whole.hflip()), image.flip(-1), WITHIN)
    if record.scale_free and sample.scale_free:
        fine = module(x.expand(1, -1, 105, 111), window.resize(105, 111))
        close(fine[..., 1::3, 1::3], crop, WITHIN)
        fine = module(x.expand(1, -1, 3 * rows, 3 * columns), whole.resize(3 * rows, 3 * columns))
        close(fine[..., 1::3, 1::3], image, WITHIN)


@ABSOLUTE
def test_samples_of_a_batch_have_each_their_own_place(record: Record, sample: Sample) -> None:
    module, x = exact(sample), cell(sample).expand(2, -1, 4, 6)
    whole = whole_image()
    frames = [whole.crop(2, 1, h=4, w=6), whole.hflip().crop(0, 5, h=4, w=6)]
    both = module(x, Frame.stack(frames))
    for index, frame in enumerate(frames):
        close(both[index], module(x[:1], frame)[0], WITHIN)
    image = module(x[:1, ..., :1, :1].expand(1, -1, H, W), whole)
    if (image - image[..., :1, :1]).any():  # a code that varies at all
        assert not torch.equal(both[0], both[1])


def tokens_of(x: Tensor) -> Tensor:
    return x.flatten(2).mT


@POINTS
def test_tokens_have_the_code_of_their_cells_in_any_order(record: Record, sample: Sample) -> None:
    module = exact(sample)
    assert isinstance(module, PointEncoding)
    h, w = oblong(sample)
    x = torch.randn(2, sample.channels, h, w, dtype=torch.float64)
    wanted = tokens_of(module(x))
    places = Places.of(h, w, dtype=torch.float64)
    close(module.tokens(tokens_of(x), places), wanted, WITHIN)
    order = torch.randperm(h * w)
    some = order[: h * w // 2]
    listed = Places.at(places.positions[some], places.extent)
    close(module.tokens(tokens_of(x)[:, some], listed), wanted[:, some], WITHIN)


@POINTS
def test_tokens_of_a_crop_have_the_images_codes(record: Record, sample: Sample) -> None:
    module = exact(sample)
    assert isinstance(module, PointEncoding)
    frame = Frame.identity(H, W).crop(3, 9, h=5, w=7)
    x = torch.randn(2, sample.channels, 5, 7, dtype=torch.float64)
    places = Places.of(5, 7, frame, dtype=torch.float64)
    close(module.tokens(tokens_of(x), places), tokens_of(module(x, frame)), WITHIN)


@POINTS
def test_tokens_without_a_place_keep_their_value(record: Record, sample: Sample) -> None:
    module = exact(sample)
    assert isinstance(module, PointEncoding)
    h, w = oblong(sample)
    x = torch.randn(2, 3 + h * w, sample.channels, dtype=torch.float64)
    out = module.tokens(x, Places.of(h, w, prefix=2, suffix=1, dtype=torch.float64))
    for part in (slice(0, 2), slice(-1, None)):
        assert torch.equal(out[:, part, : sample.channels], x[:, part])
        assert not out[:, part, sample.channels :].any()
    bare = module.tokens(x[:, 2:-1], Places.of(h, w, dtype=torch.float64))
    close(out[:, 2:-1], bare, WITHIN)


@POINTS
def test_places_of_each_sample_equal_single_ones(record: Record, sample: Sample) -> None:
    module = exact(sample)
    assert isinstance(module, PointEncoding)
    x = torch.randn(2, 6, sample.channels, dtype=torch.float64)
    points, extent = 5 * torch.rand(2, 6, 2), torch.tensor([[7.0, 9.0], [6.0, 11.0]])
    both = module.tokens(x, Places.at(points, extent))
    for index in range(2):
        alone = Places.at(points[index], extent[index])
        close(both[index : index + 1], module.tokens(x[index : index + 1], alone), WITHIN)


@ABSOLUTE
def test_cells_outside_the_image_are_flagged_and_are_not_the_centre(
    record: Record, sample: Sample
) -> None:
    module, x = exact(sample), cell(sample)
    frame = Frame.identity(H, W).pad(left=4, top=3)
    flags = inside(H + 3, W + 4, frame)
    assert not flags[:3].any()
    assert not flags[:, :4].any()
    assert flags[3:, 4:].all()
    padded = module(x.expand(1, -1, H + 3, W + 4), frame)
    image = module(x.expand(1, -1, H, W), Frame.identity(H, W))
    close(padded[..., 3:, 4:], image, WITHIN)
    assert padded.isfinite().all()
    centre = image[..., H // 2 - 1 : H // 2 + 1, W // 2 - 1 : W // 2 + 1].mean((-2, -1))
    corner = padded[..., 0, 0]
    edge = image[..., 0, 0]
    if (edge - centre).abs().max() > 1e-3:  # a code that tells a corner from the centre at all
        assert (corner - centre).abs().max() > 1e-4


def acts(module: AttentionEncoding, x: Tensor, places: Places, key_places: Places) -> list[Tensor]:
    """What depends on places inside attention: the logits, the bias, the addition to the output."""
    q, k = x.unbind(0)
    k = k[..., : key_places.tokens, :]
    turned_q, turned_k = module.rotate(q, k, places, key_places)
    result = [turned_q @ turned_k.mT]
    bias = module.bias(q, k, places, key_places, q.shape[-1] ** -0.5)
    result += [] if bias is None else [bias]
    if module.acts_on_values:
        weights = result[0].softmax(-1)
        added = module.values(weights, places, key_places)
        result += [] if added is None else [added]
    return result


def lattice(sample: Sample, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Places, int]:
    h, w = oblong(sample)
    x = torch.randn(2, 2, sample.heads, h * w, sample.head_dim, dtype=dtype)
    return x, Places.of(h, w, dtype=dtype), h * w


@pytest.mark.parametrize(("dtype", "within"), [(torch.float32, 1e-6), (torch.float64, 1e-10)])
@RELATIVE
def test_what_is_relative_depends_on_differences_of_places_only(
    record: Record, sample: Sample, dtype: torch.dtype, within: float
) -> None:
    module = exact(sample) if dtype == torch.float64 else awake(sample)
    assert isinstance(module, AttentionEncoding)
    x, places, _ = lattice(sample, dtype)
    moved = places._replace(
        positions=places.positions + torch.tensor([3.0, 5.0], dtype=dtype), shape=None
    )
    here = acts(module, x, places._replace(shape=None), places._replace(shape=None))
    there = acts(module, x, moved, moved)
    for ours, theirs in zip(there, here, strict=True):
        close(ours, theirs, within if dtype == torch.float64 else 4 * within)
    apart = acts(module, x, moved, places._replace(shape=None))
    assert any((a - b).abs().max() > 1e-4 for a, b in zip(apart, here, strict=True))


@ATTENTION
def test_a_lattice_and_a_list_of_places_act_alike(record: Record, sample: Sample) -> None:
    module = awake(sample)
    assert isinstance(module, AttentionEncoding)
    x, places, _ = lattice(sample)
    listed = places._replace(shape=None)
    for ours, theirs in zip(
        acts(module, x, listed, listed), acts(module, x, places, places), strict=True
    ):
        close(ours, theirs, 2e-6)


@ATTENTION
def test_places_of_each_sample_act_as_single_ones(record: Record, sample: Sample) -> None:
    module = awake(sample)
    assert isinstance(module, AttentionEncoding)
    x, places, _ = lattice(sample)
    positions = torch.stack([places.positions, places.positions.flip(0)])
    both = Places.at(positions, places.extent.expand(2, 2))
    together = acts(module, x, both, both)
    for index in range(2):
        one = Places.at(positions[index], places.extent)
        alone = acts(module, x[:, index : index + 1], one, one)
        for ours, theirs in zip(together, alone, strict=True):
            close(ours[index : index + 1] if len(ours) > 1 else ours, theirs, 2e-6)


@samples(lambda r, s: r.kind is Kind.ATTENTION and s.leaves_unplaced)
def test_tokens_without_a_place_attend_as_without_the_encoding(
    record: Record, sample: Sample
) -> None:
    module = awake(sample)
    assert isinstance(module, AttentionEncoding)
    h, w = oblong(sample)
    n = h * w
    places = Places.of(h, w, prefix=2, suffix=1)
    q, k, v = torch.randn(3, 2, sample.heads, n + 3, sample.head_dim)
    turned_q, turned_k = module.rotate(q, k, places, places)
    for part in (slice(0, 2), slice(-1, None)):
        assert torch.equal(turned_q[:, :, part], q[:, :, part])
        assert torch.equal(turned_k[:, :, part], k[:, :, part])
    bias = module.bias(q, k, places, places, sample.head_dim**-0.5)
    if bias is not None:
        assert tuple(bias.shape[-2:]) == (n + 3, n + 3)
        for part in (slice(0, 2), slice(-1, None)):
            assert not bias[..., part, :].any()
            assert not bias[..., part].any()
    inner = acts(module, torch.stack([q, k])[..., 2:-1, :], Places.of(h, w), Places.of(h, w))
    whole: list[Any] = [turned_q @ turned_k.mT, *([] if bias is None else [bias])]
    for ours, theirs in zip(whole, inner, strict=False):
        close(ours[..., 2:-1, 2:-1], theirs, 2e-6)
    if module.acts_on_values:
        added = module.values((q @ k.mT).softmax(-1), places, places)
        if added is not None:
            assert not added[:, :, :2].any()
            assert not added[:, :, -1:].any()
    assert module(q, k, v, places).isfinite().all()


@ATTENTION
def test_queries_and_keys_may_be_of_other_lattices(record: Record, sample: Sample) -> None:
    module = awake(sample)
    assert isinstance(module, AttentionEncoding)
    h, w = oblong(sample)
    rows, columns = sample.key_sizes[0]
    places = Places.of(h, w)
    keys = Places.of(rows, columns)
    q = torch.randn(2, sample.heads, h * w, sample.head_dim)
    k = torch.randn(2, sample.heads, rows * columns, sample.head_dim)
    listed = Places.at(keys.positions, keys.extent)
    out = module(q, k, k, places, keys)
    assert out.shape == q.shape
    close(module(q, k, k, places, listed), out, 2e-6)
