"""What the pages share: the template filled, a picture with its data, a table as CSV."""

import base64
import csv
import io
from collections.abc import Iterable, Sequence
from typing import Any

from visionpe.plots import png
from visionpe.report.picture import Picture

_INCH = 96  # of a browser, in pixels


def render(name: str, **values: Any) -> str:
    """A template beside this file, filled."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    templates = Environment(
        loader=PackageLoader("visionpe.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return templates.get_template(name).render(values)


def put(files: dict[str, bytes], picture: Picture, prefix: str = "") -> dict[str, Any]:
    """Adds a picture's files, and returns what the page says of it."""
    name = prefix + picture.name
    files[f"{name}.png"] = image = png(picture.figure)
    files[f"{name}.csv"] = table(picture.columns, picture.rows)
    width, height = picture.figure.get_size_inches().tolist()
    return {
        "name": name,
        "title": picture.title,
        "caption": picture.caption,
        "image": base64.b64encode(image).decode(),
        "width": round(_INCH * width),
        "height": round(_INCH * height),
    }


def table(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> bytes:
    """A CSV file."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    return file.getvalue().encode()
