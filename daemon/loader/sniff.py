"""What format bytes are in, by their content: names and extensions lie, and Pillow is only asked for what we allow."""

import re
from dataclasses import dataclass

_HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs")
_AVIF_BRANDS = (b"avif", b"avis")


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """A format that bytes are in. `name` is Pillow's name of it where it is allowed."""

    name: str
    allowed: bool


ALLOWED: list[tuple[str, re.Pattern[bytes]]] = [
    ("JPEG", re.compile(rb"\xff\xd8\xff")),
    ("PNG", re.compile(rb"\x89PNG\r\n\x1a\n")),
    ("WEBP", re.compile(rb"RIFF....WEBP", re.DOTALL)),
    ("GIF", re.compile(rb"GIF8[79]a")),
    ("TIFF", re.compile(rb"II\*\0|MM\0\*|II\+\0|MM\0\+|II\0\*|MM\*\0")),
    ("BMP", re.compile(rb"BM(.{14}\0\0|.{0,15}\Z)", re.DOTALL)),
]
"""The formats that are decoded, and how each begins. AVIF and HEIF stand apart: their brands need a look."""

_BEGINNINGS = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF87a", b"GIF89a", b"II*\0", b"MM\0*")

_REFUSED: list[tuple[str, re.Pattern[bytes]]] = [
    ("JPEG 2000", re.compile(rb"\x00\x00\x00\x0cjP  \r\n\x87\n|\xff\x4f\xff\x51|\x0d\x0a\x87\x0a")),
    ("JPEG XL", re.compile(rb"\xff\x0a|\x00\x00\x00\x0cJXL \r\n\x87\n")),
    ("PSD", re.compile(rb"8BPS")),
    ("DDS", re.compile(rb"DDS ")),
    ("ICO", re.compile(rb"\0\0\x01\0[^\0]\0|\0\0\x01\0.[\x01-\xff]", re.DOTALL)),
    ("CUR", re.compile(rb"\0\0\x02\0(?!\0\0[\x02\x03\x0a\x0b])", re.DOTALL)),
    ("ICNS", re.compile(rb"icns")),
    ("EPS", re.compile(rb"%!PS|\xc5\xd0\xd3\xc6")),
    ("netpbm", re.compile(rb"P[1-7fF]\s|Py|P0CMYK|PyP|PyRGBA|PyCMYK")),
    ("QOI", re.compile(rb"qoif")),
    ("SGI", re.compile(rb"\x01\xda[\0\x01][\x01\x02]")),
    ("Sun raster", re.compile(rb"\x59\xa6\x6a\x95")),
    ("BLP", re.compile(rb"BLP[012]")),
    ("FTEX", re.compile(rb"FTEX|FTC\0|FTU\0")),
    ("FITS", re.compile(rb"SIMPLE")),
    ("XPM", re.compile(rb"\s*/\* XPM \*/")),
    ("XBM", re.compile(rb"\s*#define[ \t]+[^\r\n]*_width[ \t]+\d+")),
    ("WMF", re.compile(rb"\xd7\xcd\xc6\x9a\0\0|\x01\0\0\0.{36} EMF", re.DOTALL)),
    ("MSP", re.compile(rb"DanM|LinS")),
    ("PIXAR", re.compile(rb"\x80\xe8\0\0")),
    ("GRIB", re.compile(rb"GRIB")),
    ("BUFR", re.compile(rb"BUFR|ZCZC")),
    ("HDF5", re.compile(rb"\x89HDF\r\n\x1a\n")),
    ("FLI", re.compile(rb".{4}[\x11\x12]\xaf.{8}", re.DOTALL)),
    ("DCX", re.compile(rb"\xb1\x68\xde\x3a")),
    ("PCX", re.compile(rb"\x0a[\0\x02\x03\x04\x05]\x01[\x01\x02\x04\x08]")),
    ("XCF", re.compile(rb"gimp xcf")),
    ("DjVu", re.compile(rb"AT&TFORM")),
    ("MPEG", re.compile(rb"\0\0\x01\xb3")),
    ("GBR", re.compile(rb".{3}[\x14-\x40]\0\0\0[\x01\x02].{12}GIMP|.{20}GIMP", re.DOTALL)),
    ("DIB", re.compile(rb"[\x0c\x28\x34\x38\x40\x6c\x7c]\0\0\0.{8}\x01\0[\x01\x02\x04\x08\x10\x18\x20]\0", re.DOTALL)),
    ("IM", re.compile(rb"[^\n]{0,80}(Image type|File size|No of images)[^\n]*\n", re.IGNORECASE)),
    ("SVG", re.compile(rb"\s*(<\?xml[^>]*>\s*)?(?>(?><!--.*?-->\s*)|<!DOCTYPE\s+svg[^>]*>\s*)*+<svg[\s>]", re.DOTALL)),
    (
        "TGA",
        re.compile(rb".\0[\x02\x03\x0a\x0b]\0{5}.{4}..(?<!\0\0)..(?<!\0\0)[\x08\x0f\x10\x18\x20][\0-\x3f]", re.DOTALL),
    ),
    ("TGA", re.compile(rb".\x01[\x01\x09].{4}[\x0f\x10\x18\x20].{4}..(?<!\0\0)..(?<!\0\0)[\x08\x10].", re.DOTALL)),
]
"""Formats that are pictures all the same, so that the reason is `unsupported_format` and not `not_an_image`."""

_COMPOUND = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
"""An OLE compound file: a FlashPix or Picture It! picture, but most often an office document."""
_IMAGE_STREAM = "Image".encode("utf-16-le")
_TGA_FOOTER = b"TRUEVISION-XFILE.\0"
_LOOK = 4096


def sniff(data: bytes) -> Format | None:
    """The format of these bytes; None when they are no picture that is known."""
    head = data[:_LOOK]
    for name, pattern in ALLOWED:
        if pattern.match(head):
            return Format(name=name, allowed=True)
    if head[4:8] == b"ftyp":
        return _by_brands(head)
    for name, pattern in _REFUSED:
        if pattern.match(head):
            return Format(name=name, allowed=False)
    if head.startswith(_COMPOUND) and _IMAGE_STREAM in data:
        return Format(name="FPX or MIC", allowed=False)
    return Format(name="TGA", allowed=False) if data[-18:] == _TGA_FOOTER else None


def is_beginning(data: bytes) -> bool:
    """Whether these few bytes are how an allowed format begins, cut off before it can be told for sure."""
    if len(data) >= 8:  # Of the containers, the first word alone says too little.
        return len(data) < 12 and (data.startswith(b"RIFF") or data[4:8] == b"ftyp")
    return len(data) >= 2 and any(magic.startswith(data) for magic in _BEGINNINGS)


def _by_brands(head: bytes) -> Format | None:
    """AVIF or HEIF, by the brands in the `ftyp` box (ISO 14496-12, 4.3)."""
    end = min(int.from_bytes(head[:4], "big"), len(head))
    brands = [head[8:12], *(head[at : at + 4] for at in range(16, max(end, 16), 4))]
    if any(brand in _AVIF_BRANDS for brand in brands):
        return Format(name="AVIF", allowed=True)
    if any(brand in _HEIF_BRANDS for brand in brands):
        return Format(name="HEIF", allowed=True)
    return Format(name="HEIF", allowed=False) if brands[0] in (b"mif1", b"msf1", b"jpeg") else None
