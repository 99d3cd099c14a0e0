"""Encodings of maps and tokens against those of timm, torchvision and positional-encodings."""

from collections.abc import Callable, Iterator
from functools import partial

import torch
from positional_encodings.torch_encodings import PositionalEncoding1D, PositionalEncoding2D
from timm.layers import build_fourier_pos_embed, build_sincos2d_pos_embed
from timm.models.twins import PosConv
from torch import Tensor, nn

from benchmarks.encodings_cases import Case, Side
from visionpe import (
    PEG,
    Places,
    PointEncoding,
    Sinusoidal2d,
    axis_fourier_code,
    fold,
    fourier_code,
    sinusoidal1d_code,
    sinusoidal2d_code,
)

WIDTH = 384
BATCHES = {14: 32, 32: 8, 64: 2}  # the same number of cells, about


def cases() -> Iterator[Case]:
    """All of them, at all lattices."""
    for n, b in BATCHES.items():
        yield from sinusoids(n, b)
        yield fourier(n)
        yield fourier(n, any_direction=True)
        yield peg(n, b)


def map_of(n: int) -> Callable[[Tensor], Tensor]:
    """What brings tokens, row by row, into the layout of a map `d n n`."""

    def view(tokens: Tensor) -> Tensor:
        return tokens.reshape(n, n, -1).movedim(-1, 0)

    return view


class Stem(nn.Module):
    """The start of a ViT with patches of one pixel: something that can be folded."""

    def __init__(self, encoding: PointEncoding) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, WIDTH, 1)
        self.encoding = encoding

    def forward(self, images: Tensor) -> Tensor:
        """Tokens with the code."""
        h, w = images.shape[-2:]
        return self.encoding.tokens(
            self.patches(images).flatten(2).mT.contiguous(), Places.of(h, w)
        )


def uncached(encoding: PositionalEncoding1D | PositionalEncoding2D, x: Tensor) -> Tensor:
    """A code of positional-encodings, made anew."""
    encoding.cached_penc = None
    out: Tensor = encoding(x)
    return out


def sinusoids(n: int, b: int) -> Iterator[Case]:
    """Their codes alone, and added to tokens."""
    size = f"{n}x{n}x{WIDTH}"

    def code() -> dict[str, Side]:
        encoding, x = PositionalEncoding2D(WIDTH), torch.zeros(1, n, n, WIDTH)

        def in_blocks(out: Tensor) -> Tensor:  # sines and cosines in turn -> one after the other
            parts: Tensor = out[0].unflatten(-1, (2, WIDTH // 4, 2))
            return parts.permute(2, 4, 3, 0, 1).flatten(0, 2)

        def timm() -> Tensor:
            out: Tensor = build_sincos2d_pos_embed([n, n], WIDTH, interleave_sin_cos=True)
            return out

        return {
            "visionpe": Side(lambda: sinusoidal2d_code(n, n, WIDTH)),
            "timm": Side(timm, view=map_of(n)),
            "positional-encodings": Side(lambda: uncached(encoding, x), view=in_blocks),
        }

    targets = {"timm": 0.5, "positional-encodings": 1.0}
    yield Case("sinusoidal2d_code", size, code, targets, ("forward",), 1e-5)

    def line() -> dict[str, Side]:
        encoding, x = PositionalEncoding1D(WIDTH), torch.zeros(1, n * n, WIDTH)

        def in_blocks(out: Tensor) -> Tensor:
            parts: Tensor = out[0].unflatten(-1, (WIDTH // 2, 2))
            return parts.permute(2, 1, 0).flatten(0, 1)

        return {
            "visionpe": Side(lambda: sinusoidal1d_code(n * n, WIDTH)),
            "positional-encodings": Side(lambda: uncached(encoding, x), view=in_blocks),
        }

    # Theirs are angles of thousands of radians in float32.
    targets, length = {"positional-encodings": 1.0}, f"{n * n}x{WIDTH}"
    yield Case("sinusoidal1d_code", length, line, targets, ("forward",), 1e-3)

    def added(once: bool = False) -> dict[str, Side]:
        x, places = torch.randn(b, n * n, WIDTH), Places.of(n, n)
        ours, encoding = Sinusoidal2d(), PositionalEncoding2D(WIDTH)
        if once:
            fold(Stem(ours).eval(), (n, n))
        order = torch.arange(WIDTH).unflatten(0, (2, WIDTH // 4, 2)).mT.flatten()

        def timm() -> Tensor:
            out: Tensor = x + build_sincos2d_pos_embed([n, n], WIDTH, interleave_sin_cos=True)
            return out

        def cached() -> Tensor:
            fmap = x.unflatten(1, (n, n))
            out: Tensor = (fmap + encoding(fmap)).flatten(1, 2)
            return out

        def in_blocks(out: Tensor) -> Tensor:
            return x + (out - x).index_select(-1, order)

        sides = {"visionpe": Side(lambda: ours.tokens(x, places))}
        if not once:
            sides["timm"] = Side(timm)
        return {**sides, "positional-encodings, cached": Side(cached, view=in_blocks)}

    # A code that is made once against one that is; anew against anew.
    yield Case("Sinusoidal2d on tokens", f"{b}x{size}", added, {"timm": 1.0}, ("forward",))
    targets = {"positional-encodings, cached": 1.0}
    folded = partial(added, once=True)
    yield Case("Sinusoidal2d folded", f"{b}x{size}", folded, targets, ("forward",))


def fourier(n: int, *, any_direction: bool = False) -> Case:
    """Waves along the axes, 64 a axis, up to 112 cycles: timm's `in_pixels` ones.

    With `any_direction` as wave vectors, which timm does not have: no bound, but the cost of them.
    """

    def build() -> dict[str, Side]:
        bands = torch.linspace(1, 112, 64)
        still = torch.zeros_like(bands)
        matrix = torch.stack([torch.cat([bands, still]), torch.cat([still, bands])], -1)
        angular = bands * torch.pi

        def timm() -> tuple[Tensor, ...]:
            return tuple(build_fourier_pos_embed([n, n], bands=angular, grid_type="centered"))

        def ours() -> tuple[Tensor, ...]:
            code = fourier_code(n, n, matrix) if any_direction else axis_fourier_code(n, n, bands)
            return code.chunk(2)

        return {
            "visionpe": Side(ours),
            "timm": Side(timm, view=lambda x: x.permute(2, 3, 0, 1).flatten(0, 1)),
        }

    name = "fourier_code" if any_direction else "axis_fourier_code"
    targets = {} if any_direction else {"timm": 1.0}
    # Theirs are angles of hundreds of radians in float32.
    return Case(name, f"{n}x{n}x256", build, targets, ("forward",), 1e-3)


def peg(n: int, b: int) -> Case:
    """On tokens, as in Twins."""

    def build() -> dict[str, Side]:
        ours, theirs = PEG(WIDTH, zero_init=False), PosConv(WIDTH, WIDTH)
        with torch.no_grad():
            assert ours.bias is not None
            theirs.proj[0].weight.copy_(ours.weight)
            theirs.proj[0].bias.copy_(ours.bias)
        x, places = torch.randn(b, n * n, WIDTH, requires_grad=True), Places.of(n, n)
        weights = [theirs.proj[0].weight, theirs.proj[0].bias]
        return {
            "visionpe": Side(lambda: ours.tokens(x, places), [x, ours.weight, ours.bias]),
            "timm": Side(lambda: theirs(x, (n, n)), [x, *weights]),
        }

    return Case("PEG on tokens", f"{b}x{n}x{n}x{WIDTH}", build, {"timm": 1.0}, atol=1e-4)
