"""Rows for COPY BINARY, made in bulk: a batch of ids, revisions, tokens and vectors becomes one piece of bytes.

Nothing here runs per element of a vector, and for fixed-width ids nothing runs per row but the collecting of its parts.
Sources: PostgreSQL manual, COPY, "Binary Format"; `vector_recv` and `halfvec_recv` of pgvector; `array_recv`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from daemon.records import Claim, ImageId, Vectors

VectorKind = Literal["vector", "halfvec", "real[]"]
IdKind = Literal["bigint", "uuid", "text"]

HEADER = b"PGCOPY\n\xff\r\n\x00" + b"\x00" * 8
"""Signature, flags, and the length of an extension that is not there."""
TRAILER = b"\xff\xff"
FIELDS = 4
FLOAT4_OID = 700


@dataclass(frozen=True, slots=True, kw_only=True)
class VectorColumn:
    """What the target's vector column is. `dimension` is None where the column takes any."""

    kind: VectorKind = "vector"
    dimension: int | None = None


def id_kind(image_id: ImageId) -> IdKind:
    """The type under which ids like this one travel: every integer goes as bigint."""
    match image_id:
        case int():
            return "bigint"
        case UUID():
            return "uuid"
        case str():
            return "text"


def encode(claims: Sequence[Claim], vectors: Vectors, kind: VectorKind) -> bytes:
    """COPY BINARY of rows (image_id, revision, token, vector); `vectors` is float32 `[N, D]`, row for claim."""
    tails = np.zeros(len(claims), dtype=_tail(vectors.shape[1], kind))
    _fill_head(tails, claims)
    _fill_vectors(tails, vectors, kind)
    return b"".join([HEADER, _rows([claim.image_id for claim in claims], tails), TRAILER])


def _tail(dimension: int, kind: VectorKind) -> np.dtype[Any]:
    """All of a row that has the same width in every row: the fields after the id, each behind its length in bytes."""
    vector = _vector(dimension, kind)
    fields = [("revision_length", ">i4"), ("revision", ">i8"), ("token_length", ">i4"), ("token", "S16")]
    return np.dtype([*fields, ("vector_length", ">i4"), ("vector", vector)])


def _vector(dimension: int, kind: VectorKind) -> np.dtype[Any]:
    """One vector on the wire."""
    match kind:
        case "vector":
            return np.dtype([("dimension", ">i2"), ("unused", ">i2"), ("values", ">f4", (dimension,))])
        case "halfvec":
            return np.dtype([("dimension", ">i2"), ("unused", ">i2"), ("values", ">f2", (dimension,))])
        case "real[]":
            head = [(name, ">i4") for name in ("dimensions", "has_null", "element", "dimension", "lower_bound")]
            return np.dtype([*head, ("elements", [("length", ">i4"), ("value", ">f4")], (dimension,))])


def _fill_head(tails: NDArray[Any], claims: Sequence[Claim]) -> None:
    tails["revision_length"] = 8
    tails["revision"] = [claim.revision for claim in claims]
    tails["token_length"] = 16
    # As bytes of a fixed width: NumPy strips the zeros at a string's end when it is read, not when it is written.
    tails["token"] = [claim.token.bytes for claim in claims]


def _fill_vectors(tails: NDArray[Any], vectors: Vectors, kind: VectorKind) -> None:
    wire = tails["vector"]
    tails["vector_length"] = wire.dtype.itemsize
    wire["dimension"] = vectors.shape[1]
    if kind != "real[]":
        wire["values"] = vectors
        return
    wire["dimensions"] = 1
    wire["element"] = FLOAT4_OID
    wire["lower_bound"] = 1
    wire["elements"]["length"] = 4
    wire["elements"]["value"] = vectors


def _rows(ids: Sequence[ImageId], tails: NDArray[Any]) -> bytes:
    """The rows: each tail behind its count of fields and its id."""
    kind = id_kind(ids[0])
    if kind == "text":
        return b"".join(_text_head(str(one)) + tail.tobytes() for one, tail in zip(ids, tails, strict=True))
    width = 8 if kind == "bigint" else 16
    rows = np.zeros(len(ids), dtype=[("fields", ">i2"), ("length", ">i4"), ("id", f"V{width}"), ("tail", tails.dtype)])
    rows["fields"] = FIELDS
    rows["length"] = width
    rows["id"] = _fixed_ids(ids, width)
    rows["tail"] = tails
    return rows.tobytes()


def _fixed_ids(ids: Sequence[ImageId], width: int) -> NDArray[Any]:
    """Integers as eight bytes, big end first; UUIDs as their sixteen."""
    if width == 8:
        return np.array(ids, dtype=">i8").view("V8")
    return np.frombuffer(b"".join(one.bytes for one in ids if isinstance(one, UUID)), dtype="V16")


def _text_head(image_id: str) -> bytes:
    text = image_id.encode()
    return FIELDS.to_bytes(2, "big") + len(text).to_bytes(4, "big") + text
