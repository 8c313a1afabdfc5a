"""The body of an answer: never more than the limit, as it arrives and as it unpacks."""

import zlib
from collections.abc import Iterable
from typing import Protocol

from daemon.errors import Reason
from daemon.loader.problem import LoadError

GZIP_OR_ZLIB = 32 + zlib.MAX_WBITS
RAW_DEFLATE = -zlib.MAX_WBITS


class _Unpacker(Protocol):
    def feed(self, data: bytes) -> bytes: ...
    def finish(self) -> None: ...


class Plain:
    """No encoding."""

    def feed(self, data: bytes) -> bytes:
        return data

    def finish(self) -> None:
        pass


class Inflating:
    """gzip and deflate, unpacked with a bounded output: a bomb stops at the limit, not at the end of memory."""

    def __init__(self, limit: int) -> None:
        self._room = limit + 1
        self._stream = zlib.decompressobj(GZIP_OR_ZLIB)
        self._begun = False

    def feed(self, data: bytes) -> bytes:
        try:
            out = self._inflate(data)
        except zlib.error:
            raise LoadError(Reason.CORRUPT_IMAGE, "the answer's content encoding is broken") from None
        self._room -= len(out)
        return out

    def _inflate(self, data: bytes) -> bytes:
        if self._room <= 0 or self._stream.eof:
            return b""
        try:
            out = self._stream.decompress(data, self._room)
        except zlib.error:
            if self._begun:
                raise
            # Some servers call raw deflate "deflate", against RFC 9110 8.4.1.2.
            self._stream = zlib.decompressobj(RAW_DEFLATE)
            out = self._stream.decompress(data, self._room)
        self._begun = True
        return out

    def finish(self) -> None:
        if not self._stream.eof and self._room > 0:
            raise LoadError(Reason.TRUNCATED_BODY, "the compressed answer ends in the middle")


def unpacker(encoding: str, limit: int) -> _Unpacker:
    """What unpacks this Content-Encoding. Only those that were asked for, or that every server knows."""
    match encoding.strip().lower():
        case "" | "identity":
            return Plain()
        case "gzip" | "x-gzip" | "deflate":
            return Inflating(limit)
        case other:
            raise LoadError(Reason.NOT_AN_IMAGE, f"the answer is encoded as {other[:20]!r}, which was not asked for")


def gather(chunks: Iterable[bytes], encoding: str, limit: int) -> bytes:
    """All of the body, unpacked. Raises `LoadError` (too_large, truncated_body, ...)."""
    unpack = unpacker(encoding, limit)
    arrived, parts, size = 0, [], 0
    for chunk in chunks:
        arrived += len(chunk)
        parts.append(unpack.feed(chunk))
        size += len(parts[-1])
        if max(arrived, size) > limit:
            raise LoadError(Reason.TOO_LARGE, f"limit {limit}")
    unpack.finish()
    return b"".join(parts)
