"""Picture files of every kind that people have, and of kinds that they should not have."""

import io
import re
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from trees import pixels

from visionpe.data.pictures import read_picture
from visionpe.errors import DataError

H, W = 12, 17


def saved(path: Path, image: Image.Image, **options: Any) -> Path:
    image.save(path, **options)
    return path


def test_colours_and_grey_are_read_as_they_are(tmp_path: Path) -> None:
    array = pixels(H, W, 3)
    path = saved(tmp_path / "a.png", Image.fromarray(array))
    assert torch.equal(read_picture(path), torch.from_numpy(array).permute(2, 0, 1))
    grey = saved(tmp_path / "b.png", Image.fromarray(array[..., 0]))
    assert torch.equal(read_picture(grey, channels=1)[0], torch.from_numpy(array[..., 0]))
    assert torch.equal(read_picture(grey), read_picture(grey, channels=1).expand(3, H, W))
    assert torch.equal(read_picture(path.read_bytes()), read_picture(path))


@pytest.mark.parametrize("mode", ["CMYK", "YCbCr", "L", "1", "P", "LA", "RGBA", "PA"])
def test_every_mode_becomes_colours_of_eight_bits(mode: str, tmp_path: Path) -> None:
    image = Image.fromarray(pixels(H, W, 3)).convert("P" if mode == "PA" else mode)
    ending = {"CMYK": "jpg", "YCbCr": "jpg"}.get(mode, "png")
    options = {"transparency": bytes(range(200))} if mode == "PA" else {}
    picture = read_picture(saved(tmp_path / f"a.{ending}", image, **options))
    assert picture.shape == (3, H, W)
    assert picture.dtype == torch.uint8
    assert picture.float().std() > 10


def test_of_sixteen_bits_the_upper_eight_are_kept(tmp_path: Path) -> None:
    deep = np.random.default_rng(0).integers(0, 65536, (H, W), dtype=np.uint16)
    for ending in ("png", "tif"):
        picture = read_picture(saved(tmp_path / f"a.{ending}", Image.fromarray(deep)))
        expected = torch.from_numpy((deep >> 8).astype(np.uint8)).expand(3, H, W)
        assert torch.equal(picture, expected)


def test_of_an_animation_the_first_picture_is_read(tmp_path: Path) -> None:
    frames = [Image.new("L", (W, H), 40 * i) for i in range(1, 4)]
    path = saved(tmp_path / "a.gif", frames[0], save_all=True, append_images=frames[1:])
    assert torch.equal(read_picture(path), torch.full((3, H, W), 40, dtype=torch.uint8))


def test_one_pixel_is_a_picture(tmp_path: Path) -> None:
    assert read_picture(saved(tmp_path / "a.png", Image.new("RGB", (1, 1), "red"))).shape == (
        3,
        1,
        1,
    )


def bomb(side: int) -> bytes:
    """A PNG whose header says `side x side`, and hardly more."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        check = zlib.crc32(kind + data)
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", check)

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    data = zlib.compress(bytes(1000))
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("side", [10_000, 20_000])
def test_a_bomb_is_refused_before_it_is_unpacked(side: int, tmp_path: Path) -> None:
    path = tmp_path / "bomb.png"
    path.write_bytes(bomb(side))
    message = (
        f"{path} has more than {Image.MAX_IMAGE_PIXELS} pixels, as a file does that is made to "
        "fill memory. Reduce it, replace or remove it."
    )
    with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
        read_picture(path)


def whole(ending: str) -> bytes:
    data = io.BytesIO()
    Image.fromarray(pixels(60, 80, 3)).save(data, ending)
    return data.getvalue()


@pytest.mark.parametrize("ending", ["jpeg", "png", "gif", "webp", "bmp", "tiff", "avif"])
def test_a_part_of_a_file_is_damaged_and_named(ending: str, tmp_path: Path) -> None:
    data = whole(ending)
    for share in (0.0, 0.05, 0.3, 0.6, 0.9):
        path = tmp_path / f"a.{ending}"
        path.write_bytes(data[: int(len(data) * share)])
        with pytest.raises(DataError) as caught:
            read_picture(path)
        message = str(caught.value)
        assert message.startswith(f"{path} is ")
        assert message.endswith(" Replace or remove it.")
        assert "\n" not in message
        assert len(message) < 300


@pytest.mark.parametrize("ending", ["jpeg", "png", "gif", "webp", "avif"])
def test_flipped_bits_give_a_picture_or_one_sentence(ending: str, tmp_path: Path) -> None:
    data, random = whole(ending), np.random.default_rng(0)
    path = tmp_path / "a.bin"
    for _ in range(30):
        flipped = bytearray(data)
        for at in random.integers(0, len(data), 3):
            flipped[at] ^= 1 << int(random.integers(8))
        path.write_bytes(flipped)
        try:
            said = f"{path} gives {tuple(read_picture(path).shape)}"
        except DataError as error:
            said = str(error)
        assert said.startswith(f"{path} ")
        assert "\n" not in said


def test_what_is_no_picture_is_named(tmp_path: Path) -> None:
    path = tmp_path / "notes.png"
    path.write_text("no picture")
    for file, message in [
        (path, f"{path} is no picture that Pillow reads. Replace or remove it."),
        (tmp_path / "gone.png", f"{tmp_path / 'gone.png'} is not there."),
        (tmp_path, f"{tmp_path} cannot be read: Is a directory."),
    ]:
        with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
            read_picture(file)


def test_floating_point_pictures_are_refused(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.tif", Image.fromarray(np.ones((H, W), np.float32)))
    message = f"{path} has floating-point values of no known range. Convert it to 8 bits."
    with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
        read_picture(path)
    path = saved(tmp_path / "b.tif", Image.fromarray(np.full((H, W), 70_000, np.int32)))
    message = f"{path} has values of more than 16 bits. Convert it to 8 bits."
    with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
        read_picture(path)
