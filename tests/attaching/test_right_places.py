"""Attached encodings act on the right pairs of tokens and at the right places of the image."""

from threading import Barrier, Thread
from typing import Any

import pytest
import timm
import torch
import torch.nn.functional as F
from backbones import ATTENTION, bias, learned, pvt, swin, torchvision_swin, unfused, vit
from torch import Tensor, nn

import visionpe
from visionpe import CoordConv, CoordConv2d, Frame, Learned2d, RelativeBias, Site
from visionpe.attaching.errors import AttachError
from visionpe.encodings.coord import coordinates


def output(model: nn.Module, x: Tensor, frame: Frame | None = None) -> Tensor:
    with torch.no_grad():
        result: Tensor = model(x, frame=frame) if frame else model(x)
    return result


def tables(model: nn.Module) -> list[nn.Parameter]:
    return list(model.get_submodule("visionpe").parameters())


def windows(h: int, w: int, window: int, by: int) -> Tensor:
    """The cells of a Swin block's windows, straight from the paper: shift, then cut."""
    cells = torch.stack(torch.meshgrid(torch.arange(h), torch.arange(w), indexing="ij"), -1).roll(
        (-by, -by), (0, 1)
    )
    cut: Tensor = (
        cells.unflatten(1, (-1, window)).unflatten(0, (-1, window)).transpose(1, 2).flatten(2, 3)
    ).flatten(0, 1)
    return cut  # windows n 2


@pytest.mark.parametrize("make", [swin, torchvision_swin])
def test_in_windows_shifted_or_not_attention_goes_to_the_left_neighbour(make: object) -> None:
    model = visionpe.attach(make().eval(), bias, at=_stage(make), size=(32, 48))  # type: ignore[operator]
    for table in tables(model):  # offset of query from key: (0, 1)
        nn.init.zeros_(table)
        table.data[:, 7 * 23 + 12] = 100.0
    seen: list[Tensor] = []

    with Noting("softmax", seen):
        output(model, torch.randn(3, 3, 32, 48))
    for by, weights in zip((0, 2), seen[:2], strict=True):
        places = windows(8, 12, 4, by)  # 6 16 2
        offsets = places[:, :, None] - places[:, None]  # query minus key
        left = (offsets == torch.tensor([0, 1])).all(-1)
        asking = left.any(-1)
        assert asking.sum() > 60
        weights = weights.view(3, 6, 2, 16, 16).transpose(1, 2)  # b w heads n m -> b heads w n m
        assert (weights[..., left] > 0.99).all()
        # A window's last column is no neighbour of the first, where the image was rolled.
        assert (weights[:, :, ~asking].amax(-1) < 0.9).all()


def _stage(make: object) -> str:
    return "layers.0" if make is swin else "features.1"


class Noting(torch.overrides.TorchFunctionMode):
    """Keeps the results of a function, from outside of everything that is attached."""

    def __init__(self, name: str, seen: list[Tensor]) -> None:
        super().__init__()
        self.name, self.seen = name, seen

    def __torch_function__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        result = func(*args, **(kwargs or {}))
        if getattr(func, "__name__", "") == self.name:
            self.seen.append(result)
        return result


@pytest.mark.parametrize("make", [swin, torchvision_swin])
def test_swins_own_table_and_an_attached_one_are_the_same(make: object) -> None:
    native = make().eval()  # type: ignore[operator]
    x = torch.randn(2, 3, 32, 48)
    own = {
        name: module.relative_position_bias_table
        for name, module in native.named_modules()
        if hasattr(module, "relative_position_bias_table")
    }
    for table in own.values():
        nn.init.normal_(table, std=5)
    wanted = output(native, x)
    kept = {name: table.detach().clone() for name, table in own.items()}
    for table in own.values():
        nn.init.zeros_(table)
    visionpe.attach(native, bias, size=(32, 48))
    assert not torch.allclose(output(native, x), wanted, atol=1e-3)
    for entry in visionpe.status(native)[0].entries:
        assert isinstance(entry.encoding, RelativeBias)
        h, w = entry.encoding.window
        small = kept[entry.site.module].T.unflatten(1, (7, 7))
        full = F.pad(small, (w - 4, w - 4, h - 4, h - 4))  # offsets up to 3, of up to h - 1
        entry.encoding.table.data.copy_(F.pad(full.flatten(1), (0, 3)))
    torch.testing.assert_close(output(native, x), wanted, rtol=1e-4, atol=1e-5)


