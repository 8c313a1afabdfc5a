"""Kinds of allowed formats that are whole and sound, but that the decoders here do not know.

Asked only after a decoder has failed, so that the reason can be `unsupported_format` rather than `corrupt_image`.
"""

import re
from collections.abc import Callable

from daemon.loader import tiff

_FRAME = re.compile(rb"\xff[\xc0-\xc3\xc5-\xc7\xc9-\xcb\xcd-\xcf]..(.)", re.DOTALL)
_DECODED_FRAMES = frozenset({0xC0, 0xC1, 0xC2, 0xC9, 0xCA})
"""Baseline, extended and progressive, Huffman or arithmetic (ITU T.81, table B.1); not lossless or hierarchical."""

_BMP_HEADERS = frozenset({40, 52, 56, 64, 108, 124})
_BMP_EMBEDDED = frozenset({4, 5})
_BMP_BIT_FIELDS = frozenset({3, 6})

_TIFF_COMPRESSIONS = {
    32809: "ThunderScan",
    32908: "PixarFilm",
    32909: "PixarLog",
    33003: "JPEG 2000",
    33005: "JPEG 2000",
    34661: "JBIG",
    34676: "SGILog",
    34677: "SGILog24",
    34712: "JPEG 2000",
    34887: "LERC",
    50001: "WebP",
    50002: "JPEG XL",
}


def unknown_variant(format_name: str, data: bytes) -> str:
    """The name of the kind, where it is one that is known not to be decoded; otherwise empty."""
    check = _CHECKS.get(format_name)
    return check(data) if check is not None else ""


def _jpeg(data: bytes) -> str:
    frame = _FRAME.search(data)
    if frame is None:
        return ""
    if frame[0][1] not in _DECODED_FRAMES:
        return "lossless or hierarchical JPEG"
    return f"JPEG of {frame[1][0]} bits" if frame[1][0] in (12, 16) else ""


def _bmp(data: bytes) -> str:
    if int.from_bytes(data[14:18], "little") not in _BMP_HEADERS:
        return ""
    depth, packing = int.from_bytes(data[28:30], "little"), int.from_bytes(data[30:34], "little")
    if packing in _BMP_EMBEDDED:
        return "BMP with a JPEG or PNG inside"
    if packing in _BMP_BIT_FIELDS and depth in (16, 32):
        return "BMP with unusual bit fields"
    return f"BMP of {depth} bits" if depth in (2, 64) else ""


def _tiff(data: bytes) -> str:
    directory = tiff.read_directory(data) if len(data) >= tiff.HEADER_BYTES else None
    name = _TIFF_COMPRESSIONS.get(tiff.compression(directory)) if directory is not None else None
    return f"TIFF compressed with {name}" if name else ""


_CHECKS: dict[str, Callable[[bytes], str]] = {"JPEG": _jpeg, "BMP": _bmp, "TIFF": _tiff}
