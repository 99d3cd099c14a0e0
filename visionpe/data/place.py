"""Where a view sits in its original, in Python's numbers.

They are of double precision, and a chain of small tensors would take longer than the pixels do.
"""

from typing import NamedTuple

Row = tuple[float, float, float]
Size = tuple[int, int]
_IDENTITY: tuple[Row, Row] = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0))


class Place(NamedTuple):
    """A `Frame` of plain numbers, but for the original's extent.

    Attributes:
        y, x: the rows of the affine map from points of the view to points of the original.
        view: height and width of the view.
    """

    y: Row
    x: Row
    view: Size

    @staticmethod
    def whole(h: int, w: int) -> "Place":
        """Of a whole image.

        >>> Place.whole(2, 3)
        Place(y=(1.0, 0.0, 0.0), x=(0.0, 1.0, 0.0), view=(2, 3))
        """
        return Place(*_IDENTITY, (h, w))

    def warp(self, y: Row, x: Row, view: Size) -> "Place":
        """A view whose point `p` shows point `(y, x) @ (p, 1)` of this one."""
        first, second = (
            (a * y[0] + b * x[0], a * y[1] + b * x[1], a * y[2] + b * x[2] + c)
            for a, b, c in (self.y, self.x)
        )
        return Place(first, second, view)

    def crop(self, top: float, left: float, view: Size) -> "Place":
        """The window at a corner."""
        return self.warp((1.0, 0.0, top), (0.0, 1.0, left), view)

    def resize(self, view: Size) -> "Place":
        """The same window in other pixels."""
        (h, w), (rows, columns) = self.view, view
        return self.warp((h / rows, 0.0, 0.0), (0.0, w / columns, 0.0), view)
