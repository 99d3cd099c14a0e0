"""The only source of coordinates: a frame sampled at the cells of a feature map.

Coordinates are `(y, x)`, at cell centres, in [-1, 1] over the *original* image: -1 is its upper
or left edge, 1 its lower or right edge. `docs/conventions.md` states each rule with its test.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from visionpe.frame import Frame


def axis(
    n: int,
    *,
    align_corners: bool = False,
    device: torch.device | str | None = None,
    dtype: torch.dtype = torch.float32,
) -> Float[Tensor, " n"]:
    """The centres of `n` cells that fill [-1, 1].

    `(2i + 1 - n) / n`: unlike `(i + .5) * 2 / n - 1`, exactly antisymmetric under a flip.

    Args:
        n: number of cells, at least 1.
        align_corners: put the first and last *centre* at -1 and 1, instead of the outer edges, as
            CoordConv does (arXiv 1807.03247). A single cell is at 0 either way.

    Raises:
        ValueError: if `n` is below 1.

    >>> axis(4).tolist()
    [-0.75, -0.25, 0.25, 0.75]
    >>> axis(3, align_corners=True).tolist()
    [-1.0, 0.0, 1.0]
    """
    _require_cells("n", n)
    steps = torch.arange(1 - n, n, 2, device=device).to(_wide(dtype))  # whole numbers: exact
    return (steps / ((n - 1 if n > 1 else 1) if align_corners else n)).to(dtype)


def grid(
    h: int,
    w: int,
    frame: Frame | None = None,
    *,
    align_corners: bool = False,
    device: torch.device | str | None = None,
    dtype: torch.dtype = torch.float32,
) -> Float[Tensor, "*b 2 h w"]:
    """The `(y, x)` coordinates of the cells of an `h x w` map, in [-1, 1] over the original image.

    Args:
        h, w: rows and columns of the map, at least 1 each.
        frame: where the map sits in its original image; without it, the map is the whole image.
            Cells outside the image get coordinates beyond [-1, 1]: see `inside`.
        align_corners: put the centres of the whole image's first and last cell, at this map's
            cell size, at -1 and 1. A code then depends on the map's resolution; by default,
            when the image's edges are at -1 and 1, it does not.
        device: where to make it; the frame's device if there is one.
        dtype: of the result; below float32, the coordinates are computed in float32 and rounded.

    Raises:
        ValueError: if `h` or `w` is below 1.

    >>> grid(2, 2).tolist()
    [[[-0.5, -0.5], [0.5, 0.5]], [[-0.5, 0.5], [-0.5, 0.5]]]
    >>> left_half = Frame.identity(2, 2).crop(0, 0, h=2, w=1)
    >>> grid(2, 1, left_half)[1].tolist()  # x: still left of the centre
    [[-0.5], [-0.5]]
    """
    if frame is None:
        y = axis(h, align_corners=align_corners, device=device, dtype=dtype)
        x = axis(w, align_corners=align_corners, device=device, dtype=dtype)
        return torch.stack([y[:, None].expand(h, w), x.expand(h, w)])
    points = _points(h, w, frame, device, _wide(dtype))
    extent = frame.extent.to(points)[..., None, None]
    span = extent
    if align_corners:
        span = extent - _cell_size(h, w, frame, points.dtype).to(points)[..., None, None]
        span = torch.where(span > 0, span, torch.ones_like(span))  # one cell: 0 / 1
    return ((2 * points - extent) / span).to(dtype)


def positions(
    h: int,
    w: int,
    frame: Frame | None = None,
    *,
    cells: tuple[int, int] | None = None,
    device: torch.device | str | None = None,
    dtype: torch.dtype = torch.float32,
) -> Float[Tensor, "*b 2 h w"]:
    """The `(y, x)` positions of the cells in units of cells: the first cell of the image is at 0.

    What sinusoids and rotary encodings usually take ("index" coordinates), made a function of the
    frame: a crop that starts at row 8 starts at position 8.

    Args:
        h, w: rows and columns of the map, at least 1 each.
        frame: where the map sits in its original image; without it, the map is the whole image.
        cells: `(rows, columns)` that the whole original image counts as. By default as many as it
            has at this map's cell size, so that crops, tiles and flips of an image agree; give a
            fixed number to make views of another scale agree too.
        dtype: of the result; below float32, positions are computed in float32 and rounded.

    Raises:
        ValueError: if `h`, `w` or one of `cells` is below 1, or `cells` are not two.

    >>> positions(2, 3)[1].tolist()
    [[0.0, 1.0, 2.0], [0.0, 1.0, 2.0]]
    >>> positions(2, 3, cells=(2, 6))[1, 0].tolist()  # the same three cells, counted as six
    [0.5, 2.5, 4.5]
    """
    _require_cells("h", h)
    _require_cells("w", w)
    if cells is not None:
        require_pair("cells", cells)
    if frame is None:
        rows, columns = cells or (None, None)
        y = line_positions(h, cells=rows, device=device, dtype=dtype)
        x = line_positions(w, cells=columns, device=device, dtype=dtype)
        return torch.stack([y[:, None].expand(h, w), x.expand(h, w)])
    if cells is not None:
        _require_cells("cells", min(cells))
        points = grid(h, w, frame, device=device, dtype=_wide(dtype))
        count = torch.tensor(cells, device=points.device, dtype=points.dtype)[:, None, None]
        return ((points * count + (count - 1)) / 2).to(dtype)
    points = _points(h, w, frame, device, _wide(dtype))
    size = _cell_size(h, w, frame, points.dtype).to(points)[..., None, None]
    return (points / size - 0.5).to(dtype)


def line_positions(
    n: int,
    *,
    cells: int | None = None,
    device: torch.device | str | None = None,
    dtype: torch.dtype = torch.float32,
) -> Float[Tensor, " n"]:
    """`positions` along one axis of a whole image: 0 to `n - 1`, or spread over `cells` cells.

    Raises:
        ValueError: if `cells` is below 1.

    >>> line_positions(3).tolist(), line_positions(3, cells=6).tolist()
    ([0.0, 1.0, 2.0], [0.5, 2.5, 4.5])
    """
    if cells is None:
        return torch.arange(n, device=device).to(dtype)
    _require_cells("cells", cells)
    return ((axis(n, device=device, dtype=_wide(dtype)) * cells + (cells - 1)) / 2).to(dtype)


def cell_counts(
    h: int,
    w: int,
    frame: Frame | None = None,
    *,
    cells: tuple[int, int] | None = None,
    device: torch.device | str | None = None,
    dtype: torch.dtype = torch.float32,
) -> Float[Tensor, "*b 2"]:
    """How many rows and columns of cells the whole image has, as `positions` counts them.

    >>> cell_counts(2, 3, Frame.identity(4, 6).crop(0, 0, h=2, w=3)).tolist()
    [4.0, 6.0]
    """
    if frame is None or cells is not None:
        if cells is not None:
            require_pair("cells", cells)
        rows, columns = cells or (h, w)
        return torch.stack([torch.full((), n, device=device, dtype=dtype) for n in (rows, columns)])
    size = _cell_size(h, w, frame, _wide(dtype))
    return (frame.extent.to(size.dtype) / size).to(device or size.device, dtype)


def inside(h: int, w: int, frame: Frame) -> Bool[Tensor, "*b h w"]:
    """Which cells of an `h x w` map have their centre in the original image, not in a border.

    >>> inside(1, 4, Frame.identity(1, 2).pad(left=1, right=1)).tolist()
    [[False, True, True, False]]
    """
    return (grid(h, w, frame).abs() < 1).all(-3)


def _points(
    h: int, w: int, frame: Frame, device: torch.device | str | None, dtype: torch.dtype
) -> Float[Tensor, "*b 2 h w"]:
    """The cell centres in pixels of the original image."""
    _require_cells("h", h)
    _require_cells("w", w)
    span, offset = (
        part.to(device or part.device, dtype) for part in (_span(frame), frame.affine[..., 2])
    )
    # (2i + 1) * span / 2h: exact in float32 whenever a cell is a whole number of pixels.
    y = (torch.arange(h, device=span.device) * 2 + 1).to(dtype)[:, None]  # h 1
    x = (torch.arange(w, device=span.device) * 2 + 1).to(dtype)  # w
    along_y = y * span[..., :, 0, None, None] / (2 * h)  # *b 2 h 1
    along_x = x * span[..., :, 1, None, None] / (2 * w)  # *b 2 1 w
    return along_y + along_x + offset[..., None, None]


def _cell_size(h: int, w: int, frame: Frame, dtype: torch.dtype) -> Float[Tensor, "*b 2"]:
    """The height and width of a cell, along the original's own axes, in its pixels.

    Of the two steps to the next cell, down and across, what they go along y and along x, each the
    root of the sum of squares: cells keep their size however the view is turned, square or not.
    """
    span = _span(frame).to(dtype)
    return torch.stack([span[..., 0] / h, span[..., 1] / w], -1).square().sum(-1).sqrt()


def _span(frame: Frame) -> Float[Tensor, "*b 2 2"]:
    """How far the view reaches along its y and along its x, in pixels of the original.

    In the frame's own precision: a third of a pixel is no float32, but 36 of them round to the 12
    that they are.
    """
    return frame.affine[..., :2] * frame.view[..., None, :]


def _wide(dtype: torch.dtype) -> torch.dtype:
    """What coordinates of a dtype are computed in, to be rounded once."""
    return torch.promote_types(dtype, torch.float32)


def require_pair(name: str, value: Sequence[object]) -> None:
    """Refuses what is not one number for y and one for x.

    Raises:
        ValueError: if there are not two.
    """
    if len(value) != 2:
        raise ValueError(
            f"`{name}` must be two numbers, one for y and one for x, but is {tuple(value)}."
        )


def _require_cells(name: str, value: int) -> None:
    if value < 1:
        raise ValueError(f"`{name}` must be at least 1 cell, but is {value}.")
