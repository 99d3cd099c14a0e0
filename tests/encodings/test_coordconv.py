import copy
import itertools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import concatenating_conv, coordinates
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.func import functional_call

from visionpe import CoordConv1d, CoordConv2d, Frame, coord_conv1d, coord_conv2d
from visionpe import coordinates as fast_coordinates
from visionpe.encodings import coordconv
from visionpe.encodings._coordterm import separates

MODES = ["zeros", "reflect", "replicate", "circular"]
KERNELS: list[tuple[Any, Any]] = [(3, 1), (5, 3), ((3, 5), (2, 0)), (4, "same"), (1, 0), (7, 3)]


def layer(*args: Any, **kwargs: Any) -> CoordConv2d:
    return CoordConv2d(*args, zero_init=False, **kwargs).double()


def reference(conv: CoordConv2d, x: Tensor) -> Tensor:
    h, w = x.shape[-2:]
    radius = conv.coord_weight.shape[1] == 3
    code = coordinates(h, w, radius=radius, align_corners=conv.align_corners)
    return concatenating_conv(x, code.to(x), conv.weight, conv.coord_weight, conv)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("kernel", "padding"), KERNELS)
@pytest.mark.parametrize(("h", "w", "batch"), [(9, 14, 3), (40, 53, 1)])
@pytest.mark.parametrize("strips", [False, True])
def test_output_and_gradients_are_the_concatenating_forms(
    mode: str,
    kernel: Any,
    padding: Any,
    h: int,
    w: int,
    batch: int,
    strips: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(coordconv, "separates", lambda *_: strips)
    strides = [1] if padding == "same" else [1, (3, 2)]
    for stride, dilation, groups, radius in itertools.product(strides, (1, 2), (1, 2), (0, 1)):
        conv = layer(
            4,
            6,
            kernel,
            stride,
            padding,
            dilation,
            groups,
            padding_mode=mode,
            radius=bool(radius),
            align_corners=bool(radius),
        )
        x = torch.randn(batch, 4, h, w, dtype=torch.float64, requires_grad=True)
        wanted, got = reference(conv, x), conv(x)
        torch.testing.assert_close(got, wanted, rtol=1e-10, atol=1e-10)
        inputs = [x, *conv.parameters()]
        outer = torch.randn_like(got)
        for a, b in zip(
            torch.autograd.grad(got, inputs, outer),
            torch.autograd.grad(wanted, inputs, outer),
            strict=True,
        ):
            torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)


