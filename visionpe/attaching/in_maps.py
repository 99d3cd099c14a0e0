"""Encodings of what a module returns: maps and tokens, in any layout."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from visionpe.attaching.attached import Attached, Held
from visionpe.attaching.calling import Call
from visionpe.attaching.cells import Size, cells_at, scattered_at
from visionpe.encodings.base import MapEncoding, PointEncoding
from visionpe.places import Places
from visionpe.tracing.sites import Site


class InMap:
    """A forward hook that puts an encoding on the first tensor that a module returns."""

    def __init__(
        self, encoding: MapEncoding | Held, site: Site, size: Size, attached: Attached | None = None
    ) -> None:
        self.held = encoding
        self.site = site
        self.size = size
        self.attached = attached

    @property
    def encoding(self) -> MapEncoding:
        """What acts."""
        found: MapEncoding = self.held.now() if isinstance(self.held, Held) else self.held
        return found

    def __call__(self, module: nn.Module, args: Any, output: Any) -> Any:
        """The output, encoded."""
        assert self.attached is not None
        if not self.attached.active:
            return output
        call = self.attached.caller.current()
        if isinstance(output, Tensor):
            return self.encoded(output, call)
        first, *rest = output
        parts = [self.encoded(first, call), *rest]
        return type(output)(*parts) if hasattr(output, "_fields") else type(output)(parts)

    def encoded(self, x: Tensor, call: Call) -> Tensor:
        """A map or tokens, in the site's layout."""
        if self.site.layout == "NCHW":
            return self._map(x, call)
        if self.site.layout == "NHWC":
            return self._map(x.permute(0, 3, 1, 2), call).permute(0, 2, 3, 1)
        tokens = x.mT if self.site.layout == "NCL" else x  # b n c
        tokens = self._tokens(tokens, call)
        return tokens.mT if self.site.layout == "NCL" else tokens

    def _map(self, x: Float[Tensor, "b c h w"], call: Call) -> Float[Tensor, "b c h w"]:
        result: Tensor = self.encoding(x, call.frame)
        return result

    def _tokens(self, x: Float[Tensor, "b n c"], call: Call) -> Float[Tensor, "b n c"]:
        site = self.site
        first, last = site.prefix, x.shape[1] - site.suffix
        if site.scattered is None:
            assert site.lattice is not None
            order = None
            h, w = cells_at(site.module, site.lattice, last - first, self.size, call)
        else:
            order = torch.tensor(site.scattered.order, device=x.device)
            h, w = scattered_at(site.module, site.scattered, self.size, call)
        if isinstance(self.encoding, PointEncoding):
            places = Places.of(
                h, w, call.frame, prefix=site.prefix, suffix=site.suffix, device=x.device
            )
            if order is not None:
                places = places._replace(positions=places.positions[..., order, :], shape=None)
            return self.encoding.tokens(x, places)
        cells = x[:, first:last]
        if order is not None:
            cells = cells[:, order.argsort()]
        y = self._map(cells.mT.unflatten(2, (h, w)), call).flatten(2).mT  # b n c -> b c h w
        if order is not None:
            y = y[:, order]
        if not site.prefix and not site.suffix:
            return y
        return torch.cat([x[:, :first], y, x[:, last:]], 1)
