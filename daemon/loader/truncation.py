"""Whether a picture's bytes end before the picture does: told by its structure, not by what a decoder complains of.

A decoder that fails says "broken data stream" for a cut file and for a damaged one alike. The containers say more:
each knows where it ends. Nothing here decodes anything, and every loop moves forward through the bytes.
"""

from collections.abc import Callable

from daemon.loader import tiff

_WILD = 1024**3
"""A strip that claims to end beyond this is damaged rather than cut off."""

_STANDALONE_MARKERS = frozenset({0x01, *range(0xD0, 0xD9)})


def ends_early(format_name: str, data: bytes) -> bool:
    """Whether a file of this format is cut off. False also where that cannot be told."""
    check = _CHECKS.get(format_name)
    return check is not None and check(data)


def _jpeg(data: bytes) -> bool:
    """Walks the segments to the scan; a whole file then has an end-of-image marker (ITU T.81, B.1)."""
    at = 2
    while at + 2 <= len(data):
        if data[at] != 0xFF:
            return False  # Damaged rather than cut.
        marker = data[at + 1]
        if marker == 0xFF:
            at += 1
        elif marker in _STANDALONE_MARKERS:
            at += 2
        elif marker == 0xD9:
            return False
        elif marker == 0xDA:
            return data.find(b"\xff\xd9", at) < 0
        else:
            at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return True


def _png(data: bytes) -> bool:
    """Walks the chunks: a whole file comes to IEND (PNG specification, 5.3)."""
    at = 8
    while at + 12 <= len(data):
        length, name = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8]
        if name == b"IEND" or not name.isalpha():
            return False
        at += 12 + length
    return True


def _gif(data: bytes) -> bool:
    """Walks the blocks to the end of the first picture (GIF89a, 15 to 27)."""
    if len(data) < 13:
        return True
    at = 13 + _colours(data[10])
    while at < len(data):
        introducer = data[at]
        if introducer == 0x21:
            at = _skip_blocks(data, at + 2)
        elif introducer == 0x2C:
            if at + 10 > len(data):
                return True
            return _skip_blocks(data, at + 11 + _colours(data[at + 9])) > len(data)
        else:
            return False
    return True


def _colours(flags: int) -> int:
    """Bytes of the colour table that these flags announce."""
    return 3 << ((flags & 7) + 1) if flags & 0x80 else 0


def _skip_blocks(data: bytes, at: int) -> int:
    """Where the sub-blocks that begin here end; beyond the data when they do not."""
    while at < len(data):
        if data[at] == 0:
            return at + 1
        at += 1 + data[at]
    return len(data) + 1


def _webp(data: bytes) -> bool:
    return len(data) < 20 or int.from_bytes(data[4:8], "little") + 8 > len(data)


def _bmp(data: bytes) -> bool:
    """The pixels of an uncompressed bitmap have a known length; the file's own figure is often wrong."""
    if len(data) < 54:
        return len(data) < 26 or len(data) < 14 + int.from_bytes(data[14:18], "little")
    width = abs(int.from_bytes(data[18:22], "little", signed=True))
    height = abs(int.from_bytes(data[22:26], "little", signed=True))
    depth, packing = int.from_bytes(data[28:30], "little"), int.from_bytes(data[30:34], "little")
    start = int.from_bytes(data[10:14], "little")
    if packing in (1, 2):  # Run lengths end with a mark of their own: 0 1.
        return b"\0\1" not in data[start:]
    return start + (width * depth + 31) // 32 * 4 * height > len(data)


def _boxes(data: bytes) -> bool:
    """Walks the top-level boxes: a whole file ends where one does, with the pictures in `mdat` (ISO 14496-12, 4.2)."""
    at, pictures = 0, False
    while at + 8 <= len(data):
        length = int.from_bytes(data[at : at + 4], "big")
        if length == 1:
            length = int.from_bytes(data[at + 8 : at + 16], "big")
        if length == 0:
            return False
        pictures = pictures or data[at + 4 : at + 8] == b"mdat"
        at += max(length, 8)
    return at != len(data) or not pictures


def _tiff(data: bytes) -> bool:
    """Whether the directory, a field's values, or a strip of the picture lies beyond the end (TIFF 6.0, 2)."""
    if len(data) < tiff.HEADER_BYTES:
        return True
    directory = tiff.read_directory(data)
    if directory is None:
        return True
    reach = max(tiff.strip_ends(directory), default=0)
    return len(data) < reach < _WILD


_CHECKS: dict[str, Callable[[bytes], bool]] = {
    "JPEG": _jpeg,
    "PNG": _png,
    "GIF": _gif,
    "WEBP": _webp,
    "BMP": _bmp,
    "TIFF": _tiff,
    "AVIF": _boxes,
    "HEIF": _boxes,
}
