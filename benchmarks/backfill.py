"""`backfill` beside the daemon on the same cores, and with ever more loaders over sources that take their time.

    .venv-bench/bin/python -m benchmarks.backfill [--rounds 3] [--quick] [--part cores|sources]

All ways take turns, round after round. A rate is the slope of a run's steady part, by least squares over the commits
that stored its second, third and fourth fifth: whole units of images are stored at a time, so what lies between two
moments would depend on how many units just fall between them. What comes before (Ray, loaders and models that start)
and after (the last units, when there is not one for each loader any more) does not count, as in a run of hours.
Photographs of 640×480; `fetch.per_host` is raised, since all come from one host. No vector index.

Slow sources: a loader with 8 threads and sources of 0.8 s gets 10 images a second and no more. Four get 40, which at
the 24 to 29 core-ms that an image takes on two cores without AVX-512 is little more than one core: what keeps four
loaders from being four times as fast as one is the program. With sources of 0.4 s, four loaders were at 91 % of those
cores. How busy the cores were is printed.
"""

import argparse
import os
import statistics
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from benchmarks.postgres import machine
from benchmarks.processes import cores, processor_seconds
from benchmarks.scene import BASE, Scene, Tables, make_template, scene, vectord

PAUSE = 0.8
THREADS = 8
LOADERS = (1, 2, 4)
FIFTH = 5
PLENTY = 3000
"""Images for all cores."""
EACH = 640
"""Images for each loader where sources are slow: 10 units."""
PER_HOST = {"FETCH__PER_HOST": "10000"}
COMMITS = """
SELECT extract(epoch FROM create_time)::float8, count(*) FROM tb_hsx_img_value WHERE image_id > {base}
GROUP BY 1 ORDER BY 1
"""


@dataclass
class Figures:
    """Of one way, round by round."""

    rate: list[float] = field(default_factory=list)
    """Images a second."""
    busy: list[float] = field(default_factory=list)
    """Share of the cores' time that was used, by whomever."""
    spent: list[float] = field(default_factory=list)
    """Processor milliseconds of an image, of all together."""


def slope(commits: Sequence[tuple[float, int]]) -> float:
    """Images a second of the steady part: `commits` are moments in seconds and how many images each stored."""
    total = sum(stored for _, stored in commits)
    first, last = total / FIFTH, total - total / FIFTH
    done, points = 0, []
    for moment, stored in commits:
        # Half of them were made by then, so to speak: they were all on their way since the commit before.
        middle, done = done + stored / 2, done + stored
        if first <= middle <= last:
            points.append((moment, middle))
    return statistics.linear_regression(*zip(*points, strict=True)).slope


