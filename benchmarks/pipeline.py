"""From rows in PostgreSQL to vectors in PostgreSQL: vectord beside what one would write instead.

    .venv-bench/bin/python -m benchmarks.pipeline [--rounds 5] [--quick] [--only vectord,bulk]

The contenders (`benchmarks/contenders`) take turns, each with a clone of the same tables, which hold an HNSW index with
2,000 vectors. Photographs of 640×480 to 4000×3000, no two alike, come over HTTP from a static server on loopback. Time
runs from the INSERT of the rows to the last vector that another session sees; starting, importing and compiling do not
count. Processor time is that of the contender, its children, PostgreSQL and the server together.
"""

import argparse
import os
import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from benchmarks.limit import Limit, measure_limit, show_limit
from benchmarks.postgres import machine
from benchmarks.processes import cores, memory_mib, processor_seconds
from benchmarks.scene import Program, Scene, Tables, program, scene, vectord

VECTORD = "5. vectord"


@dataclass(frozen=True, kw_only=True)
class Contender:
    """A program to be measured: its module and arguments, and how many images a round has for it."""

    name: str
    module: str
    arguments: Sequence[str] = ()
    images: int
    target: float | None = None
    """How many times as fast vectord is to be."""


FULL, REDUCED = "full", "reduced"
"""Decoding: as most programs do it, or as vectord does, at a fraction of a large JPEG's size."""
CONTENDERS = (
    Contender(name="1. one by one", module="one_by_one", images=96, target=10.0),
    Contender(name="2. in bulk", module="bulk", images=192, target=5.0),
    Contender(name="3. tf.data", module="tf_data", images=512, target=1.5),
    Contender(name="3. tf.data, reduced decoding", module="tf_data", arguments=(REDUCED,), images=512, target=1.5),
    *(
        Contender(name=f"4. PyTorch, {name}", module="torch_loader", arguments=arguments, images=images, target=1.5)
        for name, arguments, images in (
            ("channels last", (FULL, "channels_last"), 192),
            ("compiled", (FULL, "compiled"), 512),
            ("compiled, reduced decoding", (REDUCED, "compiled"), 512),
        )
    ),
    Contender(name=VECTORD, module="", images=2048),
)
OF_LIMIT = 0.85
QUICK = 0.25


@dataclass
class Figures:
    """Of one contender, round by round."""

    rate: list[float] = field(default_factory=list)
    own: list[float] = field(default_factory=list)
    """Processor seconds of its own for each image."""
    helpers: dict[str, list[float]] = field(default_factory=dict)
    """Those of the helpers."""
    memory: list[float] = field(default_factory=list)
    """MiB of its processes, when half of the images are done."""
    idle: list[float] = field(default_factory=list)
    """Share of the cores' time that nobody used."""
    others: list[float] = field(default_factory=list)
    """Share that went to other programs."""

    def processor(self) -> list[float]:
        """Processor seconds for each image, of all together."""
        return [sum(each) for each in zip(self.own, *self.helpers.values(), strict=True)]


@contextmanager
def started(contender: Contender, on: Scene, tables: Tables) -> Iterator[Program]:
    """The contender, ready."""
    if contender.name == VECTORD:
        with vectord(on, tables.dsn) as daemon:
            yield daemon
        return
    module = f"benchmarks.contenders.{contender.module}"
    quiet = {"TF_CPP_MIN_LOG_LEVEL": "3", "HF_HUB_OFFLINE": "1"}
    with program(module, tables.dsn, str(on.weights), *contender.arguments, environment=quiet) as process:
        if process.hear() != "ready":
            raise SystemExit(f"{contender.name} does not keep to the contract")
        yield process


