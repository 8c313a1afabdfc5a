"""What an image costs, whether few or many come, and into an empty table or a full one.

    .venv-bench/bin/python -m benchmarks.growth [--quick]

The smallest model over photographs of 640×480 by HTTP, and no vector index, so that what might grow (the queue, the
sweep, the store) is as large a part of the whole as can be. Tables that are full hold another program's rows, and take
turns with the empty one; each daemon's first sweep is over before anything is measured. Their vectors compress well,
since no part of the daemon reads them. What HNSW takes grows by its nature, and is shown apart, as the processor time
of inserting a random vector beside so many.
"""

import argparse
import statistics
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from io import BytesIO
from time import perf_counter

import numpy as np
import psycopg2
from psycopg2.extensions import make_dsn

from benchmarks.pictures import make_weights
from benchmarks.pipeline import used
from benchmarks.postgres import execute, machine
from benchmarks.processes import processor_seconds
from benchmarks.scene import DIMENSION, KEPT, Program, Scene, Tables, make_template, scene, vectord


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """Images that come, rows that are there (for so many rounds of `STEP` images), rows of the HNSW index."""

    images: tuple[int, ...]
    rows: tuple[int, ...]
    rounds: int
    index: tuple[int, ...]


QUICK = Sizes(images=(500, 1000), rows=(0, 10_000), rounds=1, index=(1000, 3000))
FULL = Sizes(images=(1000, 10_000, 100_000), rows=(0, 100_000, 1_000_000), rounds=5, index=(1000, 10_000, 100_000))
ALPHA, SIDE = 0.35, 96
STEP = 4000
"""Images that come beside so many rows, in each round."""
WARM = 500
"""Images that come before anything is measured."""
FILL = f"""
INSERT INTO ecai.tb_image (id, url) SELECT n, 'http://example.test/' FROM generate_series(1, {{rows}}) n;
INSERT INTO tb_hsx_img_value (image_id, feature_vector, model_version)
SELECT n, one.vector, 'MobileNetV2' FROM generate_series(1, {{rows}}) n, (
    SELECT ('[1' || repeat(',0', {DIMENSION - 1}) || ']')::vector({DIMENSION}) AS vector
) one
"""
SETTLE = "VACUUM (FREEZE, ANALYZE)"
"""Nothing is left for autovacuum to do while it is measured."""
BUILD = """
SET maintenance_work_mem = '1GB';
CREATE INDEX ON tb_hsx_img_value USING hnsw (feature_vector vector_cosine_ops)
"""
VECTORS = 256
CYCLES = "SELECT max(cycle) FROM vectord.sweep"
"""How often the sweep has been through the table."""
HAS_SWEPT = "SELECT to_regclass('vectord.sweep') IS NOT NULL"
"""Whether a daemon has been here before."""


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Processor milliseconds of an image, in the daemon and in PostgreSQL, and images a second."""

    own: float
    postgres: float
    rate: float

    @property
    def both(self) -> float:
        return self.own + self.postgres


def cost(on: Scene, tables: Tables, daemon: Program, images: int, before: int) -> Cost:
    """Of so many images that come beside `before` vectors."""
    at_first, began = used(daemon, on), perf_counter()
    tables.insert(images, first=before + 1)
    tables.wait_for(images, above=before)
    seconds, after = perf_counter() - began, used(daemon, on)
    spent = {name: 1000 * (after[name] - at_first[name]) / images for name in after}
    return Cost(own=spent[""], postgres=spent["PostgreSQL"], rate=images / seconds)


@contextmanager
def small(on: Scene, tables: Tables) -> Iterator[Program]:
    """A daemon with the smallest model."""
    weights = make_weights(KEPT, alpha=ALPHA, side=SIDE)
    model = {"MODEL__ALPHA": str(ALPHA), "MODEL__INPUT_SIZE": str(SIDE), "MODEL__WEIGHTS": str(weights)}
    with vectord(on, tables.dsn, **model) as daemon:
        yield daemon


@contextmanager
def without_index(on: Scene, rows: int) -> Iterator[Tables]:
    """The users' tables with so many rows and no vector index."""
    with fresh(on, base=0, name=f"growth_{rows}") as tables:
        execute(tables.dsn, FILL.format(rows=rows))
        execute(tables.dsn, SETTLE)
        yield tables