def test_in_a_vit_the_class_token_is_left_alone_and_patches_look_left() -> None:
    model = unfused(vit()).eval()
    visionpe.attach(
        model, lambda s: RelativeBias(s.heads or 1, (3, 5)), at="blocks.2", size=(48, 80)
    )
    (table,) = tables(model)
    table.data[:, 2 * 9 + 5] = 100.0
    seen: list[Tensor] = []
    with Noting("softmax", seen):
        output(model, torch.randn(2, 3, 48, 80))
    weights = seen[2][:, :, 1:, 1:].unflatten(-1, (3, 5)).unflatten(2, (3, 5))
    for y in range(3):
        for x in range(1, 5):
            assert (weights[:, :, y, x, y, x - 1] > 0.99).all()
    assert (seen[2][:, :, 0].amax(-1) < 0.9).all()
    assert (seen[2][:, :, 1::5].amax(-1) < 0.9).all()  # the first column has no left neighbour


def test_reduced_keys_are_where_the_reduction_put_them() -> None:
    model = pvt().eval()
    site = visionpe.trace(model, 64, 96).attention[0]
    visionpe.attach(
        model, lambda s: RelativeBias(s.heads or 1, (16, 24)), at="stages.0", size=(64, 96)
    )
    (table,) = tables(model)
    nn.init.normal_(table)
    assert (site.call, site.key_lattice and site.key_lattice.h) == ("sdpa", 2)
    given: list[Tensor] = []

    class Given(torch.overrides.TorchFunctionMode):
        def __torch_function__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
            if getattr(func, "__name__", "") == "scaled_dot_product_attention":
                given.append(kwargs.get("attn_mask"))
            return func(*args, **(kwargs or {}))

    with Given():
        output(model, torch.randn(2, 3, 64, 96))
    y, x, row, column = 9, 17, 1, 2  # a reduction of 8: the first key is 3.5 cells from the edge
    dy, dx = y - 8 * row - 4, x - 8 * column - 4  # halves round up
    wanted = table[:, (dy + 15) * 47 + dx + 23]
    assert torch.equal(given[0][0, :, y * 24 + x, row * 3 + column], wanted)


@pytest.mark.parametrize("name", ["vit", "maxvit", "pvt", "torchvision vit"])
def test_the_frame_of_one_of_several_samples_is_its_own(name: str) -> None:
    backbone = ATTENTION[name]
    model, x = backbone.model(), backbone.images(3)
    visionpe.attach(model, learned, size=(backbone.h, backbone.w))
    visionpe.attach(model, lambda s: visionpe.RotaryDINOv3(), size=(backbone.h, backbone.w))
    for table in tables(model):
        nn.init.normal_(table)
    h, w = backbone.h, backbone.w
    whole = Frame.identity(2 * h, 3 * w)
    frames = [whole.crop(0, 0, h=h, w=w), whole.crop(7, w, h=h, w=w), whole.resize(h, w).hflip()]
    together = output(model, x, Frame.stack(frames))
    alone = [output(model, x[i : i + 1], frame) for i, frame in enumerate(frames)]
    torch.testing.assert_close(together, torch.cat(alone), rtol=1e-4, atol=1e-4)
    assert not torch.allclose(alone[0], output(model, x[:1], frames[1]), atol=1e-3)
    assert torch.equal(output(model, x), output(model, x, Frame.identity(h, w))) or name != "vit"


def test_a_frame_changes_what_an_absolute_table_adds() -> None:
    model = vit().eval()
    visionpe.attach(model, lambda s: Learned2d(64, (6, 10)), size=(48, 80))
    (table,) = tables(model)
    nn.init.normal_(table)
    given: list[Tensor] = []
    model.get_submodule("blocks.0").register_forward_pre_hook(lambda _, args: given.append(args[0]))
    x, frame = torch.randn(2, 3, 48, 80), Frame.identity(96, 160).crop(48, 80, h=48, w=80)
    output(model, x, frame)
    with visionpe.disabled(model):
        output(model, x, frame)
    added = (given[0] - given[1])[:, 1:].mT.unflatten(2, (3, 5))
    torch.testing.assert_close(added, table[:, 3:, 5:].expand(2, -1, -1, -1), rtol=1e-5, atol=1e-5)
    assert torch.equal(given[0][:, 0], given[1][:, 0])


def test_an_attached_coordconv_is_coordconv() -> None:
    plain = nn.Conv2d(3, 8, (3, 5), stride=2, padding=(1, 2))
    model = visionpe.attach(nn.Sequential(plain), CoordConv(radius=True), size=(8, 11))
    whole = CoordConv2d(3, 8, (3, 5), stride=2, padding=(1, 2), radius=True)
    whole.load_state_dict({**plain.state_dict(), "coord_weight": torch.randn(8, 3, 3, 5)})
    tables(model)[0].data.copy_(whole.coord_weight)
    x, frame = torch.randn(2, 3, 6, 7), Frame.identity(20, 30).crop(3, 4, h=12, w=14)
    assert torch.equal(model(x, frame=frame), whole(x, frame))
    assert torch.equal(model(x), whole(x))


