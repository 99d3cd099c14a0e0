"""Position encodings as they should not be: one fault each, but for `Sound`, which has none."""

import functools
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from visionpe import Frame, MapEncoding, Places, PointEncoding


def waves(n: int, width: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """The sinusoids of `n` positions, `n width`."""
    k = torch.arange(width // 2, device=device, dtype=dtype)
    angles = torch.arange(n, device=device, dtype=dtype)[:, None] * 100 ** (-2 * k / width)
    return torch.cat([angles.sin(), angles.cos()], -1)


class Sound(nn.Module):
    """Adds half the channels of sinusoids an axis to a map `b h w c`."""

    def code(self, x: Tensor) -> Tensor:
        h, w, c = x.shape[-3:]
        wide = torch.promote_types(x.dtype, torch.float32)
        y, z = (waves(n, c // 2, wide, x.device) for n in (h, w))
        code = torch.cat([y[:, None].expand(h, w, -1), z.expand(h, w, -1)], -1)
        return nn.functional.pad(code, (0, c - code.shape[-1]))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.code(x).to(x.dtype)


class SoundTokens(nn.Module):
    def forward(self, x: Tensor, start: int = 0) -> Tensor:
        n, c = x.shape[-2:]
        wide = torch.promote_types(x.dtype, torch.float32)
        code = waves(n + start, 2 * (c // 2), wide, x.device)[start:]
        return x + nn.functional.pad(code, (0, c % 2)).to(x.dtype)


class Swapped(Sound):
    """Fills a `w x h` array and reads it as `h x w`."""

    def code(self, x: Tensor) -> Tensor:
        h, w = x.shape[-3:-1]
        return super().code(x.transpose(-3, -2)).reshape(h, w, -1)


class Transposed(Sound):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).transpose(-3, -2)


class OtherAxis(nn.Module):
    """Divides each coordinate by the other axis' length."""

    def forward(self, x: Tensor) -> Tensor:
        h, w = x.shape[-3:-1]
        y = (torch.arange(h) / w)[:, None].expand(h, w)
        z = (torch.arange(w) / h).expand(h, w)
        return torch.cat([x, torch.stack([y, z], -1).expand(*x.shape[:-1], 2)], -1)


class EndsAtOne(nn.Module):
    """Divides by `n - 1`."""

    def forward(self, x: Tensor) -> Tensor:
        h, w = x.shape[-3:-1]
        y = (torch.arange(h) / torch.tensor(h - 1))[:, None].expand(h, w)
        z = (torch.arange(w) / torch.tensor(w - 1)).expand(h, w)
        return torch.cat([x, torch.stack([y, z], -1).expand(*x.shape[:-1], 2)], -1)


class EvenOnly(Sound):
    def forward(self, x: Tensor) -> Tensor:
        assert x.shape[-1] % 2 == 0
        return super().forward(x)


class FirstSample(Sound):
    def forward(self, x: Tensor) -> Tensor:
        return x + self.code(x[0])


class ReadsMemory(nn.Module):
    """Takes the map's memory for its values in order."""

    def forward(self, x: Tensor) -> Tensor:
        return x.as_strided(x.shape, torch.empty(x.shape).stride()) * 2


class IgnoresStart(SoundTokens):
    def forward(self, x: Tensor, start: int = 0) -> Tensor:
        return super().forward(x)


class IgnoresFrame(PointEncoding):
    def forward(self, x: Tensor, frame: Frame | None = None) -> Tensor:
        ramp = torch.arange(x.shape[-2], device=x.device).to(x.dtype)
        return x + ramp[:, None]

    def tokens(self, x: Tensor, places: Places) -> Tensor:
        return x + places.positions[..., :1]


class OffByHalf(MapEncoding):
    """Has another idea of no frame than of the whole image."""

    def forward(self, x: Tensor, frame: Frame | None = None) -> Tensor:
        return x if frame is None else x + 0.5


class HalfAngles(SoundTokens):
    """Counts positions in the input's dtype."""

    def forward(self, x: Tensor, start: int = 0) -> Tensor:
        return x + waves(x.shape[-2], x.shape[-1], x.dtype, x.device)


class HalfTable(nn.Module):
    """Keeps its frequencies in a buffer that `.half()` casts."""

    inv: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("inv", 100 ** (-torch.arange(4) / 4))

    def forward(self, x: Tensor) -> Tensor:
        angles = torch.arange(x.shape[-2], dtype=self.inv.dtype)[:, None] * self.inv
        return x + torch.cat([angles.sin(), angles.cos()], -1).to(x.dtype)


class HalfMatmul(nn.Module):
    """Multiplies positions with frequencies by a matmul, which autocast takes for a layer's."""

    def forward(self, x: Tensor) -> Tensor:
        k = 100.0 ** -(torch.arange(4, dtype=torch.float32)[None] / 4)
        angles = torch.arange(x.shape[-2], dtype=torch.float32)[:, None] @ k
        return x + torch.cat([angles.sin(), angles.cos()], -1).to(x.dtype)


class LearnedFrequencies(nn.Module):
    """Lets `.bfloat16()` round its learned frequencies."""

    def __init__(self) -> None:
        super().__init__()
        self.inv = nn.Parameter(100 ** (-torch.arange(4) / 4))

    def forward(self, x: Tensor) -> Tensor:
        wide = torch.promote_types(self.inv.dtype, torch.float32)
        angles = torch.arange(x.shape[-2], dtype=wide)[:, None] * self.inv.to(wide)
        return x + torch.cat([angles.sin(), angles.cos()], -1).to(x.dtype)


class Promotes(Sound):
    """Gives float32 whatever it is given."""

    def forward(self, x: Tensor) -> Tensor:
        return x + self.code(x)


class Caching(Sound):
    """Keeps codes by what `key` says."""

    def __init__(self) -> None:
        super().__init__()
        self.kept: dict[Any, Tensor] = {}

    def key(self, x: Tensor) -> Any:
        return x.shape[1:], x.dtype, x.device

    def forward(self, x: Tensor) -> Tensor:
        if self.key(x) not in self.kept:
            self.kept = {self.key(x): self.code(x).to(x.dtype)}
        return x + self.kept[self.key(x)]


class ForgetsDtype(Caching):
    def key(self, x: Tensor) -> Any:
        return x.shape[1:], x.device


class ForgetsDevice(Caching):
    def key(self, x: Tensor) -> Any:
        return x.shape[1:], x.dtype

    def forward(self, x: Tensor) -> Tensor:
        super().forward(torch.zeros_like(x))
        return self.kept[self.key(x)].clone()


class ForgetsSize(Caching):
    def key(self, x: Tensor) -> Any:
        return x.shape[1] * x.shape[2], x.dtype, x.device

    def forward(self, x: Tensor) -> Tensor:
        flat = x.flatten(1, 2)
        if self.key(x) not in self.kept:
            self.kept = {self.key(x): self.code(x).flatten(0, 1).to(x.dtype)}
        return (flat + self.kept[self.key(x)]).view(x.shape)


class Hoards(Caching):
    """Keeps the codes of all sizes."""

    def forward(self, x: Tensor) -> Tensor:
        return x + self.kept.setdefault(self.key(x), self.code(x).to(x.dtype))


@functools.cache
def _remembered(h: int, w: int, c: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    return Sound().code(torch.empty(h, w, c, dtype=dtype, device=device)).to(dtype)


class HoardsElsewhere(nn.Module):
    """Keeps them in a function's cache."""

    def forward(self, x: Tensor) -> Tensor:
        return x + _remembered(*x.shape[1:], x.dtype, x.device)


class CopiesEachSample(Caching):
    def forward(self, x: Tensor) -> Tensor:
        self.kept = {0: self.code(x).to(x.dtype).repeat(x.shape[0], 1, 1, 1)}
        return x + self.kept[0]


class GivesItsCache(Caching):
    """Returns the table itself, made under whatever mode was on."""

    def forward(self, x: Tensor) -> Tensor:
        super().forward(x)
        return self.kept[self.key(x)]


class ForgetsState(nn.Module):
    """Keeps the code of the frequencies that it first had."""

    inv: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("inv", 100 ** (-torch.arange(4) / 4))
        self.kept: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        if self.kept is None or self.kept.shape[0] != x.shape[-2]:
            self.kept = torch.arange(x.shape[-2])[:, None] * self.inv.repeat(2)
        return x + self.kept.sin()


class UnsavedTable(nn.Module):
    """Has a table that no state dict holds."""

    table: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("table", torch.arange(8.0), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.table


class SavedTable(nn.Module):
    """Has one that must be loaded, though it never changes."""

    table: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("table", torch.arange(8.0))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.table


class FilledOnUse(nn.Module):
    """Fills a buffer at the first call, and remembers that it did."""

    table: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("table", torch.zeros(8), persistent=False)
        self.filled = False

    def forward(self, x: Tensor) -> Tensor:
        if not self.filled:
            self.table.copy_(torch.arange(8.0))
            self.filled = True
        return x + self.table


class HasLambda(Sound):
    def __init__(self) -> None:
        super().__init__()
        self.function: Callable[[Tensor], Tensor] = lambda x: x + 1

    def forward(self, x: Tensor) -> Tensor:
        return self.function(super().forward(x))


class KeepsGraph(nn.Module):
    """Keeps what it computed from its weights, gradient and all."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(8))

    def forward(self, x: Tensor) -> Tensor:
        self.last = self.weight * 2
        return x * self.last


class Unregistered(nn.Module):
    """Draws a table that is neither parameter nor buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.table = torch.randn(8)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.table.to(x.dtype)


class Weighted(nn.Module):
    """Sound, with a zero-initialised path."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(8, 8)
        self.outer = nn.Linear(8, 8, bias=False)
        nn.init.zeros_(self.outer.weight)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.outer(self.inner(x).relu())
        return out


class Unused(Weighted):
    def __init__(self) -> None:
        super().__init__()
        self.spare = nn.Parameter(torch.zeros(3))


class TimesZero(Weighted):
    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.zeros(8))

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + 0 * self.gain


class RootOfZero(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.zeros(8))

    def forward(self, x: Tensor) -> Tensor:
        return x + (self.gain * 0.0).sqrt() + self.gain


class WritesInput(Sound):
    def forward(self, x: Tensor) -> Tensor:
        return x.add_(self.code(x))


class DrawsInEval(Sound):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + torch.rand(())


class Breaks(Sound):
    """Takes a number out of a tensor."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * math.exp(float(x.abs().max()))


class BakesSize(Sound):
    """Remembers the size of the first call."""

    def __init__(self) -> None:
        super().__init__()
        self.size: tuple[int, int] | None = None

    def forward(self, x: Tensor) -> Tensor:
        h, w = int(x.shape[1]), int(x.shape[2])
        if h == 5:
            return super().forward(x) + 1
        return super().forward(x) + w


class AsksWhichIsLonger(Sound):
    """Reads rows and columns off the longer side's line: a graph holds which side that is."""

    def forward(self, x: Tensor) -> Tensor:
        h, w = x.shape[1], x.shape[2]
        lines = torch.zeros(2, torch.sym_max(h, w))
        rows, columns = (lines.narrow(1, 0, n).flatten(0, 1)[:n] for n in (h, w))
        return super().forward(x) + rows[:, None, None] + columns[:, None]


class NoOnnx(Sound):
    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = super().forward(x) + torch.special.bessel_j0(x)
        return out
