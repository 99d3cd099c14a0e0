"""Position in vision models: encodings as functions of coordinates.

The public names below are loaded on first use, so that `import visionpe` is light and the command
line answers at once; `visionpe.NAME` and `from visionpe import NAME` work as ever.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from visionpe.encodings.attention import AttentionEncoding, attend
    from visionpe.encodings.base import MapEncoding, PointEncoding
    from visionpe.encodings.coord import AddCoords, coordinates
    from visionpe.encodings.coordconv import CoordConv2d, coord_conv2d
    from visionpe.encodings.coordconv1d import CoordConv1d, coord_conv1d
    from visionpe.encodings.sinusoid import sinusoid
    from visionpe.encodings.sinusoidal import AppendSinusoidal2d, Sinusoidal2d, sinusoidal2d_code
    from visionpe.encodings.sinusoidal_orders import (
        sinusoidal2d,
        sinusoidal2d_big_vision,
        sinusoidal2d_mae,
        sinusoidal2d_timm,
    )
    from visionpe.frame import Frame
    from visionpe.grids import axis, grid, inside, positions
    from visionpe.places import Places

_HOME = {
    "AttentionEncoding": "visionpe.encodings.attention",
    "attend": "visionpe.encodings.attention",
    "MapEncoding": "visionpe.encodings.base",
    "PointEncoding": "visionpe.encodings.base",
    "AddCoords": "visionpe.encodings.coord",
    "coordinates": "visionpe.encodings.coord",
    "CoordConv2d": "visionpe.encodings.coordconv",
    "coord_conv2d": "visionpe.encodings.coordconv",
    "CoordConv1d": "visionpe.encodings.coordconv1d",
    "coord_conv1d": "visionpe.encodings.coordconv1d",
    "sinusoid": "visionpe.encodings.sinusoid",
    "AppendSinusoidal2d": "visionpe.encodings.sinusoidal",
    "Sinusoidal2d": "visionpe.encodings.sinusoidal",
    "sinusoidal2d_code": "visionpe.encodings.sinusoidal",
    "sinusoidal2d": "visionpe.encodings.sinusoidal_orders",
    "sinusoidal2d_big_vision": "visionpe.encodings.sinusoidal_orders",
    "sinusoidal2d_mae": "visionpe.encodings.sinusoidal_orders",
    "sinusoidal2d_timm": "visionpe.encodings.sinusoidal_orders",
    "Frame": "visionpe.frame",
    "axis": "visionpe.grids",
    "grid": "visionpe.grids",
    "inside": "visionpe.grids",
    "positions": "visionpe.grids",
    "Places": "visionpe.places",
}

__all__ = [
    "AddCoords",
    "AppendSinusoidal2d",
    "AttentionEncoding",
    "CoordConv1d",
    "CoordConv2d",
    "Frame",
    "MapEncoding",
    "Places",
    "PointEncoding",
    "Sinusoidal2d",
    "attend",
    "axis",
    "coord_conv1d",
    "coord_conv2d",
    "coordinates",
    "grid",
    "inside",
    "positions",
    "sinusoid",
    "sinusoidal2d",
    "sinusoidal2d_big_vision",
    "sinusoidal2d_code",
    "sinusoidal2d_mae",
    "sinusoidal2d_timm",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'visionpe' has no attribute {name!r}")
    value = getattr(import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME])
