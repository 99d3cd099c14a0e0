"""Fixed sinusoids on sequences and rows of pixels: arXiv 1706.03762, as it is."""

from typing import final

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from visionpe.encodings._stored import stored
from visionpe.encodings.base import require_batch, require_floating
from visionpe.encodings.precision import code_dtype, widest_dtype
from visionpe.encodings.sinusoid import require_temperature, sinusoid
from visionpe.frame import Frame
from visionpe.grids import line_positions, positions


def sinusoidal1d(
    points: Float[Tensor, "*b n"] | Int[Tensor, "*b n"],
    width: int,
    *,
    temperature: float = 10000.0,
) -> Float[Tensor, "*b d n"]:
    """The sinusoidal code of positions on a line, the sines before the cosines.

    The paper has the same channels, sine and cosine in turn.

    Args:
        points: positions in cells, whole or not.
        width: number of channels, at least 1. An odd one has no cosine of the slowest wave.
        temperature: the longest wavelength, in units of 2 pi cells.

    Raises:
        ValueError: if `width` is below 1, or `temperature` not positive.

    >>> import torch
    >>> sinusoidal1d(torch.tensor([0.0]), 3).flatten().tolist()
    [0.0, 0.0, 1.0]
    """
    return _code(points, width, temperature, code_dtype(points))


def sinusoidal1d_code(
    n: int,
    width: int,
    *,
    temperature: float = 10000.0,
    cells: int | None = None,
    device: torch.device | str | None = None,
    dtype: torch.dtype = torch.float32,
) -> Float[Tensor, "d n"]:
    """`sinusoidal1d` at the cells of a line of `n`, from `n / 32 + 32` sines a frequency.

    The angles of every 32nd cell and of the first 32 add up, in double precision; of every 16th on
    short lines.

    Args:
        n: number of cells.
        width: number of channels, at least 1; see `sinusoidal1d`.
        temperature: the longest wavelength, in units of 2 pi cells.
        cells: how many cells the whole line counts as; by default `n`.

    Raises:
        ValueError: if `width` or `cells` is below 1, or `temperature` not positive.

    >>> import torch
    >>> bool((sinusoidal1d_code(3, 8) == sinusoidal1d(torch.arange(3.0), 8)).all())
    True
    """
    _require_width(width)
    points = line_positions(n, cells=cells, device=device, dtype=widest_dtype(device))
    if torch.compiler.is_exporting():  # to where a line of any length has no number of blocks
        return _code(points, width, temperature, dtype)
    graph = torch.compiler.is_compiling()  # it must not ask for the length
    even = width + width % 2
    block = 32 if graph or n > 512 else 16
    few = torch.arange(block if graph else min(n, block), device=device, dtype=points.dtype)
    if cells is not None:
        few *= cells / n
    if graph:  # with a block too many: a graph of any length has two blocks at least
        starts = torch.arange(n // block + 2, device=device, dtype=points.dtype) * block
        starts = points[:1] + (starts if cells is None else starts * (cells / n))
    else:
        starts = points[::block]
    # One call for both: on short lines the number of calls is the cost.
    both = sinusoid(torch.cat([few, starts]), even, temperature=temperature)
    near, far = both.split([few.shape[0], starts.shape[0]], -1)
    (sin_near, cos_near), (sin, cos) = near[:, :, None], far[..., None]
    if graph:
        waves = [sin * cos_near + cos * sin_near, cos * cos_near - sin * sin_near]
        out = stored(torch.stack(waves).to(dtype))
    else:
        out = sin.new_empty(2, even // 2, far.shape[-1], few.shape[0], dtype=dtype)
        out[0] = (sin * cos_near).addcmul_(cos, sin_near)
        out[1] = (cos * cos_near).addcmul_(sin, sin_near, value=-1)
    return out.flatten(2).flatten(0, 1).narrow(0, 0, width).narrow(1, 0, n)


@final
class Sinusoidal1d(nn.Module):
    """Adds the sinusoidal code to sequences `b c n`, as wide as they have channels.

    A sequence is a row of pixels, its position the frame's `x`, as for `CoordConv1d`.

    Args:
        temperature: the longest wavelength, in units of 2 pi cells.
        cells: how many cells the whole sequence counts as; by default its own number, so that
            positions are 0 to `n - 1`.

    Raises:
        ValueError: if `temperature` or `cells` is not positive.

    >>> import torch
    >>> Sinusoidal1d()(torch.zeros(1, 2, 1)).flatten().tolist()
    [0.0, 1.0]
    """

    def __init__(self, *, temperature: float = 10000.0, cells: int | None = None) -> None:
        super().__init__()
        require_temperature(temperature)
        if cells is not None and cells < 1:
            raise ValueError(f"`cells` must be at least 1 cell, but is {cells}.")
        self.temperature = temperature
        self.cells = cells

    def forward(
        self, x: Float[Tensor, "b c n"], frame: Frame | None = None
    ) -> Float[Tensor, "b c n"]:
        """The sequence with the code added, in its dtype.

        Args:
            x: a sequence, or a row of pixels.
            frame: where the row sits in its image; without it, it is the whole.
        """
        require_batch(frame, x.shape[0])
        require_floating("x", x)
        exact = widest_dtype(x.device)
        n = x.shape[-1]
        if frame is None:
            return x + sinusoidal1d_code(
                n,
                x.shape[1],
                temperature=self.temperature,
                cells=self.cells,
                device=x.device,
                dtype=x.dtype,
            )
        cells = None if self.cells is None else (1, self.cells)
        places = positions(1, n, frame, cells=cells, device=x.device, dtype=exact)
        points = places[..., 1, 0, :]  # *b 2 1 n -> *b n
        return x + _code(points, x.shape[1], self.temperature, x.dtype)

    def __repr__(self) -> str:
        return f"Sinusoidal1d(temperature={self.temperature}, cells={self.cells})"


def _code(
    points: Float[Tensor, "*b n"], width: int, temperature: float, dtype: torch.dtype
) -> Float[Tensor, "*b d n"]:
    """`sinusoidal1d`, in another dtype than the positions'."""
    _require_width(width)
    even = width + width % 2
    waves = sinusoid(points, even, temperature=temperature, dtype=dtype)  # 2 bands *b n
    return waves.flatten(0, 1).narrow(0, 0, width).movedim(0, -2)


def _require_width(width: int) -> None:
    if width < 1:
        raise ValueError(
            f"`width` (the number of channels) must be at least 1, but is {width}. "
            "A line has a sine at least."
        )
