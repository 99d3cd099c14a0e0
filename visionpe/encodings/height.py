"""HANet, attention to height in street scenes: arXiv 2003.05128.

What is up in an image differs from what is down. The mean of each row of a map, and where the row
is in the *whole* image, give each channel of a later map a gate for each of its rows.
"""

import math
from typing import final

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from visionpe.encodings._start import ZeroConv1d
from visionpe.encodings.base import MapEncoding, require_batch, require_channels, require_floating
from visionpe.encodings.precision import code_dtype, wide_dtype, widest_dtype
from visionpe.frame import Frame
from visionpe.grids import positions


def height_code(
    points: Float[Tensor, "*b n"] | Int[Tensor, "*b n"], width: int
) -> Float[Tensor, "*b d n"]:
    """The paper's code of rows: sines and cosines in turn, plus 1.

    Of base 100, or 10 where there are more than 50 channels, instead of 10,000: rows are few.

    Args:
        points: positions in rows, whole or not.
        width: number of channels, at least 1.

    Raises:
        ValueError: if `width` is below 1.

    >>> height_code(torch.tensor([0.0]), 3).flatten().tolist()
    [1.0, 2.0, 1.0]
    """
    if width < 1:
        raise ValueError(f"`width` (the number of channels) must be at least 1, but is {width}.")
    precise = widest_dtype(points.device)
    channel = torch.arange(width, device=points.device)
    exponent = (channel - channel % 2).to(precise) / width
    frequency = torch.pow(10.0 if width > 50 else 100.0, -exponent)
    angle = frequency[:, None] * points[..., None, :].to(precise)  # *b n -> *b d n
    code = torch.where(channel[:, None] % 2 == 0, angle.sin(), angle.cos()) + 1
    return code.to(code_dtype(points))


def band_means(x: Float[Tensor, "b c h w"], bands: int) -> Float[Tensor, "b c n"]:
    """The means over `bands` bands of rows: `adaptive_avg_pool2d(x, (bands, 1))`.

    Written as a product with the bands' weights, which exports with an open `h`.

    >>> band_means(torch.tensor([[[[1.0, 3.0], [5.0, 7.0]]]]), 2).tolist()
    [[[2.0, 6.0]]]
    """
    h = x.shape[-2]
    band = torch.arange(bands, device=x.device)[:, None]
    row = torch.arange(h, device=x.device)
    first, end = band * h // bands, ((band + 1) * h + bands - 1) // bands
    weight = ((row >= first) & (row < end)).to(x.dtype)  # bands h
    return x.mean(-1) @ (weight / weight.sum(-1, keepdim=True)).mT