@settings(deadline=None, max_examples=80, derandomize=True)
@given(
    h=st.integers(1, 40),
    w=st.integers(1, 40),
    kernel=st.integers(1, 5),
    stride=st.integers(1, 4),
    batch=st.integers(0, 3),
    radius=st.booleans(),
    channels_last=st.booleans(),
    strips=st.booleans(),
)
def test_any_size_from_one_cell_up_is_right(
    h: int,
    w: int,
    kernel: int,
    stride: int,
    batch: int,
    radius: bool,
    channels_last: bool,
    strips: bool,
) -> None:
    conv = layer(3, 2, kernel, stride, kernel // 2 + 1, radius=radius)
    layout = torch.channels_last if channels_last else torch.contiguous_format
    x = torch.randn(batch, 3, h, w, dtype=torch.float64).contiguous(memory_format=layout)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(coordconv, "separates", lambda *_: strips and batch > 0)
        got = conv(x)
    torch.testing.assert_close(got, reference(conv, x), rtol=1e-10, atol=1e-10)
    got.sum().backward()
    assert conv.coord_weight.grad is not None


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("mode", MODES)
def test_with_zero_coordinate_weights_it_is_the_plain_convolution_bit_for_bit(
    channels_last: bool, dtype: torch.dtype, mode: str
) -> None:
    arguments: dict[str, Any] = {"stride": 2, "padding": 2, "padding_mode": mode}
    torch.manual_seed(3)
    plain = nn.Conv2d(5, 7, 3, **arguments).to(dtype)
    torch.manual_seed(3)
    conv = CoordConv2d(5, 7, 3, **arguments).to(dtype)
    layout = torch.channels_last if channels_last else torch.contiguous_format
    plain, conv = plain.to(memory_format=layout), conv.to(memory_format=layout)
    x = torch.randn(2, 5, 9, 14, dtype=dtype).contiguous(memory_format=layout)
    assert torch.equal(conv(x), plain(x))
    assert conv(x).is_contiguous(memory_format=layout)
    frame = Frame.stack([Frame.identity(9, 14), Frame.identity(18, 30).crop(1, 2, h=9, w=14)])
    assert torch.equal(conv(x, frame), plain(x))


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("batch", [1, 3])
def test_large_maps_take_the_strips_and_small_ones_do_not(channels_last: bool, batch: int) -> None:
    layout = torch.channels_last if channels_last else torch.contiguous_format
    conv = CoordConv2d(2, 16, 3, padding=1, zero_init=False).to(memory_format=layout)
    x = torch.randn(batch, 2, 190, 201).contiguous(memory_format=layout)
    y = conv(x)
    assert separates(y.shape, y.dtype)
    torch.testing.assert_close(y, reference(conv, x), rtol=1e-5, atol=1e-5)
    assert y.is_contiguous(memory_format=layout)
    assert not separates((batch, 16, 50, 60), y.dtype)
    assert not separates(y.shape, torch.bfloat16)


def test_it_is_a_conv2d_and_takes_a_plain_checkpoint() -> None:
    plain, conv = nn.Conv2d(3, 4, 3), CoordConv2d(3, 4, 3)
    assert isinstance(conv, nn.Conv2d)
    missing = conv.load_state_dict(plain.state_dict(), strict=False)
    assert missing.missing_keys == ["coord_weight"]
    assert not missing.unexpected_keys
    x = torch.randn(1, 3, 6, 5)
    assert torch.equal(conv(x), plain(x))
    conv.reset_parameters()
    assert not torch.equal(conv.weight, plain.weight)
    assert not conv.coord_weight.any()


def test_the_papers_initialisation_is_over_the_joint_fan_in() -> None:
    conv = CoordConv2d(2, 64, 5, zero_init=False, radius=True)
    bound = (25 * (2 + 3)) ** -0.5
    for parameter in conv.parameters():
        assert parameter.abs().max() <= bound
        assert parameter.abs().max() > 0.9 * bound


@pytest.mark.parametrize("radius", [False, True])
def test_a_pixel_sees_the_same_coordinate_in_the_image_and_in_a_crop(radius: bool) -> None:
    conv = layer(3, 4, 3, radius=radius)
    x = torch.randn(2, 3, 20, 31, dtype=torch.float64)
    frames = [
        Frame.identity(20, 31).crop(4, 7, h=9, w=12),
        Frame.identity(20, 31).crop(10, 2, h=9, w=12),
    ]
    whole = conv(x)
    crops = torch.stack([x[0, :, 4:13, 7:19], x[1, :, 10:19, 2:14]])
    cropped = conv(crops, Frame.stack(frames))
    torch.testing.assert_close(cropped[0], whole[0, :, 4:11, 7:17], rtol=0, atol=1e-6)
    torch.testing.assert_close(cropped[1], whole[1, :, 10:17, 2:12], rtol=0, atol=1e-6)
    # without the frame, the crop takes itself for an image, and the answer differs
    assert (conv(crops)[0] - whole[0, :, 4:11, 7:17]).abs().max() > 1e-2


def test_a_plain_circular_convolution_commutes_with_shifts_and_coordinates_break_that() -> None:
    conv = layer(3, 4, 3, padding=1, padding_mode="circular")
    x = torch.randn(1, 3, 8, 11, dtype=torch.float64)
    assert (conv(x.roll(2, -1)) - conv(x).roll(2, -1)).abs().max() > 1e-2
    with torch.no_grad():
        conv.coord_weight.zero_()
    torch.testing.assert_close(conv(x.roll(2, -1)), conv(x).roll(2, -1))


@pytest.mark.parametrize("frames", [False, True])
@pytest.mark.parametrize("radius", [False, True])
def test_gradcheck(frames: bool, radius: bool) -> None:
    conv = layer(2, 3, 3, stride=2, padding=1, radius=radius)
    frame = Frame.stack([Frame.identity(9, 7).hflip()] * 2) if frames else None
    x = torch.randn(2, 2, 5, 7, dtype=torch.float64, requires_grad=True)
    coord_weight = conv.coord_weight.detach().requires_grad_()

    def run(x: Tensor, weight: Tensor, coord_weight: Tensor, bias: Tensor) -> Tensor:
        return coord_conv2d(x, weight, coord_weight, bias, stride=2, padding=1, frame=frame)

    assert conv.bias is not None
    inputs = (x, conv.weight, coord_weight, conv.bias)
    assert torch.autograd.gradcheck(run, inputs, fast_mode=True)
    assert torch.autograd.gradgradcheck(run, inputs, fast_mode=True)


def test_the_coordinate_term_is_computed_in_float32_whatever_the_dtype() -> None:
    conv = CoordConv2d(1, 1, 1, bias=False)
    with torch.no_grad():
        conv.weight.zero_()
        conv.coord_weight.fill_(1)
    for dtype in (torch.bfloat16, torch.float16):
        low = copy.deepcopy(conv).to(dtype)(torch.zeros(1, 1, 300, 500, dtype=dtype))
        exact = fast_coordinates(300, 500).sum(0)
        assert low.dtype == dtype
        assert torch.equal(low[0, 0], exact.to(dtype))
    with torch.autocast("cpu", torch.bfloat16):
        low = conv(torch.zeros(1, 1, 300, 500))
    assert low.dtype == torch.bfloat16
    assert torch.equal(low[0, 0], fast_coordinates(300, 500).sum(0).to(torch.bfloat16))


@pytest.mark.parametrize("radius", [False, True])
@pytest.mark.parametrize("mode", MODES)
def test_along_one_axis_it_is_the_concatenating_form_too(radius: bool, mode: str) -> None:
    conv = CoordConv1d(4, 6, 3, 2, 1, groups=2, padding_mode=mode, radius=radius, zero_init=False)
    conv = conv.double()
    x = torch.randn(3, 4, 13, dtype=torch.float64)
    code = coordinates(1, 13)[1]
    code = torch.cat([code, code.abs()])[: 1 + radius]
    wanted = concatenating_conv(x, code, conv.weight, conv.coord_weight, conv)
    torch.testing.assert_close(conv(x), wanted, rtol=1e-10, atol=1e-10)
    frame = Frame.stack([Frame.identity(1, 13)] * 3)
    torch.testing.assert_close(conv(x, frame), wanted, rtol=1e-7, atol=1e-7)


def test_function_and_module_agree() -> None:
    conv = CoordConv2d(3, 4, (3, 5), 2, (1, 2), zero_init=False)
    x = torch.randn(2, 3, 9, 8)
    assert torch.equal(
        conv(x),
        coord_conv2d(x, conv.weight, conv.coord_weight, conv.bias, stride=2, padding=(1, 2)),
    )
    line = CoordConv1d(3, 4, 3, zero_init=False)
    x = torch.randn(2, 3, 9)
    assert torch.equal(line(x), coord_conv1d(x, line.weight, line.coord_weight, line.bias))


@pytest.mark.slow
@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("radius", [False, True])
def test_it_compiles_whole_and_exports_with_open_sizes(radius: bool) -> None:
    conv = CoordConv2d(3, 4, 3, padding=1, zero_init=False, radius=radius).eval()
    x = torch.randn(2, 3, 9, 13)
    compiled = torch.compile(conv, fullgraph=True, backend="aot_eager", dynamic=True)
    torch.testing.assert_close(compiled(x), conv(x), rtol=1e-5, atol=1e-5)
    compiled(x).sum().backward()
    assert conv.coord_weight.grad is not None
    size = {2: torch.export.Dim("h", min=4, max=99), 3: torch.export.Dim("w", min=4, max=99)}
    program = torch.export.export(conv, (x,), dynamic_shapes=(size,)).module()
    other = torch.randn(2, 3, 17, 6)
    torch.testing.assert_close(program(other), conv(other), rtol=1e-5, atol=1e-5)


def test_it_survives_deepcopy_state_dict_and_an_empty_start() -> None:
    conv = CoordConv2d(3, 4, 3, zero_init=False)
    x = torch.randn(1, 3, 6, 5)
    assert torch.equal(copy.deepcopy(conv)(x), conv(x))
    empty = CoordConv2d(3, 4, 3, device="meta").to_empty(device="cpu")
    empty.load_state_dict(conv.state_dict())
    assert torch.equal(empty(x), conv(x))


def test_its_repr_says_what_it_is() -> None:
    assert repr(CoordConv2d(3, 8, 3, padding=1, radius=True)) == (
        "CoordConv2d(3, 8, kernel_size=(3, 3), stride=(1, 1), padding=(1, 1), "
        "radius=True, align_corners=False, zero_init=True)"
    )


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda x, w: coord_conv2d(x, w, torch.zeros(4, 5, 3, 3)),
            "`coord_weight` must have 2 input channels, or 3 with the radius, but has 5.",
        ),
        (
            lambda x, w: coord_conv2d(x, w, torch.zeros(4, 2, 3, 3), padding="sane"),
            "`padding` must be a number of cells, 'same' or 'valid', but is 'sane'.",
        ),
        (
            lambda x, w: coord_conv2d(x, w, torch.zeros(4, 2, 3, 3), padding_mode="mirror"),
            "`padding_mode` must be one of ('zeros', 'reflect', 'replicate', 'circular'), "
            "but is 'mirror'.",
        ),
        (
            lambda x, w: coord_conv2d(x, w, torch.zeros(4, 2, 3, 3), padding="same", stride=2),
            "`padding` 'same' must go with stride 1, but the stride is 2.",
        ),
        (
            lambda x, w: coord_conv2d(
                x, w, torch.zeros(4, 2, 3, 3), frame=Frame.stack([Frame.identity(9, 9)] * 3)
            ),
            "`frame` must hold one place for all or one for each of the 2 samples, but holds 3.",
        ),
        (
            lambda x, w: coord_conv1d(x[..., 0], w[..., 0], torch.zeros(4, 3, 3)),
            "`coord_weight` must have 1 input channels, or 2 with the radius, but has 3.",
        ),
    ],
)
def test_bad_input_is_refused_in_one_sentence(make: Any, message: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the whole message is compared
        make(torch.zeros(2, 3, 9, 9), torch.zeros(4, 3, 3, 3))
    assert str(caught.value) == message


# torch reads its own decompositions by its deprecated `torch.jit.script`, once a process.
@pytest.mark.filterwarnings("ignore:`torch.jit.script")
@pytest.mark.parametrize(
    ("make", "shape"),
    [
        (lambda: CoordConv2d(16, 8, 3, stride=2, padding=1, zero_init=False), (2, 16, 9, 7)),
        (lambda: CoordConv2d(1, 64, 3, padding=1, radius=True, zero_init=False), (1, 1, 96, 95)),
        (lambda: CoordConv2d(1, 64, 3, padding=1, zero_init=False), (1, 1, 96, 95)),  # strips
        (lambda: CoordConv1d(8, 5, 3, padding=1, zero_init=False), (2, 8, 11)),
    ],
)
def test_derivatives_in_forward_mode_are_the_limits_of_differences(
    make: Callable[[], nn.Module], shape: tuple[int, ...]
) -> None:
    module = make().double().requires_grad_(False)
    held = dict(module.named_parameters())
    x = torch.randn(shape, dtype=torch.float64)
    along_x, along = torch.randn_like(x), {n: torch.randn_like(p) for n, p in held.items()}

    def at(step: float) -> Tensor:
        moved = {name: p + step * along[name] for name, p in held.items()}
        out: Tensor = functional_call(module, moved, (x + step * along_x,))
        return out

    with forward_ad.dual_level():
        dual = {name: forward_ad.make_dual(p, along[name]) for name, p in held.items()}
        out = functional_call(module, dual, (forward_ad.make_dual(x, along_x),))
        tangent = forward_ad.unpack_dual(out).tangent
    torch.testing.assert_close(tangent, (at(1e-4) - at(-1e-4)) / 2e-4, rtol=0, atol=1e-7)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("framed", [False, True])
def test_an_image_without_a_batch_axis_is_a_batch_of_one(framed: bool) -> None:
    for layer, x in (
        (CoordConv2d(3, 4, 3, padding=1, zero_init=False), torch.randn(3, 5, 6)),
        (CoordConv2d(3, 4, 3, radius=True, zero_init=False), torch.randn(3, 5, 6)),
        (CoordConv1d(3, 4, 3, padding=1, zero_init=False), torch.randn(3, 6)),
    ):
        h = x.shape[-2] if x.dim() == 3 else 1
        frame = Frame.identity(8, 9).crop(1, 2, h=h, w=6) if framed else None
        assert torch.equal(layer(x, frame), layer(x[None], frame)[0])
