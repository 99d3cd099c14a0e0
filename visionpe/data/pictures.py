"""Picture files as tensors, whatever their mode; damaged ones are named in one sentence."""

import io
import warnings
from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from visionpe.errors import DataError

EXTENSIONS = (".jpg", ".jpeg", ".png", ".ppm", ".pgm", ".bmp", ".gif", ".tif", ".tiff", ".webp")


def read_picture(
    file: Path | bytes, *, channels: int = 3, name: str | None = None
) -> UInt8[Tensor, "c h w"]:
    """The picture in a file, or in the bytes of one.

    Of 16 bits the upper 8 are kept, of CMYK and palettes the colours, of transparency nothing, of
    an animation the first picture. Nothing is turned as a camera's notes may ask for.

    Args:
        file: the path or the bytes.
        channels: 3 for colours, 1 for grey.
        name: of the file in messages; its path if left out.

    Raises:
        ValueError: if `channels` is another number.
        DataError: if there is no such file, or no picture in it, or only part of one, or one of
            more pixels than Pillow deems safe to unpack (`PIL.Image.MAX_IMAGE_PIXELS`).
    """
    require_channels(channels)
    name = name or str(file if isinstance(file, Path) else "picture")
    remedy = "Replace or remove it."
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(file) if isinstance(file, bytes) else file) as image:
                return _unpack(image, channels, name)
    except DataError:
        raise
    except FileNotFoundError:
        raise DataError(f"{name} is not there.") from None
    except (Image.DecompressionBombWarning, Image.DecompressionBombError):
        raise DataError(
            f"{name} has more than {Image.MAX_IMAGE_PIXELS} pixels, as a file does that is made to "
            f"fill memory. Reduce it, replace or remove it."
        ) from None
    except UnidentifiedImageError:
        raise DataError(f"{name} is no picture that Pillow reads. {remedy}") from None
    except OSError as error:
        if error.errno is not None:  # the system's, not the decoder's
            raise DataError(f"{name} cannot be read: {error.strerror}.") from None
        raise DataError(f"{name} is damaged: {_plain(error)}. {remedy}") from None
    except (
        SyntaxError,
        ValueError,
        EOFError,
        IndexError,
        TypeError,
        OverflowError,
        RuntimeError,
    ) as error:
        raise DataError(f"{name} is damaged: {_plain(error)}. {remedy}") from None


def require_channels(channels: int) -> None:
    """Refuses channels that are neither grey nor colours."""
    if channels not in (1, 3):
        raise ValueError(
            f"`channels` of pictures must be 3 for colours or 1 for grey, but is {channels}."
        )


def _unpack(image: Image.Image, channels: int, name: str) -> UInt8[Tensor, "c h w"]:
    mode = "L" if channels == 1 else "RGB"
    if image.mode.startswith("I"):  # 16 bits; `convert` would cut them off at 255
        deep = np.array(image)
        if deep.min() < 0 or deep.max() > 0xFFFF:
            raise DataError(f"{name} has values of more than 16 bits. Convert it to 8 bits.")
        array = (deep.astype(np.uint16) >> 8).astype(np.uint8)[:, :, None].repeat(channels, 2)
    elif image.mode == "F":
        raise DataError(
            f"{name} has floating-point values of no known range. Convert it to 8 bits."
        )
    else:
        if image.mode == "P" and "transparency" in image.info:
            image = image.convert("RGBA")
        array = np.array(image.convert(mode)).reshape(image.height, image.width, channels)
    return torch.from_numpy(array).permute(2, 0, 1)


def _plain(error: Exception) -> str:
    """What a decoder says, as the end of a sentence."""
    return str(error).strip().rstrip(".") or type(error).__name__