def measure(contender: Contender, on: Scene, images: int, figures: Figures) -> None:
    """One round of one contender."""
    with on.tables() as tables, started(contender, on, tables) as process:
        before, passed, began = used(process, on), cores(), time.perf_counter()
        tables.insert(images)
        if contender.name != VECTORD:
            process.tell("go")
        tables.wait_for(images // 2)
        figures.memory.append(memory_mib([process.pid]))
        tables.wait_for(images)
        seconds = time.perf_counter() - began
        after, passed = used(process, on), cores() - passed
    total = sum(after.values()) - sum(before.values())
    figures.idle.append(passed.idle / passed.all)
    figures.others.append(max(0.0, (passed.all - passed.idle - total) / passed.all))
    spent = {name: (after[name] - before[name]) / images for name in after}
    figures.rate.append(images / seconds)
    figures.own.append(spent.pop(""))
    for name, of_helper in spent.items():
        figures.helpers.setdefault(name, []).append(of_helper)


def used(process: Program, on: Scene) -> dict[str, float]:
    """Processor seconds so far, by helper; under "", those of the contender."""
    return {"": processor_seconds([process.pid])} | {name: processor_seconds([pid]) for name, pid in on.helpers.items()}


def show(figures: Mapping[str, Figures], contenders: Sequence[Contender]) -> None:
    ours = figures.get(VECTORD)
    print(f"\nFrom rows to vectors ({machine()}; ratios are medians of each round's)\n")
    print("| contender | images/s | least to most | vectord is faster by | target | ", end="")
    print("processor ms an image | to vectord's | MiB |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for contender in contenders:
        row = figures[contender.name]
        faster = ratio(ours.rate, row.rate) if ours else float("nan")
        cheaper = ratio(row.processor(), ours.processor()) if ours else float("nan")
        print(
            f"| {contender.name} | {statistics.median(row.rate):.1f} | {min(row.rate):.1f} to {max(row.rate):.1f} "
            f"| {faster:.2f} | {contender.target or ''} | {1000 * statistics.median(row.processor()):.1f} "
            f"| {cheaper:.2f} | {statistics.median(row.memory):.0f} |"
        )


def ratio(ones: Sequence[float], others: Sequence[float]) -> float:
    """The median of each round's ratio: what slows the machine slows both."""
    return statistics.median(one / other for one, other in zip(ones, others, strict=True))


def show_rest(figures: Figures, limit: Limit, count: int) -> None:
    """How near vectord comes to the machine's limit, and where the rest goes."""
    rate = statistics.median(figures.rate)
    total, alone = statistics.median(figures.processor()), limit.seconds()
    idle, others = statistics.median(figures.idle), statistics.median(figures.others)
    share = rate / limit.rate(count)
    print(f"\nvectord's {rate:.1f} images/s are {share:.2f} of the limit (target {OF_LIMIT}). Where the rest goes:\n")
    print("| core-ms of an image | in vectord's run | kernels alone | more |\n| --- | --- | --- | --- |")
    rows = {"vectord's processes": (statistics.median(figures.own), limit.own())}
    rows |= {name: (statistics.median(spent), limit.helper(name)) for name, spent in figures.helpers.items()}
    for name, (spent, kernel) in (rows | {"all": (total, alone)}).items():
        print(f"| {name} | {1000 * spent:.2f} | {1000 * kernel:.2f} | {1000 * (spent - kernel):.2f} |")
    print(
        f"\nBy processor time alone vectord is at {alone / total:.2f} of the limit. Meanwhile the cores were idle for "
        f"{idle:.0%} of their time (the beginning and the end of a round among it), and worked {others:.0%} of it for "
        "programs that have nothing to do with this."
    )


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="one round with a quarter of the images")
    parser.add_argument("--only", default="", help="parts of names, with commas between")
    return parser.parse_args()


def main() -> None:
    arguments = parse()
    wanted = arguments.only.split(",")
    contenders = [one for one in CONTENDERS if any(part in one.name for part in wanted)]
    scale, rounds = (QUICK, 1) if arguments.quick else (1.0, arguments.rounds)
    figures = {one.name: Figures() for one in contenders}
    limit, alone, count = Limit(), Limit(), len(os.sched_getaffinity(0))
    with scene(max(one.images for one in contenders)) as on:
        for _ in range(rounds):
            for contender in contenders:
                measure(contender, on, int(contender.images * scale), figures[contender.name])
            measure_limit(limit, on, count)
            measure_limit(alone, on, 1)
    show(figures, contenders)
    show_limit(limit, alone, count)
    if VECTORD in figures:
        show_rest(figures[VECTORD], limit, count)


if __name__ == "__main__":
    main()
