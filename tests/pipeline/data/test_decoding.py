"""Images are decoded as a viewer shows them, or refused by name."""

import io
import os
import struct

import numpy as np
import pytest
from PIL import Image

from pipeline.data.decoding import read_image, read_images
from pipeline.data.image_trees import ImageFile
from pipeline.errors import MachineError, UserError

RAMP = (np.arange(32, dtype=np.uint16) * 2000).reshape(4, 8)  # 16 bits


def save(path, image, **options):
    image.save(path, **options)
    return path


@pytest.mark.parametrize("ending", ["png", "tif", "pgm"])
def test_sixteen_bits_of_grey_are_brought_to_eight(tmp_path, ending):
    pixels = read_image(save(tmp_path / f"a.{ending}", Image.fromarray(RAMP)))
    assert pixels.shape == (4, 8, 3)
    assert np.abs(pixels[:, :, 0].astype(int) - RAMP / 257).max() <= 1


@pytest.mark.parametrize(
    ("orientation", "corner"), [(1, (0, 0)), (3, (3, 7)), (6, (0, 3)), (8, (7, 0)), (2, (0, 7))]
)
def test_an_image_is_turned_as_its_camera_says(tmp_path, orientation, corner):
    pixels = np.zeros((4, 8, 3), np.uint8)
    pixels[0, 0] = 255
    exif = Image.Exif()
    exif[0x112] = orientation
    read = read_image(save(tmp_path / "a.png", Image.fromarray(pixels), exif=exif))
    assert read.shape == ((8, 4, 3) if orientation in {6, 8} else (4, 8, 3))
    assert np.argwhere(read[:, :, 0]).tolist() == [list(corner)]


@pytest.mark.parametrize("mode", ["RGBA", "LA", "PA"])
def test_what_is_transparent_is_white(tmp_path, mode):
    image = Image.new("RGBA", (8, 4), (0, 0, 0, 0))
    image.putpixel((1, 0), (10, 10, 10, 255))
    pixels = read_image(
        save(
            tmp_path / "a.tif" if mode == "PA" else tmp_path / "a.png",
            image if mode == "PA" else image.convert(mode),
        )
    )
    assert pixels[0, 1].tolist() == [10, 10, 10]
    assert pixels[2, 2].tolist() == [255, 255, 255]


def test_grey_of_twelve_bits_and_of_white_zero_is_shown_as_it_is_meant(tmp_path):
    path = tmp_path / "a.tif"
    packed = bytes.fromhex("000fff 800001")  # two rows: 0, 4095; 2048, 1
    path.write_bytes(tiff(packed, bits=12, photometric=1))
    assert read_image(path)[:, :, 0].tolist() == [[0, 255], [127, 0]]
    words = struct.pack("<4H", 0, 65535, 32768, 257)
    path.write_bytes(tiff(words, bits=16, photometric=1))
    assert read_image(path)[:, :, 0].tolist() == [[0, 255], [127, 1]]
    path.write_bytes(tiff(words, bits=16, photometric=0))
    assert read_image(path)[:, :, 0].tolist() == [[255, 0], [128, 254]]


def tiff(pixels, *, bits, photometric):
    """A grey image of 2 x 2 pixels, written by hand (TIFF 6.0, section 2)."""
    tags = {256: 2, 257: 2, 258: bits, 259: 1, 262: photometric}
    tags |= {273: 8, 277: 1, 278: 2, 279: len(pixels)}
    at = 8 + len(pixels)
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    directory = struct.pack("<H", len(tags)) + entries + bytes(4)
    return struct.pack("<2sHI", b"II", 42, at) + pixels + directory


def test_a_transparent_grey_of_sixteen_bits_is_white(tmp_path):
    grey = np.full((4, 4), 30_000, np.uint16)
    grey[0, 0] = 5
    path = save(tmp_path / "a.png", Image.fromarray(grey), transparency=30_000)
    assert read_image(path)[1, 1].tolist() == [255, 255, 255]
    assert read_image(path)[0, 0].tolist() == [0, 0, 0]


