"""What the benchmarks of the database share: a server of their own, with the settings of a real one."""

import os
import platform
import re
import shutil
import statistics
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import psycopg2
from psycopg2.extensions import make_dsn

from daemon.db.embedded import EmbeddedServer

SETTINGS = {"shared_buffers": "512MB", "max_wal_size": "4GB", "maintenance_work_mem": "512MB"}
"""As an operator would set them; durability (fsync, synchronous_commit) stays as PostgreSQL has it."""
CPUINFO = Path("/proc/cpuinfo")
VECTOR_UNITS = {"AVX-512": "avx512f", "AVX2": "avx2"}


@contextmanager
def server(**settings: str) -> Iterator[str]:
    """The DSN of a fresh PostgreSQL in a folder that goes away afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="vectord-bench-"))
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        # Settings such as shared_buffers want a restart.
        with EmbeddedServer(folder / "postgres") as first:
            for name, value in {**SETTINGS, **settings}.items():
                execute(first.dsn, f"ALTER SYSTEM SET {name} = '{value}'")
        yield stack.enter_context(EmbeddedServer(folder / "postgres")).dsn


@contextmanager
def database(dsn: str, name: str) -> Iterator[str]:
    """The DSN of a new database on that server."""
    execute(dsn, f'CREATE DATABASE "{name}"')
    try:
        yield make_dsn(dsn, dbname=name)
    finally:
        execute(dsn, f'DROP DATABASE "{name}" WITH (FORCE)')


def execute(dsn: str, sql: str) -> None:
    """Runs SQL outside any transaction."""
    with closing(psycopg2.connect(dsn)) as session:
        session.autocommit = True
        with session.cursor() as cursor:
            cursor.execute(sql)


def machine() -> str:
    """What it ran on, in a few words, and how busy that is."""
    return f"{hardware()}, load {os.getloadavg()[0]:.1f}"


def hardware() -> str:
    """What it ran on, in a few words. The widest vectors say more of a model's speed than a processor's name."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    told = dict(re.findall(r"^(.*?)\s*: (.*)$", CPUINFO.read_text(), re.MULTILINE))
    widest = next((name for name, flag in VECTOR_UNITS.items() if flag in told.get("flags", "").split()), "no AVX2")
    kind = told.get("model name", platform.machine())
    return f"{platform.system()}, {os.cpu_count()} cores ({kind}, {widest}), {memory:.0f} GiB"


def show(title: str, results: Mapping[str, Sequence[float]], unit: str, beside: str) -> None:
    """A table of medians and spreads, and of the medians of each round's ratio to `beside`."""
    print(f"\n{title} ({machine()})\n")
    print(f"| way | {unit}, median | least to most | ratio to {beside} |")
    print("| --- | --- | --- | --- |")
    for name, values in results.items():
        middle = statistics.median(values)
        ratio = statistics.median(value / base for value, base in zip(values, results[beside], strict=True))
        print(f"| {name} | {middle:,.0f} | {min(values):,.0f} to {max(values):,.0f} | {ratio:.2f} |")
