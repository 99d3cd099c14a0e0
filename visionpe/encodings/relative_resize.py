"""Tables of relative biases for another window.

Libraries disagree on the recipe, and the results differ, so each is a function of its own: Swin's
(arXiv 2103.14030) for tables, BEiT's (arXiv 2106.08254) for tables, and that of MViTv2 and SAM
(arXiv 2112.01526, 2304.02643) for one axis. All keep the value of offset zero where it is.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from visionpe.encodings._offsets import require_positive, require_window
from visionpe.encodings.precision import wide_dtype


def resize_relative_bias(
    table: Float[Tensor, "heads t"], old: tuple[int, int], new: tuple[int, int]
) -> Float[Tensor, "heads s"]:
    """The table for another window, resampled bicubically as an image of offsets: Swin's recipe.

    timm's `resize_rel_pos_bias_table_simple`, for any two windows. The image is stretched: an
    offset of the old window's whole width becomes one of the new window's.

    Args:
        table: one row a head of `(2h - 1) * (2w - 1)` numbers, as of `RelativeBias`; what stands
            behind them (for tokens without a place) is kept.
        old, new: `(h, w)` of the window that the table is for, and of the one wanted.

    Raises:
        ValueError: if the table does not belong to `old`, or a window is no size.

    >>> resize_relative_bias(torch.ones(1, 3), (1, 2), (2, 2)).shape
    torch.Size([1, 9])
    """
    image, rest = _as_image(table, old, new)
    if old[0] == new[0] and old[1] == new[1]:
        return table
    size = (2 * new[0] - 1, 2 * new[1] - 1)
    resized = F.interpolate(image[None], size, mode="bicubic", align_corners=False)[0]
    return torch.cat([resized.flatten(1).to(table.dtype), rest], 1)


def resize_relative_bias_geometric(
    table: Float[Tensor, "heads t"], old: tuple[int, int], new: tuple[int, int]
) -> Float[Tensor, "heads s"]:
    """The table for another window, near offsets kept and far ones spread: BEiT's recipe.

    timm's `resize_rel_pos_bias_table`. Along each axis the old offsets are put at distances
    1, 1 + q, 1 + q + q^2, ... such that the last is the new window's, and the table is
    interpolated linearly between them. Made for larger windows: a smaller one, for which no ratio
    above 1.01 exists, is cut out with that ratio. Arguments as of `resize_relative_bias`.

    >>> resize_relative_bias_geometric(torch.tensor([[1.0, 2.0, 3.0]]), (1, 2), (1, 3)).tolist()
    [[1.0, 1.0, 2.0, 3.0, 3.0]]
    """
    image, rest = _as_image(table, old, new)
    if old[0] == new[0] and old[1] == new[1]:
        return table
    rows, columns = (
        _geometric(n, m).to(image.device, image.dtype) for n, m in zip(old, new, strict=True)
    )
    resized = rows @ image @ columns.mT  # heads 2h-1 2w-1
    return torch.cat([resized.flatten(1).to(table.dtype), rest], 1)


def resize_relative_axis(table: Float[Tensor, "t d"], old: int, new: int) -> Float[Tensor, "s d"]:
    """One axis' table for another window, interpolated linearly: the recipe of MViTv2 and SAM.

    Args:
        table: `2 old - 1` offsets, a vector each, as of `DecomposedBias` (of `AxisBias`: `.mT`).
        old, new: rows (or columns) of the window that the table is for, and of the one wanted.

    Raises:
        ValueError: if the table does not belong to `old`, or a window is below 1.

    >>> resize_relative_axis(torch.tensor([[0.0], [3.0], [6.0]]), 2, 1).tolist()
    [[3.0]]
    """
    require_positive("old", old)
    require_positive("new", new)
    if table.shape[0] != 2 * old - 1:
        raise ValueError(
            f"`table` must hold {2 * old - 1} offsets for a window of {old}, "
            f"but holds {table.shape[0]}."
        )
    if old == new:
        return table
    precise = table.to(wide_dtype(table))
    resized = F.interpolate(precise.mT[None], 2 * new - 1, mode="linear", align_corners=False)[0]
    return resized.mT.to(table.dtype)


def _as_image(
    table: Tensor, old: tuple[int, int], new: tuple[int, int]
) -> tuple[Float[Tensor, "heads h w"], Float[Tensor, "heads r"]]:
    """The offsets of a table as an image, in float32 or better, and what stands behind them."""
    require_window(old)
    require_window(new)
    h, w = 2 * old[0] - 1, 2 * old[1] - 1
    if table.shape[1] not in (h * w, h * w + 3):
        raise ValueError(
            f"`table` must hold {h * w} numbers a head for window {tuple(old)}, or {h * w + 3} "
            f"with those of tokens without a place, but holds {table.shape[1]}."
        )
    offsets, rest = table[:, : h * w], table[:, h * w :]
    precise = wide_dtype(table)
    return offsets.unflatten(1, (h, w)).to(precise), rest


def _geometric(old: int, new: int) -> Float[Tensor, "s t"]:
    """The matrix that interpolates linearly between offsets spread geometrically."""
    ratio = _ratio(old - 1, new - 1)
    powers = torch.pow(ratio, torch.arange(old - 1, dtype=torch.float64))
    distance = powers.cumsum(0)
    at = torch.cat([-distance.flip(0), torch.zeros(1, dtype=torch.float64), distance])
    wanted = torch.arange(1 - new, new, dtype=torch.float64)
    if old == 1:
        return torch.ones(2 * new - 1, 1, dtype=torch.float64)
    wanted = wanted.clamp(at[0], at[-1])  # beyond the last offset, its value
    right = torch.searchsorted(at, wanted).clamp(min=1)
    share = (wanted - at[right - 1]) / (at[right] - at[right - 1])
    matrix = torch.zeros(2 * new - 1, 2 * old - 1, dtype=torch.float64)
    matrix.scatter_(1, right[:, None] - 1, 1 - share[:, None])
    return matrix.scatter_(1, right[:, None], share[:, None])


def _ratio(terms: int, total: int) -> float:
    """The q for which `1 + q + ... + q^(terms - 1)` is `total`, to 1e-6, in BEiT's bracket."""
    low, high = 1.01, 1.5
    while high - low > 1e-6:
        middle = (low + high) / 2
        if (middle**terms - 1) / (middle - 1) > total:
            high = middle
        else:
            low = middle
    return (low + high) / 2
