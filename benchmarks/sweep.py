"""What a tick of the sweep costs in a small table and in a large one, and a whole cycle beside one big anti-join.

    .venv/bin/python -m benchmarks.sweep [--small 1000000] [--large 10000000] [--rounds 10] [--window 10000]

The table of vectors holds vector(3), so that ten million rows fit on the disk; a vector of 1280 floats lies in TOAST,
out of the way of the anti-join, which reads ids and `model_version` only. Ticks of the two sizes alternate, a block
of each in turn. After each block the queued jobs are taken away, as daemons would. Nothing but the sweep runs.
"""

import argparse
import statistics
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from time import perf_counter

import psycopg2

from benchmarks.postgres import database, execute, machine, server
from daemon.db.names import Names
from daemon.db.pool import Pool
from daemon.db.schema import SchemaOptions, migrate
from daemon.db.sweep import SweepOptions, SweepWindow

SIGNATURE = "vectord:mobilenetv2_1.0_224:1a2b3c4d:g0"
MISSING = {"0 %": 0, "1 %": 100}
"""Every so-manieth image has no vector."""
BIG_JOIN = """
SELECT count(*) FROM ecai.tb_image s
WHERE NOT EXISTS (SELECT FROM tb_hsx_img_value t WHERE t.image_id = s.id AND t.model_version = %s)
  AND NOT EXISTS (SELECT FROM vectord.job j WHERE j.image_id = s.id)
"""


@dataclass
class Table:
    """One size of table, and the seconds of its ticks."""

    rows: int
    dsn: str
    pool: Pool
    sweep: SweepWindow
    ticks: list[float] = field(default_factory=list)
    found: int = 0

    def block(self, ticks: int) -> None:
        """So many ticks; then the queue is emptied."""
        for _ in range(ticks):
            began = perf_counter()
            self.found += self.sweep.step(SIGNATURE).queued
            self.ticks.append(perf_counter() - began)
        execute(self.dsn, "DELETE FROM vectord.job")

    def cycle(self) -> float:
        """Seconds for a whole cycle from its beginning, the emptying of the queue left out."""
        execute(self.dsn, "UPDATE vectord.sweep SET cursor_id = NULL")
        total, ended = 0.0, False
        while not ended:
            began = perf_counter()
            swept = self.sweep.step(SIGNATURE)
            total += perf_counter() - began
            ended = swept.cycle_ended
            if swept.queued:
                execute(self.dsn, "DELETE FROM vectord.job")
        return total

    def big_join(self) -> float:
        """Seconds for the same question as one statement."""
        with closing(psycopg2.connect(self.dsn)) as session, session.cursor() as cursor:
            began = perf_counter()
            cursor.execute(BIG_JOIN, (SIGNATURE,))
            return perf_counter() - began

    def percentile(self, share: float) -> float:
        return statistics.quantiles(self.ticks, n=100)[round(share * 100) - 1]


@contextmanager
def table(dsn: str, rows: int, every: int, window: int) -> Iterator[Table]:
    """A database with so many images; one in `every` has no vector (none where it is 0)."""
    with database(dsn, f"rows_{rows}") as made, closing(Pool(made, size=1)) as pool:
        migrate(pool, Names(), SchemaOptions(dimension=3, index="none"))
        fill(made, rows, every)
        sweep = SweepWindow(pool, Names(), SweepOptions(window=window, high_water=max(10_000, window)))
        yield Table(rows, made, pool, sweep)


def fill(dsn: str, rows: int, every: int) -> None:
    """Straight in: neither our trigger nor the foreign key looks."""
    condition = f"WHERE id % {every} <> 0" if every else ""
    with closing(psycopg2.connect(dsn)) as session, session, session.cursor() as cursor:
        cursor.execute("SET LOCAL session_replication_role = replica")
        cursor.execute(
            "INSERT INTO ecai.tb_image (id, url) "
            f"SELECT id, 'https://example.test/pictures/' || id || '.jpg' FROM generate_series(1, {rows}) id"
        )
        cursor.execute(
            "INSERT INTO tb_hsx_img_value (image_id, feature_vector, vector_dimension, model_version) "
            f"SELECT id, '[1,0,0]', 3, '{SIGNATURE}' FROM generate_series(1, {rows}) id {condition}"
        )
    execute(dsn, "VACUUM ANALYZE")
    execute(dsn, "CHECKPOINT")


def measure(dsn: str, missing: str, options: argparse.Namespace) -> None:
    """Both sizes with so many missing."""
    every, window = MISSING[missing], options.window
    with (
        table(dsn, options.small, every, window) as small,
        table(dsn, options.large, every, window) as large,
    ):
        both, block = (small, large), max(1, options.small // window)
        for turn in range(options.rounds):
            for one in both if turn % 2 else both[::-1]:
                one.block(block)
        base = small.percentile(0.95)
        for one in both:
            print(
                f"{missing:>8} {one.rows:>12,} {len(one.ticks):>6} {one.found:>8,} {one.percentile(0.5) * 1e3:>9.1f} "
                f"{one.percentile(0.95) * 1e3:>9.1f} {one.percentile(0.95) / base:>6.2f}"
            )
        for one in both:
            cycle, join = one.cycle(), statistics.median(one.big_join() for _ in range(3))
            print(
                f"{'':>8} {one.rows:>12,} a cycle {cycle:.1f} s, one anti-join {join:.1f} s, ratio {cycle / join:.1f}"
            )


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", type=int, default=1_000_000)
    parser.add_argument("--large", type=int, default=10_000_000)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--window", type=int, default=10_000)
    options = parser.parse_args()
    print(f"{machine()}, window {options.window:,}")
    print(f"{'missing':>8} {'rows':>12} {'ticks':>6} {'queued':>8} {'p50 ms':>9} {'p95 ms':>9} {'ratio':>6}")
    with server() as dsn:
        for missing in MISSING:
            measure(dsn, missing, options)


if __name__ == "__main__":
    main()
