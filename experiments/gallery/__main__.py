"""A picture of every encoding: `docs/images/encodings/NAME.png` and `docs/gallery.md`.

    python -m experiments.gallery [NAME ...] [--steps 1000] [--jobs 2]

What is learned is learned here: a transformer of two blocks fills in the hidden half of the patches
of smooth random fields, 9 x 12 patches of 4 x 4 pixels, and the picture shows what its encoding
became. Nothing but the encoding tells it where a patch is: without one it explains 0.03. The
share of the variance that it explains in hidden patches stands under each picture: one run of one
seed, a sign that the encoding was used, and no comparison. About ten minutes on two cores.
"""

import argparse
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

from experiments.gallery.entries import ENTRIES, draw

ROOT = Path(__file__).parent.parent.parent
PAGE = ROOT / "docs" / "gallery.md"


def page(scores: dict[str, float | None], steps: int) -> str:
    """The gallery, in the order of the entries."""
    lines = [
        "# Gallery",
        "",
        f"One picture an encoding, made by `make gallery`. {SAID} {steps:,} steps, one seed.",
        "Red is above zero, blue below; on the right of a code: the cosine similarity of the",
        "marked cells with all others. [What each encoding is](encodings.md).",
    ]
    for name, entry in ENTRIES.items():
        score = scores.get(name)
        share = "" if score is None else f" Explains {score:.2f} of the hidden patches' variance."
        caption = entry.caption[0].upper() + entry.caption[1:]
        lines += ["", f"## `{name}`", "", f"![{name}](images/encodings/{name}.png)", ""]
        lines += [f"{caption}.{share}"]
    return "\n".join(lines) + "\n"


SAID = """Learned ones were learned by a
transformer of two blocks that fills in the hidden half of the patches of smooth random fields and
knows their places from its encoding alone; the share of variance that it explains is a sign that
the encoding was used, not a comparison: without any it is 0.03. What starts at zero learns at ten
times the rate of the rest, a setting found while looking at these very pictures."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help="all of them if left out")
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--jobs", type=int, default=2)
    options = parser.parse_args()
    if unknown := set(options.names) - set(ENTRIES):
        parser.error(f"NAME must be one of {', '.join(ENTRIES)}, but is {', '.join(unknown)}.")
    jobs = [(name, options.steps) for name in options.names or ENTRIES]
    with ProcessPoolExecutor(options.jobs, mp_context=get_context("spawn")) as pool:
        scores = dict(pool.map(draw, jobs))
    if not options.names:
        PAGE.write_text(page(scores, options.steps))


if __name__ == "__main__":
    main()
