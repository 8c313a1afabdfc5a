"""The first directory of a TIFF file, as far as it takes to see where the picture lies. Decodes nothing.

Source: TIFF 6.0, section 2; for BigTIFF its design paper (https://www.awaresystems.be/imaging/tiff/bigtiff.html).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

HEADER_BYTES = 16
COMPRESSION = 259
_OFFSETS, _COUNTS = frozenset({273, 324}), frozenset({279, 325})
"""Of strips, and of tiles."""
_BYTES_OF_TYPE = {3: 2, 4: 4, 5: 8, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
"""Of those field types that take more than one byte."""
_MOST_ENTRIES = 4096
_MOST_STRIPS = 65536


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One field of the directory: where its values lie, how many there are, and how many bytes each takes."""

    tag: int
    start: int
    count: int
    width: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Directory:
    """The fields of the first picture."""

    data: bytes
    order: Literal["little", "big"]
    entries: tuple[Entry, ...]

    def values(self, entry: Entry) -> list[int]:
        """The field's values, as far as they are there and sensible in number."""
        ends = range(entry.start, entry.start + min(entry.count, _MOST_STRIPS) * entry.width, entry.width)
        return [int.from_bytes(self.data[at : at + entry.width], self.order) for at in ends]


def read_directory(data: bytes) -> Directory | None:
    """The first directory; None when it lies beyond the end of the data."""
    order: Literal["little", "big"] = "little" if data[:1] == b"I" else "big"

    def number(at: int, width: int) -> int:
        return int.from_bytes(data[at : at + width], order)

    big = 43 in (data[2], data[3])
    width, counter, size = (8, 8, 20) if big else (4, 2, 12)
    at = number(width, width)
    count = number(at, counter)
    first = at + counter
    if first > len(data) or first + count * size > len(data):
        return None
    fields = range(first, first + min(count, _MOST_ENTRIES) * size, size)
    entries = []
    for field in fields:
        each, values = _BYTES_OF_TYPE.get(number(field + 2, 2), 1), number(field + 4, width)
        place = field + 4 + width
        start = place if values * each <= width else number(place, width)
        entries.append(Entry(tag=number(field, 2), start=start, count=values, width=each))
    return Directory(data=data, order=order, entries=tuple(entries))


def strip_ends(directory: Directory) -> Iterator[int]:
    """Where each strip or tile ends, and the values of each field."""
    offsets: list[int] = []
    lengths: list[int] = []
    for entry in directory.entries:
        yield entry.start + entry.count * entry.width
        if entry.tag in _OFFSETS:
            offsets = directory.values(entry)
        elif entry.tag in _COUNTS:
            lengths = directory.values(entry)
    yield from (sum(pair) for pair in zip(offsets, lengths, strict=False))


def compression(directory: Directory) -> int:
    """How the picture is packed; 1 where nothing says so."""
    found = (directory.values(entry) for entry in directory.entries if entry.tag == COMPRESSION)
    return next((values[0] for values in found if values), 1)