@contextmanager
def fresh(on: Scene, *, base: int, name: str = "growth") -> Iterator[Tables]:
    """The users' tables with so many random vectors and no vector index."""
    make_template(on.server_dsn, name, base=base, index="none")
    try:
        yield Tables(make_dsn(on.server_dsn, dbname=name), on.urls)
    finally:
        execute(on.server_dsn, f'DROP DATABASE "{name}" WITH (FORCE)')


def by_images(on: Scene, sizes: Sizes) -> dict[int, list[Cost]]:
    """One daemon, to which ever more images come at once."""
    found = {}
    with without_index(on, 0) as tables, small(on, tables) as daemon:
        cost(on, tables, daemon, WARM, 0)
        for images in sizes.images:
            found[images] = [cost(on, tables, daemon, images, tables.vectors(above=0))]
    return found


def by_rows(on: Scene, sizes: Sizes) -> dict[int, list[Cost]]:
    """The same number of images beside more rows and fewer, in turns."""
    found: dict[int, list[Cost]] = {rows: [] for rows in sizes.rows}
    with ExitStack() as stack:
        full = {rows: stack.enter_context(without_index(on, rows)) for rows in sizes.rows}
        for _ in range(sizes.rounds):
            for rows, tables in full.items():
                found[rows].append(beside(on, tables))
    return found


def beside(on: Scene, tables: Tables) -> Cost:
    """What images cost a daemon that has been through these tables once."""
    cycles = int(tables.query(CYCLES)) if tables.query(HAS_SWEPT) else 0
    with small(on, tables) as daemon:
        tables.wait_until(f"SELECT ({CYCLES}) > {cycles}", "the sweep has not been through the table")
        cost(on, tables, daemon, WARM, tables.vectors(above=0))
        return cost(on, tables, daemon, STEP, tables.vectors(above=0))


def by_index(on: Scene, sizes: Sizes) -> dict[int, float]:
    """Processor milliseconds of PostgreSQL for a vector that goes into an index of so many, random ones."""
    found = {}
    for rows in sizes.index:
        with fresh(on, base=rows) as tables:
            execute(tables.dsn, BUILD)
            tables.insert(4 * VECTORS, first=rows + 1)
            copy(tables.dsn, rows + 1)
            before = processor_seconds([on.helpers["PostgreSQL"]])
            for turn in range(1, 4):
                copy(tables.dsn, rows + 1 + turn * VECTORS)
            found[rows] = 1000 * (processor_seconds([on.helpers["PostgreSQL"]]) - before) / (3 * VECTORS)
    return found


def copy(dsn: str, first: int) -> None:
    """So many random vectors, by COPY of text."""
    vectors = np.random.default_rng(first).standard_normal((VECTORS, DIMENSION), dtype=np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    lines = "".join(f"{first + n}\t{vector.tolist()}\n" for n, vector in enumerate(vectors))
    with closing(psycopg2.connect(dsn)) as session, session, session.cursor() as cursor:
        cursor.copy_expert("COPY tb_hsx_img_value (image_id, feature_vector) FROM STDIN", BytesIO(lines.encode()))


def show(title: str, found: Mapping[int, Sequence[Cost]]) -> None:
    first = next(iter(found.values()))
    print(f"\n| {title} | vectord, ms | PostgreSQL, ms | both | least to most | to the first | images/s |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for size, rounds in found.items():
        own, postgres = statistics.median(one.own for one in rounds), statistics.median(one.postgres for one in rounds)
        both, rate = [one.both for one in rounds], statistics.median(one.rate for one in rounds)
        ratio = statistics.median(one / other.both for one, other in zip(both, first, strict=True))
        print(f"| {size:,} | {own:.2f} | {postgres:.2f} | {statistics.median(both):.2f} ", end="")
        print(f"| {min(both):.2f} to {max(both):.2f} | {ratio:.2f} | {rate:.0f} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a hundredth of the sizes")
    sizes = QUICK if parser.parse_args().quick else FULL
    with scene(600, shape="640x480") as on:
        print(f"Processor milliseconds of an image, no vector index ({machine()})")
        show("images at once", by_images(on, sizes))
        show("rows that are there", by_rows(on, sizes))
        print("\n| rows in the HNSW index | PostgreSQL's processor ms for a vector more |\n| --- | --- |")
        for rows, spent in by_index(on, sizes).items():
            print(f"| {rows:,} | {spent:.2f} |")


if __name__ == "__main__":
    main()
