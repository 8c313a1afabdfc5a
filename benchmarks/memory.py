"""Memory of a daemon's processes together, while it works and afterwards: is it small, and does it stay so?

    .venv-bench/bin/python -m benchmarks.memory [--images 10000] [--quick]

Proportional set size, so that pages which processes share count once. Each sample is the largest of several within a
tenth of the run. Loaders are replaced every 2,000 images each, so a long run has several generations of them.
"""

import argparse
import time

from benchmarks.postgres import machine
from benchmarks.processes import family, memory_mib
from benchmarks.scene import scene, vectord

LIMIT_MIB = 1.2 * 1024
PARTS = 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--quick", action="store_true", help="1,000 images")
    arguments = parser.parse_args()
    images = 1000 if arguments.quick else arguments.images
    samples: list[tuple[str, float, float, int, float]] = []
    with scene(600) as on, on.tables() as tables, vectord(on, tables.dsn) as daemon:
        samples.append(("idle, before", *sample(daemon.pid, on.helpers["PostgreSQL"])))
        tables.insert(images)
        for part in range(1, PARTS + 1):
            most = sample(daemon.pid, on.helpers["PostgreSQL"])
            while tables.vectors() < images * part // PARTS:
                time.sleep(0.5)
                most = max(most, sample(daemon.pid, on.helpers["PostgreSQL"]))
            samples.append((f"{part * 100 // PARTS} %", *most))
        time.sleep(5)
        samples.append(("idle, after", *sample(daemon.pid, on.helpers["PostgreSQL"])))
    show(samples, images)


def sample(daemon: int, postmaster: int) -> tuple[float, float, int, float]:
    """MiB of the daemon's processes together, of the main one, how many there are, and MiB of PostgreSQL."""
    main_mib = memory_mib([daemon], alone=True)
    return memory_mib([daemon]), main_mib, len(family(daemon)), memory_mib([postmaster])


def show(samples: list[tuple[str, float, float, int, float]], images: int) -> None:
    most = max(total for _, total, *_ in samples)
    print(f"MiB over {images:,} images of the standard mix ({machine()}): {most:.0f} at most, target {LIMIT_MIB:.0f}\n")
    print("| when | all of the daemon's | its main process | processes | PostgreSQL beside it |")
    print("| --- | --- | --- | --- | --- |")
    for when, total, alone, processes, postgres in samples:
        print(f"| {when} | {total:.0f} | {alone:.0f} | {processes} | {postgres:.0f} |")
    half, last = samples[PARTS // 2][1], samples[PARTS][1]
    print(f"\nThe last tenth took {last / half:.2f} of what the fifth took.")


if __name__ == "__main__":
    main()
