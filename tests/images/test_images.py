"""Images from every place a caller may have them."""

from __future__ import annotations

import base64
import contextlib
import io
import os
import struct
import subprocess
import sys
import warnings
from pathlib import Path
from urllib.parse import quote_from_bytes

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image as PILImage

from lollms_core import Image, ImageError
from lollms_core.images import base64_text, data_url, load_image, load_images, media_type_of


def encoded(format: str = "PNG", size: tuple[int, int] = (9, 7)) -> bytes:
    buffer = io.BytesIO()
    PILImage.new("RGB", size, "teal").save(buffer, format)
    return buffer.getvalue()


PNG = encoded()
FORMATS = [
    ("PNG", "image/png"),
    ("JPEG", "image/jpeg"),
    ("GIF", "image/gif"),
    ("WEBP", "image/webp"),
    ("BMP", "image/bmp"),
    ("TIFF", "image/tiff"),
    ("AVIF", "image/avif"),
]


@pytest.mark.parametrize(("format", "media_type"), FORMATS)
def test_the_media_type_comes_from_the_bytes_and_not_from_the_ending(
    format: str, media_type: str, tmp_path: Path
) -> None:
    path = tmp_path / "photo.txt"
    path.write_bytes(encoded(format))
    assert load_image(path) == Image(encoded(format), media_type)


