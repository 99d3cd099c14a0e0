import pytest
import torch
from torch import Tensor, nn

from visionpe import AddCoords, AppendSinusoidal2d, Learned2d
from visionpe.models.toy import MapToPoint, PointToImage, PointToMap, he_normal_
from visionpe.models.toy_baselines import (
    ConvMapToPoint,
    DeconvPointToMap,
    DoublingDeconv,
    StridedMapToPoint,
)


def parameters(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


def test_parameter_counts_are_the_papers() -> None:
    """Table of arXiv 1807.03247, appendix, and its released code."""
    assert parameters(PointToMap(AddCoords())) == 7_553
    assert parameters(PointToMap(AddCoords(radius=True))) == 7_585
    rendering = [
        [parameters(PointToImage(AddCoords(), kernel=k, multiplier=c)) for c in (1, 2)]
        for k in (1, 3)
    ]
    assert rendering == [[8_074, 9_490], [11_850, 24_210]]
    assert parameters(MapToPoint(AddCoords())) == 906
    deconv = [
        [parameters(DeconvPointToMap(kernel=k, multiplier=c)) for c in (1, 2, 3)] for k in (2, 3, 4)
    ]
    assert deconv == [
        [46_465, 183_041, 409_729],
        [103_585, 409_921, 919_009],
        [183_553, 727_553, 1_632_001],
    ]
    assert [parameters(ConvMapToPoint(multiplier=c)) for c in (1, 2)] == [72_850, 159_330]
    assert [parameters(StridedMapToPoint(multiplier=c)) for c in (1, 2)] == [12_914, 49_890]


def convolutions(net: PointToMap, points: Tensor) -> Tensor:
    """The classification net as the paper draws it: 1x1 convolutions over the tiled canvas."""
    assert net.encoding is not None
    x: Tensor = net.encoding(points[:, :, None, None].expand(-1, -1, *net.size))
    for layer in net.layers:
        if isinstance(layer, nn.Linear):
            x = nn.functional.conv2d(x, layer.weight[:, :, None, None], layer.bias)
        else:
            x = layer(x)
    return x.flatten(1)


@pytest.mark.parametrize("encoding", [AddCoords(), AppendSinusoidal2d(8)])
def test_rows_of_cells_are_the_papers_1x1_convolutions(
    encoding: AddCoords | AppendSinusoidal2d,
) -> None:
    net = PointToMap(encoding, h=9, w=13)
    points = torch.rand(3, 2) * 8
    torch.testing.assert_close(net(points), convolutions(net, points))


def test_some_cells_alone_have_the_logits_they_have_among_all() -> None:
    net = PointToMap(AddCoords(), h=9, w=13, scaled=True)
    points = torch.rand(3, 2) * 8
    cells = torch.randint(9 * 13, (3, 5))
    torch.testing.assert_close(net(points, cells), net(points).gather(1, cells))


def test_without_an_encoding_all_cells_are_alike() -> None:
    logits = PointToMap(None, h=9, w=13)(torch.rand(2, 2))
    assert torch.equal(logits, logits[:, :1].expand(2, 117))


def test_scaled_points_lie_where_aligned_coordinates_do() -> None:
    scaled, raw = PointToMap(AddCoords(), scaled=True), PointToMap(AddCoords())
    raw.load_state_dict(scaled.state_dict())
    corner, middle = torch.tensor([[0.0, 63.0]]), torch.tensor([[31.5, 31.5]])
    assert torch.equal(scaled(corner), raw(torch.tensor([[-1.0, 1.0]])))
    assert torch.equal(scaled(middle), raw(torch.zeros(1, 2)))


def test_every_network_gives_its_shape_and_takes_gradients() -> None:
    points, maps = torch.rand(2, 2) * 60, torch.rand(2, 1, 64, 64)
    cases: list[tuple[nn.Module, Tensor, tuple[int, ...]]] = [
        (PointToMap(AddCoords(radius=True)), points, (2, 4096)),
        (PointToImage(AddCoords()), points, (2, 4096)),
        (MapToPoint(AddCoords()), maps, (2, 2)),
        (MapToPoint(AddCoords(), pool="mean"), maps[..., :50, :31], (2, 2)),
        (DeconvPointToMap(kernel=3), points, (2, 4096)),
        (DeconvPointToMap(kernel=4), points, (2, 4096)),
        (ConvMapToPoint(), maps, (2, 2)),
        (StridedMapToPoint(), maps, (2, 2)),
    ]
    for network, inputs, shape in cases:
        output = network(inputs)
        assert output.shape == shape
        output.square().sum().backward()
        assert all(p.grad is not None for p in network.parameters())


def test_a_transposed_same_convolution_is_the_transpose_of_the_same_convolution() -> None:
    """TensorFlow's "same" at stride 2 pads the surplus at the far end; its transpose crops it."""
    for kernel in (2, 3, 4):
        layer = DoublingDeconv(2, 3, kernel)
        surplus = kernel - 2
        y = torch.randn(1, 3, 8, 12)
        padded = nn.functional.pad(y, [surplus // 2, surplus - surplus // 2] * 2)
        forward = nn.functional.conv2d(padded, layer.weight, stride=2)
        x = torch.randn_like(forward)
        assert layer.bias is not None
        back = layer(x) - layer.bias[:, None, None]
        torch.testing.assert_close((forward * x).sum(), (y * back).sum(), rtol=1e-4, atol=1e-4)


def test_he_normal_has_the_fan_ins_variance_and_no_biases() -> None:
    network = he_normal_(nn.Sequential(nn.Conv2d(50, 80, 3), nn.ConvTranspose2d(50, 80, 4)))
    for layer, fan_in in zip(network.children(), (50 * 9, 50 * 16), strict=True):
        weight, bias = layer.parameters()
        assert weight.std().item() == pytest.approx((2 / fan_in) ** 0.5, rel=0.03)
        assert not bias.any()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: PointToMap(h=1), "`h` and `w` must be at least 2 cells, but are 1 and 64."),
        (
            lambda: PointToMap(Learned2d(8, (4, 4))),
            "`x` must have the 8 channels that Learned2d is made for, but has 2.",
        ),
        (
            lambda: PointToImage(kernel=2),
            "`kernel` must be an odd number of cells, but is 2.",
        ),
        (lambda: PointToImage(multiplier=0), "`multiplier` must be at least 1, but is 0."),
        (
            lambda: MapToPoint(pool="sum"),  # type: ignore[arg-type]
            "`pool` must be 'max' or 'mean', but is 'sum'.",
        ),
        (lambda: DeconvPointToMap(kernel=5), "`kernel` must be 2, 3 or 4 cells, but is 5."),
        (lambda: DeconvPointToMap(multiplier=0), "`multiplier` must be at least 1, but is 0."),
        (lambda: ConvMapToPoint(multiplier=-1), "`multiplier` must be at least 1, but is -1."),
        (lambda: StridedMapToPoint(multiplier=0), "`multiplier` must be at least 1, but is 0."),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_bad_input_is_refused_in_one_sentence(make: object, message: str) -> None:
    assert callable(make)
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the whole message is compared
        make()
    assert str(caught.value) == message