def test_layers_with_as_many_cells_share_their_coordinates_within_a_call_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = []

    def counted(h: int, w: int, frame: Frame | None = None, **options: Any) -> Tensor:
        made.append((h, w, frame))
        return coordinates(h, w, frame, **options)

    monkeypatch.setattr("visionpe.attaching.in_convs.coordinates", counted)
    stride = nn.Conv2d(3, 4, 3, stride=2, padding=1)
    net = nn.Sequential(stride, nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 3, padding=1))
    visionpe.attach(net, CoordConv(), at="all", size=(8, 12))
    for weight in tables(net):
        nn.init.normal_(weight)
    x, frame = torch.randn(1, 3, 8, 12), Frame.identity(16, 12).crop(8, 0, h=8, w=12)
    whole, part = output(net, x), output(net, x, frame)
    assert made == [(8, 12, None), (4, 6, None), (8, 12, frame), (4, 6, frame)]
    assert not torch.equal(whole, part)
    with torch.inference_mode():
        net(x)
    net(x).sum().backward()  # nothing that inference mode made is part of the graph
    assert len(made) == 8
    alone = net[2](net[1](net[0](x)))
    assert torch.equal(alone, whole)
    assert len(made) == 11


def test_tensorflows_padding_pads_the_coordinates_too() -> None:
    model = timm.create_model("tf_mobilenetv3_small_minimal_100").eval()
    conv = model.conv_stem
    visionpe.attach(model, CoordConv(), size=(33, 48))
    (weight,) = tables(model)
    nn.init.normal_(weight)
    x = torch.randn(2, 3, 33, 48)
    code = visionpe.grid(33, 48).expand(2, -1, -1, -1)
    joint = F.pad(torch.cat([x, code], 1), (0, 1, 1, 1))
    wanted = F.conv2d(joint, torch.cat([conv.weight, weight], 1), stride=2)
    torch.testing.assert_close(conv(x), wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("what", [bias, learned])
def test_images_of_another_size_have_their_own_places(what: object) -> None:
    torch.manual_seed(1)
    model = vit(dynamic_img_size=True).eval()
    visionpe.attach(model, lambda s: _for_both(s, what), size=(48, 80))
    for table in tables(model):
        nn.init.normal_(table)
    for size in ((80, 48), (48, 112), (64, 64)):  # 5 x 3: as many tokens as 3 x 5
        x = torch.randn(2, 3, *size)
        got = output(model, x)
        other = vit(dynamic_img_size=True).eval()
        visionpe.attach(other, lambda s: _for_both(s, what), size=size)
        other.load_state_dict(model.state_dict())
        torch.testing.assert_close(got, output(other, x), rtol=1e-5, atol=1e-5)


def _for_both(site: Site, what: object) -> RelativeBias | Learned2d:
    if what is bias:
        return RelativeBias(site.heads or 1, (7, 7))
    return Learned2d(site.shape[-1], (3, 5))


def test_windows_are_known_for_one_size_only() -> None:
    model = visionpe.attach(swin(strict_img_size=False).eval(), bias, size=(32, 48))
    with pytest.raises(AttachError) as error:
        model(torch.randn(1, 3, 64, 48))
    assert str(error.value) == (
        "`layers.0.blocks.0.attn` attends in windows or between irregular places, which are known "
        "for images of 32 x 48 pixels only, but these have 64 x 48. "
        "Detach, and attach again with `size=(64, 48)`."
    )


def test_frames_of_two_threads_do_not_meet() -> None:
    model = vit().eval()
    visionpe.attach(model, lambda s: Learned2d(64, (6, 10), init_std=1.0), size=(48, 80))
    whole, x = Frame.identity(96, 160), torch.randn(1, 3, 48, 80)
    frames = [whole.crop(48 * i, 80 * j, h=48, w=80) for i in (0, 1) for j in (0, 1)]
    wanted = [output(model, x, frame) for frame in frames]
    meet, got = Barrier(4), [torch.empty(0)] * 4
    # All are inside the model at once.

    def wait(*_: object) -> None:
        meet.wait(10)

    model.get_submodule("patch_embed").register_forward_hook(wait)

    def run(i: int) -> None:
        got[i] = output(model, x, frames[i])

    threads = [Thread(target=run, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(torch.equal(a, b) for a, b in zip(got, wanted, strict=True))
