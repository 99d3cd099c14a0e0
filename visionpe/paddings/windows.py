"""How far the windows of a convolution or a pool reach beyond a map, along one axis."""

from typing import Any, NamedTuple

from visionpe.paddings.modes import Reach


class Windows(NamedTuple):
    """Windows along one axis.

    Attributes:
        extent: cells from the first to the last tap of one.
        stride: from one window to the next.
        reach: cells beyond the map's two ends.
    """

    extent: int
    stride: int
    reach: Reach

    def whole(self, n: int) -> tuple[tuple[int, int, int], Reach]:
        """The windows that lie within `n` cells.

        Returns:
            Where the first one starts, how many others are before the first and behind the last;
            and cells to add at the two ends where there is none, to make one.

        >>> Windows(3, 2, (1, 1)).whole(7)
        ((1, 1, 1), (0, 0))
        >>> Windows(3, 1, (1, 1)).whole(2)
        ((0, 0, 1), (0, 1))
        """
        before = -(-self.reach[0] // self.stride)
        start = before * self.stride - self.reach[0]
        total = (n + sum(self.reach) - self.extent) // self.stride + 1
        if n - start < self.extent:
            few = max(self.extent - n, 0)
            # One window, which is all there is; from the middle, if it is not the map itself.
            return (max(n - self.extent, 0) // 2, 0, total - 1), (few // 2, few - few // 2)
        inside = (n - start - self.extent) // self.stride + 1
        return (start, before, total - before - inside), (0, 0)


def both(value: Any) -> tuple[int, int]:
    """An option of rows and columns, given once or twice.

    >>> both(3), both([1, 2])
    ((3, 3), (1, 2))
    """
    if isinstance(value, tuple | list):
        return (value[0], value[-1])
    return (value, value)


def convolution(kernel: int, stride: int, dilation: int, padding: int | str) -> Windows:
    """Those of a convolution.

    >>> convolution(4, 1, 1, "same").reach
    (1, 2)
    """
    extent = dilation * (kernel - 1) + 1
    if padding == "valid":
        return Windows(extent, stride, (0, 0))
    if isinstance(padding, str):  # "same"
        before = (extent - 1) // 2
        return Windows(extent, stride, (before, extent - 1 - before))
    return Windows(extent, stride, (padding, padding))


def pool(n: int, kernel: int, stride: int, padding: int, dilation: int, ceil: bool) -> Windows:
    """Those of a pool over `n` cells; with `ceil`, the last one may hang over the end.

    >>> pool(6, 3, 2, 0, 1, True).reach
    (0, 1)
    """
    extent = dilation * (kernel - 1) + 1
    behind = padding
    if ceil:
        steps = -(-(n + 2 * padding - extent) // stride)
        if steps * stride >= n + padding:  # torch: a window starts inside the map
            steps -= 1
        behind = max(steps * stride + extent - n - padding, 0)
    return Windows(extent, stride, (padding, behind))
