"""Random crops of the photographs of a folder, the same at each reading: images for a probe."""

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import final

import torch
from jaxtyping import Float, Int64, UInt8
from PIL import Image, ImageOps
from torch import Tensor

from visionpe.data.loader import stable_seed
from visionpe.data.normalise import Normalise
from visionpe.errors import DataError

ENDINGS = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".ppm", ".gif")
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
GREY_MEAN, GREY_STD = (0.449,), (0.226,)  # of its luminance


def find_photographs(folder: str | Path) -> list[Path]:
    """The image files in a folder and those below it, in order of their paths.

    Hidden files are left out: macOS keeps what it knows of `x.jpg` in `._x.jpg`, which is no image.

    Raises:
        DataError: if there is no such folder, or no image in it.
    """
    folder = Path(folder)
    if not folder.is_dir():
        what = "is a file" if folder.is_file() else "does not exist"
        raise DataError(f"The folder of images {folder} {what}.")
    found = (p for p in folder.rglob("*") if p.suffix.lower() in ENDINGS and p.is_file())
    files = sorted(p for p in found if not p.name.startswith("."))
    if not files:
        raise DataError(f"The folder {folder} holds no image: none of {', '.join(ENDINGS)}.")
    return files


def random_crops(
    files: list[Path], n: int, h: int, w: int, *, seed: int = 0
) -> UInt8[Tensor, "n 3 h w"]:
    """Crops of the proportions `h : w`, drawn from the files in turn, resized to `h x w`.

    A crop is as high as `h` pixels at least and as the photograph allows at most, uniformly
    between; its place is uniform too. What is drawn for crop `i` depends on `seed` and `i` alone.

    Args:
        files: photographs; grey ones and palettes become RGB, and what is transparent white.
        n: how many crops.
        h, w: their size in pixels.
        seed: other crops for each.

    Raises:
        DataError: if a file cannot be read, or is smaller than `h x w`.
        ValueError: if `n`, `h` or `w` is below 1.
    """
    for name, value in (("n", n), ("h", h), ("w", w)):
        if value < 1:
            raise ValueError(f"`{name}` must be at least 1, but is {value}.")
    crops = torch.empty(n, 3, h, w, dtype=torch.uint8)
    for place, file in enumerate(files[:n]):
        image = _read(file)
        width, height = image.size
        most = min(height / h, width / w)
        if most < 1:
            raise DataError(
                f"{file} is too small: {height} x {width} pixels, where {h} x {w} are needed. "
                "Remove it, or ask for a smaller size."
            )
        for i in range(place, n, len(files)):
            draw = torch.Generator().manual_seed(stable_seed(seed, i))
            scale, y, x = torch.rand(3, generator=draw).tolist()
            scale = 1 + scale * (most - 1)
            top, left = y * (height - scale * h), x * (width - scale * w)
            box = (left, top, left + scale * w, top + scale * h)
            crop = image.resize((w, h), Image.Resampling.BILINEAR, box=box)
            crops[i] = (
                torch.frombuffer(bytearray(crop.tobytes()), dtype=torch.uint8)
                .view(h, w, 3)
                .permute(2, 0, 1)
            )  # h w c -> c h w
    return crops


def photograph_of(n: int, files: list[Path]) -> Int64[Tensor, " n"]:
    """The number of the photograph that each of `n` random crops is of: groups for a probe.

    >>> photograph_of(5, [Path("a.png"), Path("b.png")]).tolist()
    [0, 1, 0, 1, 0]
    """
    return torch.arange(n) % len(files)


def grey(images: UInt8[Tensor, "n 3 h w"]) -> UInt8[Tensor, "n 1 h w"]:
    """The luminance of images in RGB, as Pillow has it (ITU-R 601-2).

    >>> grey(torch.tensor([255, 0, 0], dtype=torch.uint8).view(1, 3, 1, 1)).flatten().tolist()
    [76]
    """
    red, green, blue = images.int().unbind(1)
    luminance = (19595 * red + 38470 * green + 7471 * blue + 0x8000) >> 16
    return luminance[:, None].to(torch.uint8)


@final
class Normalised:
    """Batches of 8-bit images as floats, of a mean and deviation; they can be read repeatedly.

    Args:
        images: kept as bytes; a batch at a time becomes floats.
        batch_size: images a batch.
        mean, std: of each channel, of values in [0, 1].

    Raises:
        ValueError: if `batch_size` is below 1.

    >>> white = torch.full((3, 3, 1, 2), 255, dtype=torch.uint8)
    >>> [(len(b), float(b.max())) for b in Normalised(white, 2, (0.5,) * 3, (0.5,) * 3)]
    [(2, 1.0), (1, 1.0)]
    """

    def __init__(
        self,
        images: UInt8[Tensor, "n c h w"],
        batch_size: int,
        mean: tuple[float, ...] = IMAGENET_MEAN,
        std: tuple[float, ...] = IMAGENET_STD,
    ) -> None:
        if batch_size < 1:
            raise ValueError(f"`batch_size` must be at least 1, but is {batch_size}.")
        self.images = images
        self.batch_size = batch_size
        self.normalise = Normalise(mean, std)

    def __len__(self) -> int:
        return -(-len(self.images) // self.batch_size)

    def __iter__(self) -> Iterator[Float[Tensor, "b c h w"]]:
        for batch in self.images.split(self.batch_size):
            yield self.normalise(batch)


def _read(file: Path) -> Image.Image:
    """A photograph, upright, in RGB on white."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(file) as image:
                upright = ImageOps.exif_transpose(image)
                if upright.mode.startswith(("I", "F")):
                    raise DataError(
                        f"{file} has {upright.mode!r} pixels of more than 8 bits. Convert it to 8 "
                        "bits a channel."
                    )
                if "transparency" in upright.info or "A" in upright.getbands():
                    over = upright.convert("RGBA")
                    white = Image.new("RGBA", over.size, "white")
                    return Image.alpha_composite(white, over).convert("RGB")
                return upright.convert("RGB")
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise DataError(f"{file} claims more pixels than are safe to read: {error}") from error
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        raise DataError(f"{file} cannot be read as an image: remove or replace it.") from error
