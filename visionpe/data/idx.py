"""The IDX format of MNIST and its relatives: a header of sizes, then bytes."""

import gzip
import struct
import zlib
from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from visionpe.errors import DataError


def read_idx(path: Path, axes: int) -> UInt8[Tensor, "*n"]:
    """The bytes of an IDX file, gzipped or not.

    Args:
        path: of the file; the same with `.gz` is taken if it is not there.
        axes: how many the file must have: 3 for images, 1 for labels.

    Raises:
        DataError: if the file is missing, no IDX file of unsigned bytes, or not as long as it says.
    """
    packed = path.with_name(f"{path.name}.gz")
    path = packed if not path.is_file() and packed.is_file() else path
    try:
        data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except FileNotFoundError:
        raise DataError(f"{path} is not there.") from None
    except (gzip.BadGzipFile, EOFError, zlib.error):
        raise DataError(f"{path} is damaged: it cannot be unpacked. Fetch it again.") from None
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}.") from None
    if len(data) < 4 + 4 * axes or data[:4] != bytes((0, 0, 8, axes)):
        kind = "images" if axes == 3 else "labels"
        raise DataError(f"{path} is damaged: it is no IDX file of {kind}. Fetch it again.")
    sizes = struct.unpack(f">{axes}I", data[4 : 4 + 4 * axes])
    body = np.frombuffer(data, np.uint8, offset=4 + 4 * axes)
    if len(body) != int(np.prod(sizes, dtype=object)):
        raise DataError(
            f"{path} is damaged: it says {' x '.join(map(str, sizes))} bytes, but holds "
            f"{len(body)}. Fetch it again."
        )
    return torch.from_numpy(body.reshape(sizes).copy())