def test_more_images_than_memory_holds_are_refused_before_they_are_decoded(tmp_path, monkeypatch):
    save(tmp_path / "a.png", Image.new("RGB", (100, 50)))
    files = [ImageFile(tmp_path, "a.png", (tmp_path / "a.png").stat().st_size)] * 1000
    monkeypatch.setattr(os, "sysconf", lambda _: 2**12)  # 16 MiB in all
    with pytest.raises(UserError, match=r"1,000 images of 100x50 take 0.0 GiB .* set image_size"):
        read_images(files, False)


def test_a_transparent_colour_of_a_palette_is_white(tmp_path):
    image = Image.new("P", (8, 4), 3)
    image.putpalette([0, 0, 0] * 256)
    path = save(tmp_path / "a.png", image, transparency=3)
    assert read_image(path).min() == 255


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "CMYK", "YCbCr"])
def test_other_modes_are_read_as_pillow_shows_them(tmp_path, mode):
    image = Image.linear_gradient("L").resize((8, 8)).convert("RGB").convert(mode)
    path = save(tmp_path / ("a.tif" if mode in {"CMYK", "YCbCr"} else "a.png"), image)
    with Image.open(path) as shown:
        assert np.array_equal(read_image(path), np.asarray(shown.convert("RGB")))


@pytest.mark.parametrize("dtype", [np.float32, np.int32])
def test_pixels_that_no_viewer_shows_are_refused_with_mode_and_file(tmp_path, dtype):
    path = save(tmp_path / "a.tif", Image.fromarray(RAMP.astype(dtype) * 40000))
    with pytest.raises(UserError, match=r"a\.tif: .* (F|I) \(Pillow's mode\)"):
        read_image(path)


def damaged(kind):
    """A PNG's or JPEG's bytes with a fault of some kind."""
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 255, (200, 200, 3), np.uint8))
    packed = io.BytesIO()
    noise.save(packed, "JPEG" if kind == "jpeg" else "PNG")
    data = bytearray(packed.getvalue())
    at = data.find(b"IDAT")
    if kind == "chunk":  # after its first IDAT: Pillow raises SyntaxError
        second = data.find(b"IDAT", at + 4)
        data[second : second + 4] = b"\xff" * 4
    elif kind == "pixels":
        data[at + 3000 : at + 3040] = bytes(40)
    elif kind in {"cut", "jpeg"}:
        del data[len(data) // 2 :]
    elif kind == "header":
        data[16:20] = b"\xff\xff\xff\xff"  # a width of four thousand million
    else:
        data[:] = {"empty": b"", "text": b"<svg/>", "start": b"\x89PNG"}[kind]
    return bytes(data)


@pytest.mark.parametrize(
    "kind", ["chunk", "pixels", "cut", "jpeg", "header", "empty", "text", "start"]
)
def test_whatever_a_decoder_raises_names_the_file_in_one_line(tmp_path, kind):
    path = tmp_path / "odd\tname.png"
    path.write_bytes(damaged(kind))
    with pytest.raises(UserError, match=r"name\.png: not an image that can be read") as caught:
        read_image(path)
    assert "\n" not in str(caught.value)
    assert "0x" not in str(caught.value)


def test_a_file_that_is_not_here_is_the_machine_s_fault(tmp_path):
    with pytest.raises(MachineError, match=r"gone\.png: No such file"):
        read_image(tmp_path / "gone.png")
    with pytest.raises(MachineError, match=r"gone\.png: No such file"):
        read_image(ImageFile(tmp_path, "gone.png", 10))


def test_a_stored_search_reads_images_as_it_did(tmp_path):
    path = save(tmp_path / "a.png", Image.fromarray(RAMP))
    with Image.open(path) as image:
        assert np.array_equal(read_image(path, as_before=True), np.asarray(image.convert("RGB")))
