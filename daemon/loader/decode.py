"""Bytes to pixels: format by content, first frame, upright, RGB over white, and bilinear to a square.

For all but large JPEGs the pixels are exactly those of a full decode, `convert("RGB")` and `resize(BILINEAR)`. A JPEG
of four times the target or more is decoded by libjpeg at a half, a quarter or an eighth, never below twice the target
(`draft`), which keeps the vector within a cosine of 0.999. `signature.PREPROCESSING` is the name of all this.
"""

import contextlib
import struct
import warnings
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from io import BytesIO

from PIL import (
    AvifImagePlugin,
    Image,
    ImageFile,
    PngImagePlugin,
    TiffImagePlugin,
    UnidentifiedImageError,
    WebPImagePlugin,
)

from daemon.errors import Reason
from daemon.loader.convert import to_rgb, to_srgb
from daemon.loader.problem import LoadError
from daemon.loader.sniff import Format, is_beginning, sniff
from daemon.loader.thumbnail import encode_small
from daemon.loader.truncation import ends_early
from daemon.loader.variant import unknown_variant
from daemon.loader.verdict import tells_of_memory

DRAFT_FACTOR = 2
"""A JPEG is decoded no smaller than this times the target: its pixels are then 1.5 levels off those of a full decode at
most, on average, and its vector 0.001 in cosine (tests/unit/test_loader_decode.py, test_drafted_vectors.py)."""

REDUCING_GAP = 16.0
"""A side of more than 32 times the target is first averaged down to no less than 16 times it: the weights of a
resize grow with the ratio, and a picture of 50,000,000 by 1 pixel would need 800 MB of them."""

_PLUGINS = (WebPImagePlugin, AvifImagePlugin, TiffImagePlugin)
"""Imported for what they register; Pillow's own start brings BMP, GIF, JPEG and PNG."""

_ORIENTATION = 0x0112
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What puts a picture upright, by its EXIF orientation."""

_PICTURE_FAULTS = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    EOFError,
    LookupError,
    NotImplementedError,
    OSError,
    RecursionError,
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
    struct.error,
)
"""What Pillow raises over a broken file. All of it is the file's fault here: `MemoryError` is not among it."""


def prepare(max_pixels: int) -> None:
    """Set Pillow's limits for this process; called once, before anything is decoded."""
    Image.MAX_IMAGE_PIXELS = max_pixels
    warnings.simplefilter("ignore")
    warnings.simplefilter("error", Image.DecompressionBombWarning)
    # One picture is decoded at a time in each loader, and there is a loader for each core.
    AvifImagePlugin.DEFAULT_MAX_THREADS = 1
    # Colour profiles of printers are larger than Pillow's 1 MiB; the sum stays bounded.
    PngImagePlugin.MAX_TEXT_CHUNK = 8 * 1024 * 1024
    Image.preinit()
    if find_spec("pillow_heif") is not None:
        import_module("pillow_heif").register_heif_opener(thumbnails=False)


Box = tuple[float, float, float, float]
Finish = Callable[[Image.Image, Box | None], bytes]
"""Makes bytes of a decoded picture, upright and RGB, of which the box is to be used."""


def decode(data: bytes, *, size: int, max_pixels: int, srgb: bool = False) -> bytes:
    """The picture as `size * size * 3` bytes, RGB, row by row.

    Raises `LoadError` with the reason, and `MemoryError` when the limit of the process was in the way.
    """

    def square(picture: Image.Image, box: Box | None) -> bytes:
        small = picture.resize((size, size), Image.Resampling.BILINEAR, box=box, reducing_gap=REDUCING_GAP)
        return small.tobytes()

    return _decoded(data, square, size=size, max_pixels=max_pixels, srgb=srgb)


def make_thumbnail(data: bytes, *, side: int, most: int, max_pixels: int, srgb: bool = False) -> bytes:
    """The picture as a JPEG of `most` bytes at most, in its own proportions, its longer side `side` pixels or fewer.

    Raises as `decode` does.
    """

    def small(picture: Image.Image, box: Box | None) -> bytes:
        return encode_small(picture, box, side=side, most=most)

    return _decoded(data, small, size=side, max_pixels=max_pixels, srgb=srgb)


def _decoded(data: bytes, finish: Finish, *, size: int, max_pixels: int, srgb: bool) -> bytes:
    """What `finish` makes of the picture, every fault of the file told as a `LoadError`."""
    kind = _known(data)
    try:
        return _finished(data, kind.name, finish, size=size, max_pixels=max_pixels, srgb=srgb)
    except LoadError:
        raise
    except (Image.DecompressionBombWarning, Image.DecompressionBombError):
        raise LoadError(Reason.TOO_MANY_PIXELS, f"limit {max_pixels}") from None
    except _PICTURE_FAULTS as error:
        if tells_of_memory(str(error)):  # Codecs that report a failed allocation in words.
            raise MemoryError from error
        raise _explain(kind.name, data, error) from error


def _known(data: bytes) -> Format:
    """The bytes' format, if it is one that is decoded."""
    if not data:
        raise LoadError(Reason.EMPTY_BODY)
    kind = sniff(data)
    if kind is None:
        raise LoadError(Reason.TRUNCATED if is_beginning(data) else Reason.NOT_AN_IMAGE)
    if not kind.allowed or (kind.name == "HEIF" and "HEIF" not in Image.OPEN):
        raise LoadError(Reason.UNSUPPORTED_FORMAT, kind.name)
    return kind


def _finished(data: bytes, name: str, finish: Finish, *, size: int, max_pixels: int, srgb: bool) -> bytes:
    with Image.open(BytesIO(data), formats=[name]) as image:
        if image.width * image.height > max_pixels:
            raise LoadError(Reason.TOO_MANY_PIXELS, f"{image.width} x {image.height}, limit {max_pixels}")
        box = _draft(image, size)
        image.decodermaxblock = len(data)  # All at once: of each block, Pillow copies what the decoder leaves of it.
        image.load()
        picture = to_rgb(to_srgb(image) if srgb else image)
        turn = _UPRIGHT.get(_orientation(image))
        if turn is not None:
            picture, box = picture.transpose(turn), None
        return finish(picture, box)


def _draft(image: ImageFile.ImageFile, size: int) -> Box | None:
    """Ask a JPEG for a smaller decode; gives the part of it that the picture fills, without the rounded-up edge."""
    if image.format not in {"JPEG", "MPO"}:
        return None
    answer = image.draft(None, (size * DRAFT_FACTOR, size * DRAFT_FACTOR))
    return answer[1] if answer is not None else None


def _orientation(image: Image.Image) -> int:
    """How the camera was held; 1 where nothing readable says so."""
    with contextlib.suppress(*_PICTURE_FAULTS):
        value = image.getexif().get(_ORIENTATION, 1)
        return value if isinstance(value, int) else 1
    return 1


def _explain(name: str, data: bytes, error: Exception) -> LoadError:
    if "truncated" in str(error).lower() or ends_early(name, data):
        return LoadError(Reason.TRUNCATED, name)
    if variant := unknown_variant(name, data):
        return LoadError(Reason.UNSUPPORTED_FORMAT, variant)
    words = "its header is damaged" if isinstance(error, UnidentifiedImageError) else str(error)
    return LoadError(Reason.CORRUPT_IMAGE, f"{name}: {words}")