def watch(tables: Tables, images: int, roots: Sequence[int], figures: Figures) -> None:
    """Waits until all are stored, and notes what it came to."""
    tables.wait_for(images // FIFTH)
    made, passed, spent = tables.vectors(), cores(), processor_seconds(roots)
    tables.wait_for(images - images // FIFTH)
    made, passed, spent = tables.vectors() - made, cores() - passed, processor_seconds(roots) - spent
    tables.wait_for(images)
    figures.rate.append(slope(tables.rows(COMMITS.format(base=BASE))))
    figures.busy.append(1 - passed.idle / passed.all)
    figures.spent.append(1000 * spent / made)


@contextmanager
def filling(on: Scene, dsn: str, loaders: int) -> Iterator[int]:
    """`python -m daemon backfill --ray local` with so many loaders; its process id."""
    settings = PER_HOST | {
        "DATABASE__DSN": dsn,
        "DATABASE__STATE_DIR": str(on.state_dir),
        "MODEL__WEIGHTS": str(on.weights),
        "FETCH__ALLOW_NETWORKS": '["127.0.0.0/8"]',
        "FETCH__ALLOW_PORTS": "[0]",
        "LOADER__THREADS": str(THREADS),
        "QUEUE__TRIGGER": "false",
    }
    command = [sys.executable, "-m", "daemon", "backfill", "--ray", "local", "--loaders", str(loaders)]
    environment = os.environ | {f"VECTORD_{name}": value for name, value in settings.items()}
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL) as process:
        try:
            yield process.pid
        finally:
            process.terminate()
            process.wait(120)


def by_daemon(on: Scene, images: int, figures: Figures) -> None:
    """The daemon, a loader for each core as by default, of as many threads as the backfill's."""
    with on.tables("bare") as tables, vectord(on, tables.dsn, **PER_HOST, LOADER__THREADS=str(THREADS)) as daemon:
        tables.insert(images)
        watch(tables, images, [daemon.pid, *on.helpers.values()], figures)


def by_backfill(on: Scene, images: int, loaders: int, figures: Figures) -> None:
    with on.tables("bare") as tables:
        tables.insert(images)
        with filling(on, tables.dsn, loaders) as driver:
            watch(tables, images, [driver, *on.helpers.values()], figures)


def beside_the_daemon(rounds: int, images: int) -> None:
    daemon, backfill = Figures(), Figures()
    loaders = len(os.sched_getaffinity(0))
    with scene(600, shape="640x480") as on:
        make_template(on.server_dsn, "bare", index="none")
        for _ in range(rounds):
            by_daemon(on, images, daemon)
            by_backfill(on, images, loaders, backfill)
    print("\n### On the same cores\n")
    print("| way | images/s | least to most | to the daemon | processor ms an image | cores busy |")
    print("| --- | --- | --- | --- | --- | --- |")
    show("the daemon", daemon, ratios(daemon.rate, daemon.rate))
    show(f"backfill, {loaders} loaders", backfill, ratios(backfill.rate, daemon.rate))


def over_slow_sources(rounds: int, each: int, loaders: Sequence[int]) -> None:
    found = {number: Figures() for number in loaders}
    with scene(600, shape="640x480", pause=PAUSE) as on:
        make_template(on.server_dsn, "bare", index="none")
        for _ in range(rounds):
            for number, figures in found.items():
                by_backfill(on, each * number, number, figures)
    print(f"\n### Sources that answer after {PAUSE:g} s\n")
    print("| loaders | images/s | least to most | of linear, for each doubling | processor ms an image | cores busy |")
    print("| --- | --- | --- | --- | --- | --- |")
    for number, figures in found.items():
        half = found.get(number // 2)
        beside = ratios(figures.rate, [2 * rate for rate in half.rate]) if half else []
        show(f"{number} of {THREADS} threads", figures, beside)


def ratios(ones: Sequence[float], others: Sequence[float]) -> list[float]:
    """Of each round: what slows the machine slows both."""
    return [one / other for one, other in zip(ones, others, strict=True)]


def show(name: str, figures: Figures, beside: Sequence[float]) -> None:
    spread = f"{min(figures.rate):.1f} to {max(figures.rate):.1f}"
    ratio = f"{statistics.median(beside):.2f} ({min(beside):.2f} to {max(beside):.2f})" if beside else ""
    print(
        f"| {name} | {statistics.median(figures.rate):.1f} | {spread} | {ratio} "
        f"| {statistics.median(figures.spent):.1f} | {statistics.median(figures.busy):.0%} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="one round, a third of the images, and no four loaders")
    parser.add_argument("--part", choices=("cores", "sources"), help="one of the two tables (default: both)")
    arguments = parser.parse_args()
    rounds, share, loaders = (1, 3, LOADERS[:2]) if arguments.quick else (arguments.rounds, 1, LOADERS)
    print(f"{machine()}; medians of {rounds} rounds")
    if arguments.part != "sources":
        beside_the_daemon(rounds, PLENTY // share)
    if arguments.part != "cores":
        over_slow_sources(rounds, EACH // share, loaders)


if __name__ == "__main__":
    main()
