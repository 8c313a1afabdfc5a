"""Throughput by cores: one machine's daemons, PostgreSQL and sources on ever more of its cores, and who uses them.

    .venv-bench/bin/python -m benchmarks.cores [--cores 1,2,4] [--daemons 1] [--device cpu|gpu] [--bare] [--seconds 10]

The photographs are the standard mix, over HTTP from loopback, more than there is time for. The daemons have their
defaults but for `fetch.per_host`, since all come from one host; the table has an HNSW index, or none with `--bare`.
Rates are those of the middle of a run. All that is measured is bound to the cores in question, and so is what starts
it.
"""

import argparse
import os
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from benchmarks.postgres import machine
from benchmarks.processes import family, processor_seconds
from benchmarks.scale import PER_HOST, WARM_SECONDS
from benchmarks.scene import FILES, Scene, make_template, scene, vectord

PICTURES = 2048
MOST_A_SECOND = 200
"""Images that a core cannot get through."""
CORES_PER_SERVER = 4
BARE = "bare"


@dataclass(frozen=True, kw_only=True)
class Setting:
    """So many cores and daemons, where the model runs, and which of the scene's tables."""

    cores: int
    daemons: int
    device: str
    tables: str


@dataclass(frozen=True, kw_only=True)
class Found:
    """Images a second, and processor seconds of an image by who spent them."""

    rate: float
    spent: dict[str, float]

    @property
    def busy(self) -> float:
        """Cores."""
        return self.rate * sum(self.spent.values())


def measure(on: Scene, setting: Setting, seconds: float) -> Found:
    """So many seconds out of the middle of a run that has more to do than that."""
    variables = {"FETCH__PER_HOST": str(PER_HOST), "ENGINE__DEVICE": setting.device}
    with on.tables(setting.tables) as tables, ExitStack() as stack:
        daemons = [stack.enter_context(vectord(on, tables.dsn, **variables)).pid for _ in range(setting.daemons)]
        tables.insert(int(MOST_A_SECOND * setting.cores * (seconds + WARM_SECONDS)))
        time.sleep(WARM_SECONDS)
        made, before, began = tables.vectors(), used(on, daemons), time.perf_counter()
        time.sleep(seconds)
        made, after, taken = tables.vectors() - made, used(on, daemons), time.perf_counter() - began
    return Found(rate=made / taken, spent={name: (after[name] - before[name]) / made for name in after})


def used(on: Scene, daemons: Sequence[int]) -> dict[str, float]:
    """Processor seconds so far."""
    loaders = [child for daemon in daemons for child in family(daemon) if child != daemon]
    spent = {"loaders": processor_seconds(loaders)}
    spent["main"] = processor_seconds(daemons) - spent["loaders"]
    return spent | {name: processor_seconds([pid]) for name, pid in on.helpers.items()}


def measure_on(setting: Setting, seconds: float) -> Found:
    """The same on so many of the cores, with everything that it takes."""
    whole = os.sched_getaffinity(0)
    os.sched_setaffinity(0, sorted(whole)[: setting.cores])
    try:
        with scene(PICTURES, servers=-(-setting.cores // CORES_PER_SERVER)) as on:
            if setting.tables == BARE:
                make_template(on.server_dsn, BARE, index="none")
            return measure(on, setting, seconds)
    finally:
        os.sched_setaffinity(0, whole)


def show(found: dict[int, Found]) -> None:
    """A row for each number of cores."""
    print("| cores | images/s | for each core, to the fewest | cores busy ", end="")
    print("| core-ms an image: loaders | main process | PostgreSQL | the files' servers |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    fewest = min(found)
    for cores, one in found.items():
        served = sum(spent for name, spent in one.spent.items() if name.startswith(FILES))
        parts = [one.spent["loaders"], one.spent["main"], one.spent["PostgreSQL"], served]
        to_fewest = one.rate / cores / (found[fewest].rate / fewest)
        print(f"| {cores} | {one.rate:.1f} | {to_fewest:.2f} | {one.busy:.2f} ", end="")
        print("| " + " | ".join(f"{1000 * part:.2f}" for part in parts) + " |", flush=True)


def main() -> None:
    there = len(os.sched_getaffinity(0))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cores", default=",".join(str(2**n) for n in range(there.bit_length())))
    parser.add_argument("--daemons", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--bare", action="store_true", help="a table without an HNSW index")
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--quick", action="store_true", help="2 seconds each")
    given = parser.parse_args()
    numbers = [int(number) for number in given.cores.split(",")]
    if max(numbers) > there:
        parser.error(f"--cores {given.cores}: there are {there}")
    tables = BARE if given.bare else "scene"
    index = "none" if given.bare else "HNSW"
    print(f"Daemons: {given.daemons}; device: {given.device}; index: {index} ({machine()})\n")
    found = {}
    for cores in numbers:
        setting = Setting(cores=cores, daemons=given.daemons, device=given.device, tables=tables)
        found[cores] = measure_on(setting, 2.0 if given.quick else given.seconds)
    show(found)


if __name__ == "__main__":
    main()
