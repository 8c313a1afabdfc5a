"""Vectors stored per second: COPY BINARY and one fenced statement, beside `execute_values` with text.

    .venv/bin/python -m benchmarks.store [--vectors 4096] [--rounds 5]

1280 dimensions, batches of 256, one connection, tables without a vector index. The way beside writes the vectors alone;
vectord's also locks the images, checks revisions and tokens, and deletes the jobs. The ways alternate, on tables of
their own: first empty ones, then ones that hold all the vectors already, as in a reprocess.
"""

import argparse
import time
from collections.abc import Callable, Sequence
from contextlib import closing

import numpy as np
import psycopg2
from psycopg2.extras import execute_values

from benchmarks.postgres import database, execute, server, show
from daemon.db.encode import VectorColumn, VectorKind
from daemon.db.jobs import JobQueue
from daemon.db.names import Names
from daemon.db.outcomes import OutcomeWriter
from daemon.db.pool import Pool
from daemon.db.schema import SchemaOptions, migrate
from daemon.records import Claim, Stored, Vectors

DIMENSION = 1280
BATCH = 256
TEXT = "execute_values, text"
COPY = "COPY BINARY, fenced"
KINDS: Sequence[VectorKind] = ("vector", "halfvec", "real[]")
UPSERT = """
INSERT INTO tb_hsx_img_value (image_id, feature_vector, vector_dimension, model_version) VALUES %s
ON CONFLICT (image_id) DO UPDATE SET feature_vector = EXCLUDED.feature_vector,
    vector_dimension = EXCLUDED.vector_dimension, model_version = EXCLUDED.model_version
"""
Way = Callable[[str, Pool, Sequence[Claim], Vectors], None]


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vectors", type=int, default=4096)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    vectors = np.random.default_rng(0).standard_normal((options.vectors, DIMENSION), dtype=np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    with server() as dsn:
        for again in (False, True):
            rates = measure(dsn, vectors, options.rounds, again=again)
            show("Vectors replaced" if again else "New vectors stored", rates, "vectors/s", TEXT)


def measure(dsn: str, vectors: Vectors, rounds: int, *, again: bool) -> dict[str, list[float]]:
    """Rates by way: into each kind of column by COPY, and into `vector` by text."""
    ways: dict[str, tuple[VectorKind, Way]] = {
        TEXT: ("vector", by_text),
        **{f"{COPY}, {kind}": (kind, by_copy(kind)) for kind in KINDS},
    }
    rates: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, (kind, way) in ways.items():
            with database(dsn, "bench") as made, closing(Pool(made, size=2)) as pool:
                prepare(made, pool, kind)
                if again:
                    way(made, pool, claimed(made, pool, len(vectors)), vectors)
                    execute(made, "UPDATE ecai.tb_image SET url = url || '?'")
                    execute(made, "VACUUM tb_hsx_img_value")
                claims = claimed(made, pool, len(vectors))
                execute(made, "CHECKPOINT")
                began = time.perf_counter()
                way(made, pool, claims, vectors)
                rates[name].append(len(vectors) / (time.perf_counter() - began))
    return rates


def prepare(dsn: str, pool: Pool, kind: VectorKind) -> None:
    """The users' tables with a column of this kind, and no vector index."""
    column = "real[]" if kind == "real[]" else f"{kind}({DIMENSION})"
    migrate(pool, Names(), SchemaOptions(dimension=DIMENSION, index="none"))
    execute(dsn, f"ALTER TABLE tb_hsx_img_value ALTER feature_vector TYPE {column} USING NULL")


def claimed(dsn: str, pool: Pool, count: int) -> list[Claim]:
    """So many images, all of them claimed."""
    images = "INSERT INTO ecai.tb_image (id, url) SELECT n, 'x' FROM generate_series(1, {}) n ON CONFLICT DO NOTHING"
    execute(dsn, images.format(count))
    return JobQueue(pool, Names(), worker="bench", lease_seconds=600).claim(count)


def by_text(dsn: str, _: Pool, claims: Sequence[Claim], vectors: Vectors) -> None:
    """As most programs do it."""
    with closing(psycopg2.connect(dsn)) as session:
        for start in range(0, len(claims), BATCH):
            with session, session.cursor() as cursor:
                rows = [
                    (claim.image_id, "[" + ",".join(map(str, vector.tolist())) + "]", DIMENSION, "bench")
                    for claim, vector in zip(claims[start : start + BATCH], vectors[start : start + BATCH], strict=True)
                ]
                execute_values(cursor, UPSERT, rows, page_size=BATCH)


def by_copy(kind: VectorKind) -> Way:
    """As vectord does it."""

    def write(_: str, pool: Pool, claims: Sequence[Claim], vectors: Vectors) -> None:
        column = VectorColumn(kind=kind, dimension=DIMENSION)
        writer = OutcomeWriter(pool, Names(), vector_column=column, signature="bench")
        outcomes = [Stored(claim=claim, vector=vector) for claim, vector in zip(claims, vectors, strict=True)]
        done = sum(writer.write(outcomes[start : start + BATCH]).stored for start in range(0, len(outcomes), BATCH))
        if done != len(outcomes):
            raise SystemExit(f"only {done} of {len(outcomes)} were stored")

    return write


if __name__ == "__main__":
    main()
