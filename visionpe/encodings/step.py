"""The diffusion step as a position: arXiv 2006.11239 (DDPM).

The transformer's sinusoid of a scalar, half sines and half cosines, then two layers. Libraries
disagree on which half comes first and on the last frequency; each form is a function of its own.
"""

from typing import final

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from visionpe.encodings.precision import widest_dtype
from visionpe.encodings.sinusoid import sinusoid

Step = Int[Tensor, "*b"] | Float[Tensor, "*b"]


def step_code(
    t: Step, width: int, *, max_period: float = 10000.0, dtype: torch.dtype | None = None
) -> Float[Tensor, "*b d"]:
    """DDPM's code of a step: sines, then cosines, at `max_period ** -(k / (width/2 - 1))`.

    The longest wavelength is reached. An odd width ends with a zero.

    Args:
        t: steps, whole or not. bfloat16 cannot hold whole numbers above 256: give integers.
        width: number of channels, at least 2.
        max_period: the longest wavelength, in units of 2 pi steps.
        dtype: of the result; that of `t`, or float32 for integers, if left out.

    Raises:
        ValueError: if `width` is below 2 or `max_period` not positive.

    >>> step_code(torch.tensor([0]), 5).tolist()
    [[0.0, 0.0, 1.0, 1.0, 0.0]]
    """
    sin, cos = _halves(t, width, max_period, last=True)
    return _joined(t, (sin, cos), width, dtype)


def step_code_adm(
    t: Step, width: int, *, max_period: float = 10000.0, dtype: torch.dtype | None = None
) -> Float[Tensor, "*b d"]:
    """The form of ADM (arXiv 2105.05233) and DiT: cosines, then sines.

    The frequencies are `max_period ** -(k / (width/2))`: the longest wavelength is approached.
    Arguments as of `step_code`.

    >>> step_code_adm(torch.tensor([0]), 5).tolist()
    [[1.0, 1.0, 0.0, 0.0, 0.0]]
    """
    sin, cos = _halves(t, width, max_period, last=False)
    return _joined(t, (cos, sin), width, dtype)


@final
class StepEmbedding(nn.Module):
    """The code of a step through two layers with a SiLU between them.

    DDPM's and ADM's have `out = 4 * width`; DiT's has a width of 256. A vector for a network to
    use: it is attached to nothing yet, so both layers are drawn as `nn.Linear` draws them.

    Args:
        width: channels of the code, at least 2.
        out: channels of the embedding; `4 * width` if left out.
        adm: `step_code_adm`, as ADM and DiT, instead of DDPM's `step_code`.
        max_period: the longest wavelength, in units of 2 pi steps.

    Raises:
        ValueError: if `width` is below 2, `out` below 1 or `max_period` not positive.

    >>> StepEmbedding(8, 16)(torch.tensor([0, 999])).shape
    torch.Size([2, 16])
    """

    def __init__(
        self,
        width: int,
        out: int | None = None,
        *,
        adm: bool = False,
        max_period: float = 10000.0,
    ) -> None:
        super().__init__()
        _require(width, max_period)
        out = 4 * width if out is None else out
        if out < 1:
            raise ValueError(f"`out` must be at least 1, but is {out}.")
        self.width, self.adm, self.max_period = width, adm, max_period
        self.layers = nn.Sequential(nn.Linear(width, out), nn.SiLU(), nn.Linear(out, out))

    def forward(self, t: Step) -> Float[Tensor, "*b d"]:
        """The embedding of each step, in the dtype of the layers."""
        first = self.layers[0]
        assert isinstance(first, nn.Linear)
        function = step_code_adm if self.adm else step_code
        code = function(t, self.width, max_period=self.max_period, dtype=first.weight.dtype)
        result: Tensor = self.layers(code)
        return result

    def __repr__(self) -> str:
        last = self.layers[2]
        assert isinstance(last, nn.Linear)
        return (
            f"StepEmbedding({self.width}, {last.out_features}, adm={self.adm}, "
            f"max_period={self.max_period})"
        )


def _halves(t: Tensor, width: int, max_period: float, *, last: bool) -> Tensor:
    """Sines and cosines, `2 bands *b`, in double precision where the device has it."""
    _require(width, max_period)
    precise = widest_dtype(t.device)
    return sinusoid(
        t.to(precise), width // 2 * 2, temperature=max_period, last_band_at_temperature=last
    )


def _joined(
    t: Tensor, halves: tuple[Tensor, Tensor], width: int, dtype: torch.dtype | None
) -> Tensor:
    code = torch.cat(halves).movedim(0, -1)  # bands *b -> *b bands
    if width % 2:
        code = F.pad(code, (0, 1))
    return code.to(dtype or (t.dtype if t.is_floating_point() else torch.float32))


def _require(width: int, max_period: float) -> None:
    if width < 2:
        raise ValueError(f"`width` must be at least 2, a sine and a cosine, but is {width}.")
    if not max_period > 0:
        raise ValueError(f"`max_period` must be positive, but is {max_period}.")
