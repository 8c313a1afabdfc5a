"""`backfill` beside the daemon on the same cores, and with ever more workers over sources that take their time.

    .venv-bench/bin/python -m benchmarks.backfill [--quick]

Rates are those of the middle of a run: from the vector that ends the first fifth to the one that ends the fourth.
Photographs of 640×480; `fetch.per_host` is raised, since all come from one host. No vector index.
"""

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from benchmarks.postgres import machine
from benchmarks.scene import Scene, Tables, make_template, scene, vectord

PAUSE = 0.4
THREADS = 4
WORKERS = (1, 2, 4)
FIFTH = 5
PER_HOST = {"FETCH__PER_HOST": "10000", "LOADER__THREADS": str(THREADS)}


def rate(tables: Tables, images: int) -> float:
    """Images a second between the first fifth and the fourth."""
    tables.wait_for(images // FIFTH)
    made, began = tables.vectors(), time.perf_counter()
    tables.wait_for(images - images // FIFTH)
    return (tables.vectors() - made) / (time.perf_counter() - began)


@contextmanager
def filling(on: Scene, dsn: str, loaders: int) -> Iterator[None]:
    """`python -m daemon backfill --ray local` with so many loaders."""
    settings = PER_HOST | {
        "DATABASE__DSN": dsn,
        "DATABASE__STATE_DIR": str(on.state_dir),
        "MODEL__WEIGHTS": str(on.weights),
        "FETCH__ALLOW_NETWORKS": '["127.0.0.0/8"]',
        "FETCH__ALLOW_PORTS": "[0]",
        "QUEUE__TRIGGER": "false",
    }
    command = [sys.executable, "-m", "daemon", "backfill", "--ray", "local", "--loaders", str(loaders)]
    environment = os.environ | {f"VECTORD_{name}": value for name, value in settings.items()}
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL) as process:
        try:
            yield
        finally:
            process.terminate()
            process.wait(120)


def by_daemon(on: Scene, images: int) -> float:
    """The daemon with its defaults."""
    with on.tables("bare") as tables, vectord(on, tables.dsn, **PER_HOST):
        tables.insert(images)
        return rate(tables, images)


def by_backfill(on: Scene, images: int, loaders: int) -> float:
    with on.tables("bare") as tables:
        tables.insert(images)
        with filling(on, tables.dsn, loaders):
            return rate(tables, images)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a third of the images")
    images = 1000 if parser.parse_args().quick else 3000
    cores = len(os.sched_getaffinity(0))
    print(f"Photographs of 640×480 ({machine()})\n")
    with scene(600, shape="640x480") as on:
        make_template(on.server_dsn, "bare", index="none")
        daemon, filled = by_daemon(on, images), by_backfill(on, images, cores)
    print("| on the same cores | images/s | to the daemon |\n| --- | --- | --- |")
    print(f"| the daemon | {daemon:.1f} | 1.00 |\n| backfill | {filled:.1f} | {filled / daemon:.2f} |\n")
    print(f"| loaders, sources that answer after {PAUSE:g} s | images/s | to half as many |\n| --- | --- | --- |")
    with scene(600, shape="640x480", pause=PAUSE) as on:
        make_template(on.server_dsn, "bare", index="none")
        before = 0.0
        for loaders in WORKERS:
            found = by_backfill(on, images * loaders // FIFTH, loaders)
            print(f"| {loaders} of {THREADS} threads | {found:.1f} | {f'{found / before / 2:.2f}' if before else ''} |")
            before = found


if __name__ == "__main__":
    main()
