"""The names by which position goes in other people's models.

Structure decides wherever it can (a table beside an index into it, a network of two inputs beside a
buffer of pairs). These names decide the rest, and stand nowhere else.
"""

import re

# A parameter or buffer that is added to tokens or maps: pos_embed, pos_embed_0, patch_pos,
# pixel_pos, pos_embedding, position_embedding_table, positional_embedding.
_TABLE = re.compile(r"(^|_)pos(itional|ition)?(_?(emb|enc|embed|table)|$|_)|^pos", re.IGNORECASE)
_NO_TABLE = re.compile(r"rel|index|idx|bias|ids$|proj|cached", re.IGNORECASE)
_ROTARY = re.compile(r"(^|_)(rotary|rope)|Rotary|RoPE|Rope")
# Classes that compute a code from coordinates in each forward.
_COMPUTED = re.compile(r"(posit|pos).*(enc|emb).*(fourier|sin)|sinusoid", re.IGNORECASE)
_CONVOLUTION = re.compile(r"(^|_)(pos|cpe|crpe|peg)|PosConv|PosEnc|PEG")
# Sizes that a module was made for: rows and columns of its map or its window.
EXTENTS = ("window_size", "feat_shape", "grid_size", "resolution", "feat_size", "input_size")
PREFIX = "num_prefix_tokens"
WIDTHS = ("embed_dim", "hidden_dim", "num_features", "dim")
HEADS = ("num_heads", "heads", "n_heads")


def is_table(attribute: str) -> bool:
    """Whether a tensor of that name is an absolute table.

    >>> [is_table(n) for n in ("pos_embed", "patch_pos", "position_ids", "cls_token")]
    [True, True, False, False]
    """
    return bool(_TABLE.search(attribute)) and not _NO_TABLE.search(attribute)


def is_rotary(kind: str, name: str) -> bool:
    """Whether a module of that class and name rotates queries and keys.

    >>> is_rotary("RotaryEmbeddingCat", "rope"), is_rotary("Europe", "europe")
    (True, False)
    """
    return bool(_ROTARY.search(kind) or _ROTARY.search(name))


def is_computed(kind: str) -> bool:
    """Whether a class computes a code from coordinates.

    >>> is_computed("PositionalEncodingFourier"), is_computed("Fourier")
    (True, False)
    """
    return bool(_COMPUTED.search(kind))


def is_position_convolution(kind: str, name: str) -> bool:
    """Whether the convolutions of a module stand for position.

    >>> is_position_convolution("PosConv", "0"), is_position_convolution("ConvMlp", "mlp")
    (True, False)
    """
    return bool(_CONVOLUTION.search(name) or _CONVOLUTION.search(kind))
