"""Throughput against loaders and daemons, with sources that take their time, and what bounds it.

    .venv-bench/bin/python -m benchmarks.scale [--seconds 15] [--quick]

Sources that answer after `PAUSE` keep the cores of a small machine from being what is measured: so many fetches at a
time, each of so many milliseconds, give so many images a second, and not more. Without the pause the cores are the
bound. All daemons share one PostgreSQL, one queue and one table with an HNSW index. Photographs are of 640×480, and
`fetch.per_host` is raised, since all come from one host. Rates are those of the middle of a run.
"""

import argparse
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from benchmarks.postgres import machine
from benchmarks.processes import cores, processor_seconds
from benchmarks.scene import Scene, scene, vectord

PAUSE = 0.4
PER_HOST = 10_000
WARM_SECONDS = 4.0
MOST_A_SECOND = 600
"""Images that no run here can get through."""
NEARLY_ALL = 0.8
CONNECTIONS = "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'vectord%'"


@dataclass(frozen=True, kw_only=True)
class Setting:
    """So many daemons, each with so many loaders of so many threads."""

    daemons: int
    processes: int
    threads: int = 4

    @property
    def fetches(self) -> int:
        """At a time."""
        return self.daemons * self.processes * self.threads


@dataclass(frozen=True, kw_only=True)
class Found:
    """What a run came to."""

    rate: float
    busy: float
    """Share of the cores' time that this took."""
    idle: float
    """Share that nobody used."""
    connections: int
    spent: float
    """Processor milliseconds of an image, of all together."""


LOADERS = (1, 2, 4, 8)
DAEMONS = (1, 2, 4)


def measure(on: Scene, setting: Setting, seconds: float) -> Found:
    """So many seconds out of the middle of a run that has more to do than that."""
    variables = {
        "LOADER__PROCESSES": str(setting.processes),
        "LOADER__THREADS": str(setting.threads),
        "FETCH__PER_HOST": str(PER_HOST),
    }
    with on.tables() as tables, ExitStack() as stack:
        daemons = [stack.enter_context(vectord(on, tables.dsn, **variables)).pid for _ in range(setting.daemons)]
        roots = [*daemons, *on.helpers.values()]
        tables.insert(int(MOST_A_SECOND * (seconds + 2 * WARM_SECONDS)))
        time.sleep(WARM_SECONDS)
        made, passed, spent, began = tables.vectors(), cores(), processor_seconds(roots), time.perf_counter()
        time.sleep(seconds)
        made, passed = tables.vectors() - made, cores() - passed
        spent, taken = processor_seconds(roots) - spent, time.perf_counter() - began
        connections = int(tables.query(CONNECTIONS))
    return Found(
        rate=made / taken,
        busy=spent / passed.all,
        idle=passed.idle / passed.all,
        connections=connections,
        spent=1000 * spent / made,
    )


def by_loaders(on: Scene, loaders: Sequence[int], seconds: float) -> None:
    """One daemon, ever more loaders, sources that take their time."""
    print(f"\n### One daemon, sources that answer after {PAUSE:g} s\n")
    print("| loaders | fetches at a time | images/s | of fetches / pause | cores busy | bound by |")
    print("| --- | --- | --- | --- | --- | --- |")
    for processes in loaders:
        setting = Setting(daemons=1, processes=processes)
        found = measure(on, setting, seconds)
        share = found.rate * PAUSE / setting.fetches
        print(
            f"| {processes} of {setting.threads} threads | {setting.fetches} | {found.rate:.1f} | {share:.2f} "
            f"| {found.busy:.0%} | {bound(share, found)} |"
        )


def by_daemons(on: Scene, daemons: Sequence[int], seconds: float, pause: float) -> None:
    """Ever more daemons on one PostgreSQL."""
    print(f"\n### Daemons on one PostgreSQL, sources that answer after {pause:g} s\n")
    print("| daemons of 2 loaders | connections | images/s | to one | processor ms an image | cores busy | bound by |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    one = 0.0
    for number in daemons:
        setting = Setting(daemons=number, processes=2)
        found = measure(on, setting, seconds)
        one = one or found.rate
        share = found.rate * pause / setting.fetches
        print(
            f"| {number} | {found.connections} | {found.rate:.1f} | {found.rate / one:.2f} | {found.spent:.1f} "
            f"| {found.busy:.0%} | {bound(share, found)} |"
        )


def bound(share: float, found: Found) -> str:
    """What keeps it from being faster: nearly all fetches that there can be are under way, or the cores busy."""
    if share > NEARLY_ALL:
        return "fetches: more loaders, threads or daemons help"
    if found.idle > 1 - NEARLY_ALL:
        return "neither fetches nor the cores"
    return "the cores" if found.busy > NEARLY_ALL else "the cores, which other programs use too"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=15.0)
    parser.add_argument("--quick", action="store_true", help="5 seconds each, and fewer sizes")
    arguments = parser.parse_args()
    seconds, loaders, daemons = (5.0, (1, 4), (1, 2)) if arguments.quick else (arguments.seconds, LOADERS, DAEMONS)
    print(f"Photographs of 640×480 ({machine()})")
    with scene(600, shape="640x480", pause=PAUSE) as on:
        by_loaders(on, loaders, seconds)
        by_daemons(on, daemons, seconds, PAUSE)
    with scene(600, shape="640x480") as on:
        by_daemons(on, daemons, seconds, 0.0)


if __name__ == "__main__":
    main()
