"""What each condition of a probe is, in plain words, and how it is drawn."""

from typing import Literal, NamedTuple

from visionpe.plots.style import COLOURS, GREY

Kind = Literal["model", "twin", "encoding", "weights", "images", "memory", "null"]

# Targets in a few words, for titles.
TARGETS = {
    "H": "left to right",
    "V": "top to bottom",
    "G": "nearness to the centre",
    "HS": "horizontal stripes",
    "VS": "vertical stripes",
    "radius": "distance from the centre",
    "quadrant": "which quarter",
    "smooth noise": "a smooth random map, a null",
}

# What a kind of control answers, in the order of a page.
KINDS: dict[Kind, tuple[str, str]] = {
    "twin": (
        "The same weights, another padding",
        "A convolution at the border needs something to stand on, and most networks invent zeros "
        "there. Zeros are a landmark: they tell where the border is. These twins are the network "
        "with the same weights and another filling. What a twin cannot read, the model may have "
        "from its zeros. But its weights were not made for the new filling, so a twin can also "
        "lose position because its features are worse.",
    ),
    "encoding": (
        "Without its position encodings",
        "A network that is told positions carries them for that reason. This is the network with "
        "the same weights and without what tells it. What it cannot read, the model may have from "
        "its encodings; but its weights were not made to go without.",
    ),
    "weights": (
        "Random weights",
        "The same layers, never trained. What is read here comes with the architecture and was not "
        "learned.",
    ),
    "images": (
        "Other images",
        "Photographs tell position by themselves: skies are above, subjects in the middle. From "
        "images that tell nothing, only what the network itself adds can be read.",
    ),
    "memory": (
        "What the rule can learn by heart",
        "A rule with many numbers in it can learn any map, a senseless one too. What it makes of "
        "this one, it did not need position for; selectivity is the score less this.",
    ),
    "null": (
        "Nulls",
        "Questions with nothing to find. A method in order scores about zero on them; where "
        "it does not, other numbers of the same height mean nothing either.",
    ),
}

# What no probe can tell.
LIMITS = (
    "That the network uses the position that can be read. A rule of ours reads it; what the "
    "network's own later layers do with it, only an intervention can tell.",
    "That there is no more position than this. The rule is simple on purpose; a stronger one reads "
    "more, from the model and from the controls alike.",
    "How much of it the padding gives, to the percent. A twin has weights that were trained with "
    "another padding; the difference to the model is an upper bound.",
    "Anything about other images. Photographs of one kind share a layout, and a part of what is "
    "read may be that layout: compare with the mixed-up and the empty images.",
    "That a higher number is a better network. Some tasks need position and others are harmed by "
    "it.",
)


class Condition(NamedTuple):
    """How a condition is told and drawn.

    Attributes:
        label: short, for a legend.
        kind: "model" or one of `KINDS`.
        words: for the page.
        colour, line, marker: of matplotlib.
    """

    label: str
    kind: Kind
    words: str
    colour: str
    line: str
    marker: str


_KNOWN = {
    "model": Condition("the model", "model", "As it was given.", COLOURS[0], "-", "o"),
    "padding=none": Condition(
        "no padding",
        "twin",
        "nothing is computed beyond the border; the nearest inside stands there",
        COLOURS[4],
        "-",
        "v",
    ),
    "padding=reflect": Condition(
        "mirrored", "twin", "the border shows the image mirrored", COLOURS[2], "-", "s"
    ),
    "padding=replicate": Condition(
        "repeated edge", "twin", "the outermost pixel goes on", COLOURS[3], "-", "D"
    ),
    "padding=circular": Condition(
        "wrapped around",
        "twin",
        "left goes on from right and top from bottom: no border for the network, though a "
        "photograph shows a seam where its edges meet",
        COLOURS[1],
        "-",
        "^",
    ),
    "padding=zeros": Condition("zeros", "twin", "black beyond the border", COLOURS[6], "-", "P"),
    "random weights": Condition(
        "random weights", "weights", "the model's layers, drawn anew", COLOURS[5], "--", "o"
    ),
    "permuted": Condition(
        "mixed up",
        "images",
        "each image cut into squares that are shuffled: content without its place",
        "#000000",
        ":",
        "D",
    ),
    "black": Condition(
        "black", "images", "rule fitted to the images, tested on black", GREY, ":", "v"
    ),
    "white": Condition(
        "white", "images", "rule fitted to the images, tested on white", GREY, ":", "^"
    ),
    "noise": Condition(
        "noise", "images", "rule fitted to the images, tested on noise", GREY, ":", "s"
    ),
    "control task": Condition(
        "learnt by heart",
        "memory",
        "the target's cells in one shuffled order, the same for all images",
        "#8a8a8a",
        "-.",
        ".",
    ),
    "shuffled": Condition(
        "shuffled target",
        "null",
        "the target's cells in another order for each image, which nobody can know",
        "#bdbdbd",
        "-",
        "o",
    ),
    "random weights, padding=circular": Condition(
        "random, wrapped around",
        "null",
        "without training and without border a convolutional network knows nothing but what "
        "the images themselves tell, such as their skies and seams",
        "#bdbdbd",
        "-",
        "s",
    ),
    "positions removed": Condition(
        "no position encodings",
        "encoding",
        "the same weights, and no part of the network tells a place",
        "#8c564b",
        "-",
        "P",
    ),
    "random weights, positions removed": Condition(
        "random, no positions",
        "null",
        "without training and without encodings the network knows nothing but what the images "
        "themselves tell",
        "#bdbdbd",
        "-",
        "D",
    ),
    "random weights, padding=circular, positions removed": Condition(
        "random, wrapped around, no positions",
        "null",
        "without training, border and encodings the network knows nothing but what the images "
        "themselves tell",
        "#bdbdbd",
        "-",
        "^",
    ),
}


def describe(condition: str) -> Condition:
    """What is known of a condition; a strange one is drawn in grey under its own name."""
    return _KNOWN.get(condition) or Condition(condition, "images", "", GREY, ":", ".")