def test_heic_and_big_endian_tiff_by_their_first_bytes() -> None:
    # Pillow writes neither: ISO/IEC 23008-12 gives the brand, TIFF 6.0 the byte order mark.
    assert media_type_of(b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00") == "image/heic"
    assert media_type_of(b"MM\x00*\x00\x00\x00\x08") == "image/tiff"
    assert media_type_of(b"\x00\x00\x00\x18ftypisom") is None


@pytest.mark.parametrize(
    "source_of",
    [
        lambda path: str(path),
        lambda path: path,
        lambda path: path.read_bytes(),
        lambda path: bytearray(path.read_bytes()),
        lambda path: memoryview(path.read_bytes()),
        lambda path: Image(path.read_bytes(), "image/x-wrong"),
        lambda path: "data:image/jpeg;base64," + base64.b64encode(path.read_bytes()).decode(),
        lambda path: "DATA:;base64," + quote_from_bytes(base64.encodebytes(path.read_bytes())),
        lambda path: "data:image/png," + quote_from_bytes(path.read_bytes()),
        lambda path: base64.b64encode(path.read_bytes()).decode(),
    ],
    ids=[
        "str",
        "Path",
        "bytes",
        "bytearray",
        "memoryview",
        "Image",
        "data",
        "data, line breaks",
        "data, text",
        "base64",
    ],
)
def test_every_kind_of_source(source_of: object, tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(PNG)
    assert callable(source_of)
    assert load_image(source_of(path)) == Image(PNG, "image/png")


@pytest.mark.parametrize(
    "mode", ["1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "HSV", "LAB", "I", "I;16", "F"]
)
def test_pil_images_of_every_mode(mode: str) -> None:
    image = load_image(PILImage.new(mode, (4, 3)))
    assert image.media_type == "image/png"
    assert image.data is not None
    assert PILImage.open(io.BytesIO(image.data)).size == (4, 3)


def test_an_opened_pil_image_keeps_its_transparency() -> None:
    opened = PILImage.open(io.BytesIO(load_image(PILImage.new("RGBA", (2, 2), (1, 2, 3, 4))).data or b""))
    assert PILImage.open(io.BytesIO(load_image(opened).data or b"")).getpixel((0, 0)) == (1, 2, 3, 4)


DEPTHS = (0, 255, 256, 1000, 60000, 65535)


def deep_tiff(order: str) -> bytes:
    """A TIFF of 16 bits a pixel, by TIFF 6.0: Pillow writes those of its own machine's byte order alone."""
    pixels = struct.pack(f"{order}6H", *DEPTHS)
    tags = {256: len(DEPTHS), 257: 1, 258: 16, 259: 1, 262: 1, 273: 8, 277: 1, 278: 1, 279: len(pixels)}
    directory = b"".join(struct.pack(f"{order}HHIHH", tag, 3, 1, value, 0) for tag, value in tags.items())
    head = struct.pack(f"{order}2sHI", b"MM" if order == ">" else b"II", 42, 8 + len(pixels))
    return head + pixels + struct.pack(f"{order}H", len(tags)) + directory + bytes(4)


def deep_picture(mode: str) -> PILImage.Image:
    picture = PILImage.new(mode, (len(DEPTHS), 1))
    for x, depth in enumerate(DEPTHS):
        picture.putpixel((x, 0), depth)
    return picture


@pytest.mark.parametrize(
    "picture",
    [
        *(deep_picture(mode) for mode in ("I", "I;16", "I;16B", "I;16L", "I;16N")),
        *(PILImage.open(io.BytesIO(deep_tiff(order))) for order in "<>"),
    ],
    ids=lambda picture: f"{type(picture).__name__} {picture.mode}",
)
def test_sixteen_bits_a_pixel_are_kept(picture: PILImage.Image) -> None:
    saved = PILImage.open(io.BytesIO(load_image(picture).data or b""))
    assert [saved.getpixel((x, 0)) for x in range(len(DEPTHS))] == list(DEPTHS)


@pytest.mark.parametrize("exif", [b"Exif\0\0garbage!!", b"Exif\0\0MM\0*\0\0"], ids=["none", "cut off"])
@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP"])
def test_a_picture_whose_exif_is_broken(format: str, exif: bytes) -> None:
    buffer = io.BytesIO()
    PILImage.new("RGB", (3, 2), "teal").save(buffer, format, exif=exif)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's own about such EXIF
        data = load_image(PILImage.open(buffer)).data
    assert PILImage.open(io.BytesIO(data or b"")).size == (3, 2)


def test_a_truncated_pil_image() -> None:
    opened = PILImage.open(io.BytesIO(encoded("BMP", (200, 200))[:4000]))
    with pytest.raises(ImageError, match="PIL image cannot be encoded"):
        load_image(opened)


@pytest.mark.parametrize("url", ["http://127.0.0.1:9/cat.png", "HTTPS://example.invalid/cat.png?x=1"])
def test_urls_are_kept_and_not_fetched(url: str) -> None:
    image = load_image(url)
    assert image == Image(None, None, url)
    assert data_url(image) == url
    with pytest.raises(ImageError, match="its bytes are needed") as caught:
        base64_text(image)
    assert "never fetched" in caught.value.hint


def test_encoding() -> None:
    image = load_image(PNG)
    assert base64.b64decode(base64_text(image)) == PNG
    assert data_url(image) == "data:image/png;base64," + base64_text(image)
    assert load_image(data_url(image)) == image


def test_a_missing_file_names_the_path_and_says_where_it_was_looked_for() -> None:
    with pytest.raises(ImageError, match=r"no image file pictures/nothing\.png") as caught:
        load_image("pictures/nothing.png")
    assert os.getcwd() in caught.value.hint


def test_a_missing_file_while_the_current_directory_is_deleted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    with pytest.raises(ImageError, match=r"no image file nothing\.png") as caught:
        load_image("nothing.png")
    assert "has been deleted" in caught.value.hint


def test_a_directory(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="is a directory"):
        load_image(tmp_path)


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(ImageError, match="not a regular file"):
        load_image(tmp_path / "pipe.png")


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(PNG)
    # Below a regular file; permissions would not stop the superuser.
    with pytest.raises(ImageError, match="cannot be read: Not a directory"):
        load_image(tmp_path / "file" / "a.png")


def test_an_empty_file(tmp_path: Path) -> None:
    path = tmp_path / "empty.png"
    path.touch()
    with pytest.raises(ImageError, match=r"empty\.png is empty"):
        load_image(path)


def test_not_an_image(tmp_path: Path) -> None:
    path = tmp_path / "notes.png"
    path.write_text("BM is how a bitmap begins, but this is text.")
    with pytest.raises(ImageError, match=r"notes\.png is not an image of a known kind") as caught:
        load_image(path)
    assert "PNG" in caught.value.hint


def test_a_large_file_is_refused_before_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "huge.png"
    with path.open("wb") as file:
        file.truncate(2**40)  # sparse: reading it would need a tebibyte
    with pytest.raises(ImageError, match=r"huge\.png is too large: 1048576\.0 MiB, and the limit is 20\.0 MiB"):
        load_image(path)


@pytest.mark.parametrize(
    "source", [PNG, "data:;base64," + base64.b64encode(PNG).decode(), base64.b64encode(PNG).decode()]
)
def test_the_limit_holds_for_every_source(source: bytes | str) -> None:
    assert load_image(source, max_bytes=len(PNG)).data == PNG
    with pytest.raises(ImageError, match="too large"):
        load_image(source, max_bytes=len(PNG) - 1)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("data:image/png;base64", "no comma"),
        ("data:image/png;base64,####", "not valid base64"),
        ("data:image/png;base64,iVBORw0KGgo", "not valid base64"),
        ("data:image/png;base64,", "is empty"),
        ("data:,hello", "not an image"),
        ("", "no image file"),
        ("a\0b", "cannot be the path"),
        ("x" * 10_000, "cannot be read: File name too long"),
    ],
)
def test_malformed_text(source: str, message: str) -> None:
    with pytest.raises(ImageError, match=message) as caught:
        load_image(source)
    assert len(caught.value.message) < 500


@given(st.one_of(st.text(max_size=80), st.binary(max_size=80), st.text(max_size=60).map("data:{}".format)))
def test_anything_else_is_an_image_error(source: str | bytes) -> None:
    image = None
    with contextlib.suppress(ImageError):
        image = load_image(source)
    assert image is None or image.url or image.media_type


@pytest.mark.parametrize("source", [None, 3, ["a.png"], object()])
def test_wrong_types(source: object) -> None:
    with pytest.raises(TypeError, match="an image is a path"):
        load_image(source)  # type: ignore[arg-type]


def test_an_image_value_without_anything() -> None:
    with pytest.raises(ImageError):
        load_image(Image(None, None))


def test_several(tmp_path: Path) -> None:
    assert load_images([PNG, "http://a.example/b.png"]) == (
        Image(PNG, "image/png"),
        Image(None, None, "http://a.example/b.png"),
    )
    assert load_images(()) == ()


@pytest.mark.parametrize("one", ["a.png", b"x", Path("a.png"), Image(PNG, "image/png"), PILImage.new("L", (1, 1))])
def test_one_image_is_not_a_list(one: object) -> None:
    with pytest.raises(TypeError, match="must be a list of images"):
        load_images(one)  # type: ignore[arg-type]


def test_pillow_is_not_imported_for_other_sources(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(PNG)
    program = "import sys; from lollms_core.images import *; load_image(sys.argv[1]); assert 'PIL' not in sys.modules"
    subprocess.run([sys.executable, "-c", program, str(path)], check=True)


def test_an_image_whose_file_has_been_closed_is_an_error_of_ours(tmp_path: Path) -> None:
    PILImage.new("RGB", (2, 2)).save(tmp_path / "a.png")
    with PILImage.open(tmp_path / "a.png") as image:
        pass
    with pytest.raises(ImageError):
        load_image(image)
