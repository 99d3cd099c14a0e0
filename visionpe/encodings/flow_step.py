"""Which flow of a shared network this is: the flow indication embedding of NanoFlow, 2006.06280.

NanoFlow uses one network for all the `K` steps of a normalising flow and tells it which step it is
by a learned embedding. In the waveform model of its released code that is a table `K x 512` (1024
for 16 flows), orthogonal at the start; every layer has a shared projection of it (1x1, normalised
weight, He's draw) that is *added before the layer's gate*, and every flow has multipliers of its
own, one a layer and channel, from 1, on the layer's *residual output*. In the image model the
embedding is a map of its own for each flow, concatenated to the input, and the multipliers are
`exp` of parameters from 0. Here: the waveform model's, for one layer, with a zero projection by
default.
"""

from typing import final

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from visionpe.encodings._start import ZeroLinear

Flow = int | Int[Tensor, " b"] | Int[Tensor, ""]


def flow_condition(
    x: Float[Tensor, "b c *s"], shift: Float[Tensor, "#b c"], gate: Float[Tensor, "#b c"]
) -> Float[Tensor, "b c *s"]:
    """`gate * x + shift`, channel by channel.

    >>> two = torch.full((1, 1), 2.0)
    >>> flow_condition(torch.tensor([[[3.0, 4.0]]]), -two, two).tolist()
    [[[4.0, 6.0]]]
    """
    shape = [-1, x.shape[1], *[1] * (x.dim() - 2)]
    return x * gate.to(x.dtype).reshape(shape) + shift.to(x.dtype).reshape(shape)


@final
class FlowEmbedding(nn.Module):
    """Shifts and scales the channels of a layer that all flows share, flow by flow.

    Starts as the identity: the projection at zero, the multipliers at one. `shift` and `gate` give
    the two parts, for networks that use them in two places, as NanoFlow does.

    Args:
        flows: how many flows, `K`.
        channels: of the layer.
        width: of the embedding.
        zero_init: start the projection at zero; otherwise with He's draw, as NanoFlow's.

    Raises:
        ValueError: if `flows`, `channels` or `width` is below 1.

    >>> FlowEmbedding(8, 1, width=4)(torch.tensor([[[3.0, 4.0]]]), 5).tolist()
    [[[3.0, 4.0]]]
    """

    def __init__(
        self, flows: int, channels: int, *, width: int = 512, zero_init: bool = True
    ) -> None:
        super().__init__()
        for name, value in (("flows", flows), ("channels", channels), ("width", width)):
            if value < 1:
                raise ValueError(f"`{name}` must be at least 1, but is {value}.")
        self.zero_init = zero_init
        self.table = nn.Parameter(torch.empty(flows, width))
        self.project = (ZeroLinear if zero_init else _HeLinear)(width, channels)
        self.multiplier = nn.Parameter(torch.empty(flows, channels))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draws everything as at construction."""
        nn.init.orthogonal_(self.table)
        nn.init.ones_(self.multiplier)
        self.project.reset_parameters()

    def shift(self, flow: Flow) -> Float[Tensor, "#b c"]:
        """What is added to the channels in a flow; the paper's goes before the layer's gate."""
        result: Tensor = self.project(self._rows(self.table, flow))
        return result

    def gate(self, flow: Flow) -> Float[Tensor, "#b c"]:
        """What multiplies the channels in a flow; the paper's goes on the residual output."""
        return self._rows(self.multiplier, flow)

    def forward(self, x: Float[Tensor, "b c *s"], flow: Flow) -> Float[Tensor, "b c *s"]:
        """`gate * x + shift` for the flow's number, from 0; one for all samples or one for each.

        Raises:
            ValueError: if a flow has no such number.
        """
        return flow_condition(x, self.shift(flow), self.gate(flow))

    def _rows(self, table: Tensor, flow: Flow) -> Tensor:
        flows = len(table)
        if isinstance(flow, Tensor):
            flow = flow.reshape(-1)  # a number without an axis is one for all
            # On other devices the look-up itself complains; asking here would wait for them.
            if not torch.compiler.is_compiling() and flow.device.type == "cpu" and len(flow):
                _require_flow(int(flow.min()), flows)
                _require_flow(int(flow.max()), flows)
            return F.embedding(flow, table)
        _require_flow(flow, flows)
        return table[flow : flow + 1]

    def __repr__(self) -> str:
        flows, width = self.table.shape
        return (
            f"FlowEmbedding({flows}, {self.multiplier.shape[1]}, width={width}, "
            f"zero_init={self.zero_init})"
        )


@final
class _HeLinear(nn.Linear):
    """`nn.Linear` with He's draw and no bias at first, whoever resets it."""

    def reset_parameters(self) -> None:
        nn.init.kaiming_normal_(self.weight)
        nn.init.zeros_(self.bias)


def _require_flow(flow: int, flows: int) -> None:
    if not 0 <= flow < flows:
        raise ValueError(f"`flow` must be a flow's number, 0 to {flows - 1}, but is {flow}.")
