"""A figure of a page with its words and its data."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Rows = Iterator[tuple[Any, ...]]


@dataclass(frozen=True)
class Picture:
    """A figure of the page.

    Attributes:
        name: of its files, without their endings.
        title: what is seen.
        caption: how to read it.
        figure: the drawing.
        columns, rows: the data behind it.
    """

    name: str
    title: str
    caption: str
    figure: "Figure"
    columns: tuple[str, ...]
    rows: Rows


def digits(value: Any) -> str:
    """A number with six digits, as the files of data have it."""
    return f"{float(value):.6g}"
