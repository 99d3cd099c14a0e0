import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from visionpe.models.synthesis import AdaIN, FirstBlock, NoiseInjection, Styled


def test_noise_starts_silent_and_is_one_map_for_all_channels() -> None:
    layer, x = NoiseInjection(3), torch.randn(2, 3, 4, 6)
    assert torch.equal(layer(x), x)
    with torch.no_grad():
        layer.strength.copy_(torch.tensor([1.0, -2.0, 0.0]))
    added = layer(x) - x
    torch.testing.assert_close(added[:, 1], -2 * added[:, 0], rtol=0, atol=1e-5)
    assert added[:, 2].abs().max() == 0
    assert (added[0, 0] - added[1, 0]).abs().max() > 0.1  # every sample has its own
    assert not torch.equal(layer(x), layer(x))
    noise = torch.randn(1, 1, 4, 6)
    wanted = x + layer.strength[:, None, None] * noise
    torch.testing.assert_close(layer(x, noise), wanted, rtol=0, atol=1e-6)


def test_adain_is_instance_normalisation_in_the_style_of_the_latent() -> None:
    layer = AdaIN(3, 5).double()
    x, z = torch.randn(2, 3, 4, 6).double(), torch.randn(2, 5).double()
    scale, shift = layer.style(z)[:, :, None, None].chunk(2, 1)
    wanted = scale * F.instance_norm(x, eps=1e-8) + shift
    torch.testing.assert_close(layer(x, z), wanted, rtol=0, atol=1e-10)
    out = layer(3 * x + 7, z)  # whatever the input's own mean and deviation
    torch.testing.assert_close(out, wanted, rtol=0, atol=1e-6)
    torch.testing.assert_close(out.mean((2, 3)), shift[..., 0, 0], rtol=0, atol=1e-10)
    assert (layer(x, z) - layer(x, -z)).abs().max() > 0.1


def test_adains_style_starts_at_one_and_nothing() -> None:
    layer = AdaIN(2, 4)
    assert layer.style.bias.tolist() == [1, 1, 0, 0]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_constant_map_is_no_division_by_zero_in_half_precision(dtype: torch.dtype) -> None:
    layer = AdaIN(3, 5).to(dtype)
    out = layer(torch.ones(2, 3, 4, 6, dtype=dtype), torch.randn(2, 5, dtype=dtype))
    assert out.dtype == dtype
    assert out.isfinite().all()


def test_what_follows_a_layer_comes_in_the_papers_order() -> None:
    layer = Styled(3, 5)
    torch.nn.init.normal_(layer.bias)
    torch.nn.init.normal_(layer.noise.strength)
    x, z, noise = torch.randn(2, 3, 4, 6), torch.randn(2, 5), torch.randn(2, 1, 4, 6)
    noisy = x + layer.noise.strength[:, None, None] * noise + layer.bias[:, None, None]
    wanted = layer.adain(torch.where(noisy > 0, noisy, 0.2 * noisy), z)
    torch.testing.assert_close(layer(x, z, noise), wanted)


def test_the_first_block_has_the_papers_parameters() -> None:
    """Constant 512 x 4 x 4, one 3x3 convolution, and two styles: noise, bias, 512 to 1024."""
    block = FirstBlock()
    convolution, styled = 512 * 512 * 9, 512 + 512 + 512 * 1024 + 1024
    assert sum(p.numel() for p in block.parameters()) == 512 * 16 + convolution + 2 * styled
    assert block(torch.randn(2, 512)).shape == (2, 512, 4, 4)


def test_at_the_start_a_sample_differs_by_its_latent_alone() -> None:
    block = FirstBlock(4, 3, 5, latent=6)
    z = torch.randn(2, 6)
    assert torch.equal(block(z), block(z))
    assert (block(z)[0] - block(z)[1]).abs().max() > 1e-3
    same = block(z[:1].expand(2, -1))
    torch.testing.assert_close(same[0], same[1])


def test_all_parameters_of_the_block_get_a_gradient() -> None:
    block = FirstBlock(4, 3, 5, latent=6)
    torch.nn.init.normal_(block.constant.constant)
    outer: Tensor = torch.randn(2, 4, 3, 5)
    (block(torch.randn(2, 6)) * outer).sum().backward()
    for name, parameter in block.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 0, name
