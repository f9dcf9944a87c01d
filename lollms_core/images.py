"""Images from wherever the caller has them, as checked bytes with their true media type.

Only what is given as a path is read from disk, and a URL is passed on for the server to resolve, never fetched.
"""

from __future__ import annotations

import base64
import binascii
import os
import stat
from collections.abc import Iterable
from io import BytesIO
from typing import TYPE_CHECKING, Union
from urllib.parse import unquote_to_bytes

from lollms_core.contract.errors import ImageError
from lollms_core.contract.types import Image

if TYPE_CHECKING:
    from PIL.Image import Image as PILImage

__all__ = ["MAX_IMAGE_BYTES", "ImageSource", "base64_text", "data_url", "load_image", "load_images"]

MAX_IMAGE_BYTES = 20 * 1024 * 1024
"""The default size limit of one image, in bytes: what the large providers accept at most."""

ImageSource = Union[str, "os.PathLike[str]", bytes, Image, "PILImage"]
"""What `load_image` accepts."""

_FORMATS = "PNG, JPEG, GIF, WebP, BMP, TIFF, AVIF and HEIC"


def load_image(source: ImageSource, *, max_bytes: int = MAX_IMAGE_BYTES) -> Image:
    """The image in `source`, checked.

    Args:
        source: the path of a file as a string or path object, the file's bytes, a `data:` URL, an `http(s)` URL (kept
            as it is: `Image.url`), a `PIL.Image.Image` (encoded as PNG), an `Image`, or the bytes in base64, in a
            string that names no file.
        max_bytes: the size limit in bytes of the encoded file.

    The media type comes from the first bytes; the file's ending and the type that a data URL states are not believed.
    Raises `ImageError` if there is no such file, it cannot be read, is too large, or is not an image; `TypeError` if
    `source` is none of the above.
    """
    if isinstance(source, Image):
        if source.data is None and not source.url:
            raise ImageError("the Image has neither data nor a URL", hint="Make it with load_image.")
        return source if source.data is None else _checked(source.data, "the image", max_bytes)
    if isinstance(source, (bytes, bytearray, memoryview)):
        return _checked(bytes(source), "the image", max_bytes)
    if isinstance(source, str):
        return _from_text(source, max_bytes)
    if isinstance(source, os.PathLike):
        return _from_file(os.fspath(source), max_bytes)
    if _is_pil_image(source):
        return _from_pil(source, max_bytes)
    raise TypeError(f"an image is a path, bytes, a data: or http(s) URL or a PIL image, not {type(source).__name__}")


def load_images(sources: Iterable[ImageSource], *, max_bytes: int = MAX_IMAGE_BYTES) -> tuple[Image, ...]:
    """`load_image` for each. Raises `TypeError` if a single image is given in place of a list."""
    if isinstance(sources, (str, bytes, bytearray, os.PathLike, Image)) or _is_pil_image(sources):
        raise TypeError(f"images must be a list of images, not one {type(sources).__name__}: write [image]")
    return tuple(load_image(source, max_bytes=max_bytes) for source in sources)


def data_url(image: Image) -> str:
    """A URL for the image: its own, or a `data:` URL with its bytes."""
    if image.data is None:
        return image.url or ""
    return f"data:{image.media_type};base64,{base64_text(image)}"


def base64_text(image: Image) -> str:
    """The bytes in base64, without a prefix. Raises `ImageError` for an image that is only a URL."""
    if image.data is None:
        raise ImageError(
            f"the image {image.place} is a URL, and its bytes are needed here",
            hint="Download it yourself and pass the file's path or its bytes; URLs are never fetched.",
        )
    return base64.b64encode(image.data).decode("ascii")


def media_type_of(data: bytes) -> str | None:
    """The media type that the first bytes of a file show; `None` if it is no image of a known kind."""
    for magic, media_type in _MAGIC:
        if data.startswith(magic):
            return media_type
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image/webp"
    if data[:2] == b"BM" and data[6:10] == b"\x00\x00\x00\x00":
        return "image/bmp"
    if data[4:8] == b"ftyp":
        return _BRANDS.get(data[8:12])
    return None


