"""COPY BINARY, byte for byte."""

import struct
from uuid import UUID

import numpy as np
import pytest

from daemon.db.encode import HEADER, TRAILER, VectorKind, encode, id_kind
from daemon.records import Claim, ImageId

TOKEN = UUID("00112233-4455-6677-8899-aabbccddee00")
VALUES = (1.0, -2.5, 0.0)
FLOATS = struct.pack(">3f", *VALUES)
HALVES = struct.pack(">3e", *VALUES)
ELEMENTS = b"".join(struct.pack(">if", 4, value) for value in VALUES)

IDS: list[tuple[ImageId, bytes]] = [
    (5, struct.pack(">q", 5)),
    (-(2**63), struct.pack(">q", -(2**63))),
    (UUID(int=2**128 - 256), UUID(int=2**128 - 256).bytes),
    ("bild/ü", "bild/ü".encode()),
    ("", b""),
]
VECTORS: list[tuple[VectorKind, bytes]] = [
    ("vector", struct.pack(">hh", 3, 0) + FLOATS),
    ("halfvec", struct.pack(">hh", 3, 0) + HALVES),
    ("real[]", struct.pack(">5i", 1, 0, 700, 3, 1) + ELEMENTS),
]


def claim(image_id: ImageId, revision: int = 7) -> Claim:
    return Claim(image_id=image_id, revision=revision, token=TOKEN, location="x")


def field(content: bytes) -> bytes:
    return struct.pack(">i", len(content)) + content


@pytest.mark.parametrize(("image_id", "id_bytes"), IDS)
@pytest.mark.parametrize(("kind", "vector_bytes"), VECTORS)
def test_a_row_is_as_postgresql_reads_it(
    image_id: ImageId, id_bytes: bytes, kind: VectorKind, vector_bytes: bytes
) -> None:
    made = encode([claim(image_id)], np.array([VALUES], dtype=np.float32), kind)
    row = (
        struct.pack(">h", 4) + field(id_bytes) + field(struct.pack(">q", 7)) + field(TOKEN.bytes) + field(vector_bytes)
    )
    assert made == HEADER + row + TRAILER


@pytest.mark.parametrize("ids", [[1, 2**62, -3], [UUID(int=n << 90) for n in range(3)], ["a", "bcd", ""]])
def test_many_rows_are_rows_one_after_the_other(ids: list[ImageId]) -> None:
    claims = [claim(image_id, revision) for revision, image_id in enumerate(ids)]
    vectors = np.random.default_rng(0).standard_normal((3, 1280)).astype(np.float32)
    rows = [
        encode([one], vectors[number : number + 1], "vector").removeprefix(HEADER).removesuffix(TRAILER)
        for number, one in enumerate(claims)
    ]
    assert encode(claims, vectors, "vector") == HEADER + b"".join(rows) + TRAILER


def test_vectors_may_be_a_view_of_something_larger() -> None:
    whole = np.arange(24, dtype=np.float32).reshape(4, 6)
    made = encode([claim(1), claim(2)], whole[::2, ::2], "vector")
    assert made == encode([claim(1), claim(2)], np.ascontiguousarray(whole[::2, ::2]), "vector")


def test_integers_travel_as_bigint() -> None:
    assert [id_kind(1), id_kind("a"), id_kind(TOKEN)] == ["bigint", "text", "uuid"]