@final
class HeightAttention(MapEncoding):
    """Multiplies each row of a map by a gate for each channel, from a lower map and the row.

    The paper's layers: means over the width and over bands of rows, dropout, a 1x1 convolution to
    `ceil(lower / reduction)` channels, batch norm, ReLU, *the code of the rows added*, a
    convolution of 3 rows to twice as many, batch norm, ReLU, one to the map's channels, sigmoid,
    linear interpolation to the map's rows.

    Rows are those of the whole image, which the frame knows; where it turns the view, a row is
    where its middle is. The gate is in (0, 1) and starts near 1/2, as the paper's: this encoding
    is *not* the identity at the start unless `identity` is set.

    Args:
        channels: of the map that is gated.
        lower_channels: of the map that the gate comes from; by default of the same map.
        reduction: 64, 32 or 16 in the paper.
        bands: how many bands the rows are pooled to.
        rows: how many rows the whole image counts as, whatever its size.
        dropout: of the bands' means.
        jitter: standard deviation of the whole number of rows that each band is moved by in
            training, in rows; 0 for none.
        position: whether the rows' code is added. Without it, the gate depends on content alone.
        identity: make the gate twice the sigmoid and its last layer zero, so that it starts at 1.
            Not in the paper.

    Raises:
        ValueError: if a number is below 1, `dropout` not in [0, 1) or `jitter` negative.

    >>> HeightAttention(2, identity=True).eval()(torch.ones(1, 2, 1, 3)).tolist()
    [[[[1.0, 1.0, 1.0]], [[1.0, 1.0, 1.0]]]]
    """

    def __init__(
        self,
        channels: int,
        lower_channels: int | None = None,
        *,
        reduction: int = 64,
        bands: int = 16,
        rows: int = 128,
        dropout: float = 0.1,
        jitter: float = 0.0,
        position: bool = True,
        identity: bool = False,
    ) -> None:
        super().__init__()
        lower = channels if lower_channels is None else lower_channels
        numbers = {
            "channels": channels,
            "lower_channels": lower,
            "reduction": reduction,
            "bands": bands,
            "rows": rows,
        }
        for name, number in numbers.items():
            if number < 1:
                raise ValueError(f"`{name}` must be at least 1, but is {number}.")
        if not 0 <= dropout < 1:
            raise ValueError(f"`dropout` must be in [0, 1), but is {dropout}.")
        if not jitter >= 0:
            raise ValueError(f"`jitter` must be at least 0 rows, but is {jitter}.")
        self.channels: int = channels
        self.lower_channels = lower
        self.reduction = reduction
        self.bands = bands
        self.rows = rows
        self.dropout = dropout
        self.jitter = jitter
        self.position = position
        self.identity = identity
        width = math.ceil(lower / reduction)
        self.squeeze = nn.Conv1d(lower, width, 1, bias=False)
        self.norm = nn.BatchNorm1d(width)
        self.widen = nn.Conv1d(width, 2 * width, 3, padding=1)
        self.widened_norm = nn.BatchNorm1d(2 * width)
        last = ZeroConv1d if identity else nn.Conv1d
        self.excite = last(2 * width, channels, 3, padding=1)

    def forward(
        self,
        x: Float[Tensor, "b c h w"],
        frame: Frame | None = None,
        lower: Float[Tensor, "b l m n"] | None = None,
    ) -> Float[Tensor, "b c h w"]:
        """The map times its gate, in the map's dtype.

        Args:
            x: a feature map.
            frame: where both maps sit in their image.
            lower: the map of the same view that the gate comes from; by default `x`.
        """
        require_floating("x", x)
        require_channels(self, self.channels, x.shape[1])
        source = x if lower is None else lower
        return x * self.attention(source, x.shape[-2], frame)[..., None].to(x.dtype)

    def attention(
        self, lower: Float[Tensor, "b l m n"], h: int, frame: Frame | None = None
    ) -> Float[Tensor, "b c {h}"]:
        """The gate of each channel and each of `h` rows."""
        require_batch(frame, lower.shape[0])
        require_floating("lower", lower)
        if lower.shape[1] != self.lower_channels:
            raise ValueError(
                f"`lower` must have the {self.lower_channels} channels that the gate is made "
                f"from, but has {lower.shape[1]}."
            )
        means = F.dropout(band_means(lower, self.bands), self.dropout, self.training)
        hidden = F.relu(self.norm(self.squeeze(means)))
        if self.position:
            points = self._rows(lower, frame)
            hidden = hidden + height_code(points, hidden.shape[1]).to(hidden.dtype)
        hidden = F.relu(self.widened_norm(self.widen(hidden)))
        gate = self.excite(hidden).sigmoid() * (2 if self.identity else 1)
        return F.interpolate(gate, size=h, mode="linear", align_corners=False)

    def _rows(self, lower: Tensor, frame: Frame | None) -> Tensor:
        """The rows of the whole image that the bands' middles are at, `*b bands`."""
        precise = wide_dtype(lower)
        cells = (self.rows, 1)
        places = positions(self.bands, 1, frame, cells=cells, device=lower.device, dtype=precise)
        points = places[..., 0, :, 0]  # *b 2 bands 1 -> *b bands
        if self.training and self.jitter:
            shape = (lower.shape[0], self.bands)
            noise = torch.randn(shape, device=lower.device, dtype=precise)
            points = points + (noise * self.jitter).round()
        return points

    def __repr__(self) -> str:
        names = ("reduction", "bands", "rows", "dropout", "jitter", "position", "identity")
        options = ", ".join(f"{name}={getattr(self, name)}" for name in names)
        return f"HeightAttention({self.channels}, {self.lower_channels}, {options})"