_MAGIC = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
    (b"II*\x00", "image/tiff"),
    (b"MM\x00*", "image/tiff"),
)
_BRANDS = {
    **dict.fromkeys((b"avif", b"avis"), "image/avif"),
    **dict.fromkeys((b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"), "image/heic"),
}


def _from_text(source: str, max_bytes: int) -> Image:
    scheme = source[:8].lower()
    if scheme.startswith("data:"):
        return _from_data_url(source, max_bytes)
    if scheme.startswith(("http://", "https://")):
        return Image(None, None, source)
    if _begins_like_base64_image(source) and not os.path.lexists(source):
        return _checked(_decoded_base64(source, "the base64 text", max_bytes), "the base64 text", max_bytes)
    return _from_file(source, max_bytes)


def _begins_like_base64_image(source: str) -> bool:
    head = source[:_BASE64_HEAD]
    try:
        return len(head) == _BASE64_HEAD and media_type_of(base64.b64decode(head, validate=True)) is not None
    except ValueError:  # not base64, or not ASCII
        return False


_BASE64_HEAD = 64
"""The shortest base64 text, in characters, that is taken for an image."""


def _from_data_url(source: str, max_bytes: int) -> Image:
    header, comma, body = source.partition(",")
    if not comma:
        raise ImageError(
            "a data: URL of an image has no comma between its header and its data",
            hint="It must look like data:image/png;base64,iVBORw0…",
        )
    what = "the image in the data: URL"
    if header.lower().rstrip().endswith(";base64"):
        return _checked(_decoded_base64(body, what, max_bytes), what, max_bytes)
    return _checked(unquote_to_bytes(body), what, max_bytes)


def _decoded_base64(text: str, what: str, max_bytes: int) -> bytes:
    if len(text) * 3 // 4 - 2 > max_bytes and len("".join(text.split())) * 3 // 4 - 2 > max_bytes:
        raise _too_large(what, len(text) * 3 // 4, max_bytes)
    try:
        # Line breaks and percent-encoding are allowed in data URLs.
        return base64.b64decode(b"".join(unquote_to_bytes(text).split()), validate=True)
    except binascii.Error as error:
        raise ImageError(
            f"{what} is not valid base64: {error}",
            hint="Encode the file's bytes with base64.b64encode, or pass a path.",
        ) from None


def _from_file(path: str, max_bytes: int) -> Image:
    name = path if len(path) <= _LONGEST_NAME else f"{path[:_LONGEST_NAME]}…"
    try:
        status = os.stat(path)
        if stat.S_ISDIR(status.st_mode):
            raise ImageError(f"{name} is a directory, not an image", hint="Give the path of an image file in it.")
        if not stat.S_ISREG(status.st_mode):
            # Reading a pipe or a device could wait for ever.
            raise ImageError(f"{name} is not a regular file", hint="Read it yourself and pass the bytes.")
        if status.st_size > max_bytes:
            raise _too_large(name, status.st_size, max_bytes)
        with open(path, "rb") as file:
            data = file.read(max_bytes + 1)
    except FileNotFoundError:
        raise ImageError(
            f"there is no image file {name}",
            hint=f"Check the path; {_current_directory()}." if not os.path.isabs(path) else None,
        ) from None
    except ValueError as error:
        if isinstance(error, ImageError):
            raise
        raise ImageError(f"{name!r} cannot be the path of an image: {error}") from None
    except OSError as error:
        raise ImageError(
            f"the image file {name} cannot be read: {error.strerror or error}",
            hint="Check the file's permissions, and that the text you passed really is a path.",
        ) from None
    return _checked(data, name, max_bytes)


_LONGEST_NAME = 300


def _current_directory() -> str:
    try:
        return f"the current directory is {os.getcwd()}"
    except OSError:
        return "the current directory has been deleted"


def _is_pil_image(source: object) -> bool:
    """Whether this is a PIL image, without importing Pillow: only who has one has imported it."""
    return any(cls.__name__ == "Image" and cls.__module__.partition(".")[0] == "PIL" for cls in type(source).__mro__)


def _from_pil(source: PILImage, max_bytes: int) -> Image:
    buffer = BytesIO()
    try:
        source = _upright(source)
        if source.mode == "F":
            source = _with_whole_numbers(source)
        elif source.mode not in _PNG_MODES:
            if source.mode.startswith("I;16"):
                source = source.convert("I")  # straight to another order of bytes, all above 255 would become 255
            source = source.convert(_MODES_TO_CONVERT.get(source.mode, "RGB"))
        source.save(buffer, "PNG")
    except Exception as error:  # of many kinds: Pillow asserts that a file is open, for one
        raise ImageError(
            f"the PIL image cannot be encoded: {error}", hint="Check that its file is complete."
        ) from error
    return _checked(buffer.getvalue(), "the PIL image", max_bytes)


def _upright(source: PILImage) -> PILImage:
    """The image turned as its camera was held, for which PNG has no place."""
    from PIL import ImageOps  # who has such an image has Pillow

    try:
        return ImageOps.exif_transpose(source)
    except Exception:  # a malformed EXIF gives many kinds; where it is the picture that is broken, encoding says so
        return source


def _with_whole_numbers(source: PILImage) -> PILImage:
    """An image of floating-point brightness: from 0 to 1, as arrays of numbers have it, or from 0 to 255."""
    low, high = source.getextrema()
    if isinstance(high, float) and isinstance(low, float) and low >= 0 and high <= 1:
        source = source.point(lambda brightness: brightness * 255 + 0.5)
    return source.convert("L")


_PNG_MODES = frozenset({"1", "L", "LA", "I;16", "P", "RGB", "RGBA"})
_MODES_TO_CONVERT = {"I": "I;16", "PA": "RGBA", "La": "LA", "RGBa": "RGBA"}
"""Those that PNG does not have, and what keeps most of them; for all others that is RGB."""


def _checked(data: bytes, what: str, max_bytes: int) -> Image:
    if not data:
        raise ImageError(f"{what} is empty", hint="Check how it was written.")
    if len(data) > max_bytes:
        raise _too_large(what, len(data), max_bytes)
    media_type = media_type_of(data)
    if media_type is None:
        raise ImageError(f"{what} is not an image of a known kind", hint=f"Supported types: {_FORMATS}.")
    return Image(data, media_type)


def _too_large(what: str, size: int, max_bytes: int) -> ImageError:
    return ImageError(
        f"{what} is too large: {size / 2**20:.1f} MiB, and the limit is {max_bytes / 2**20:.1f} MiB",
        hint="Scale the image down; models see little more than 2,000 pixels a side.",
    )
