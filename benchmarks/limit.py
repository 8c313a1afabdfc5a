"""The machine's limit: what an image takes in the fastest known kernel of each stage, each stage running alone.

As many processes as there are cores run the same kernel at the same time, each over pictures of its own. One process
alone takes less for an image, since it has the caches, the memory and often a whole physical core for itself, of which
two "cores" of a virtual machine are the halves; but what all cores together can reach does not follow from that. It is
measured and printed too.

Of each stage, the kernel with the fewest processor seconds counts, those of the other end (the files' server or
PostgreSQL) included. Each stage works on what the one before it made of the same photographs.
"""

import os
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from multiprocessing import get_context
from threading import Barrier
from typing import Any

import numpy as np

from benchmarks.kernels import (
    MOST_PIXELS,
    SIDE,
    VECTORDS,
    Model,
    decoders,
    embedders,
    fetch,
    fetch_as_vectord,
    store,
)
from benchmarks.processes import processor_seconds
from benchmarks.scene import BASE, Scene
from daemon.engine import ModelSpec, find_weights
from daemon.engine.kept_models import converted
from daemon.loader.child import ALLOCATION
from daemon.loader.decode import prepare

IMAGES = 256
"""For each process."""
STAGES = ("fetch", "decode", "embed", "store")
Spent = dict[str, float]
"""Processor seconds for an image: under "" the process's that runs the kernel, under its name a helper's."""
Noted = list[tuple[tuple[str, str], Spent]]
"""What a process took for each (stage, kernel)."""


@dataclass
class Limit:
    """What each kernel of each stage took, round by round."""

    spent: dict[tuple[str, str], list[Spent]] = field(default_factory=dict)

    def best(self, stage: str) -> tuple[str, Spent]:
        """The stage's cheapest kernel, and the medians of what it takes."""
        medians = {kernel: _medians(rounds) for (of, kernel), rounds in self.spent.items() if of == stage}
        kernel = min(medians, key=lambda name: sum(medians[name].values()))
        return kernel, medians[kernel]

    def vectords(self, stage: str) -> float | None:
        """Core-seconds of vectord's own way through the stage, where one was measured."""
        rounds = self.spent.get((stage, VECTORDS))
        return sum(_medians(rounds).values()) if rounds else None

    def own(self) -> float:
        """Of all stages, without the helpers."""
        return sum(self.best(stage)[1][""] for stage in STAGES)

    def helper(self, name: str) -> float:
        return sum(self.best(stage)[1].get(name, 0.0) for stage in STAGES)

    def seconds(self) -> float:
        """Core-seconds of all stages and helpers for an image."""
        return sum(sum(self.best(stage)[1].values()) for stage in STAGES)

    def rate(self, cores: int) -> float:
        """Images a second that so many cores cannot exceed."""
        return cores / self.seconds()


def _medians(rounds: Sequence[Spent]) -> Spent:
    return {name: statistics.median(one[name] for one in rounds) for name in rounds[0]}


def measure_limit(limit: Limit, on: Scene, processes: int, images: int = IMAGES) -> None:
    """One round: all kernels of each stage, in so many processes at a time."""
    context = get_context("spawn")
    meet = partial(ProcessPoolExecutor, processes, context, _meet, (context.Barrier(processes),))
    with on.tables() as tables, _environment(ALLOCATION), meet() as pool:
        tables.insert(images * processes)
        job = Job(dsn=tables.dsn, urls=on.urls, model=_model(on), helpers=on.helpers, of=processes, images=images)
        for noted in zip(*pool.map(job, range(processes)), strict=True):
            limit.spent.setdefault(noted[0][0], []).append(_mean([spent for _, spent in noted]))


@contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    """What processes that are started meanwhile find there."""
    before = dict(os.environ)
    os.environ.update(variables)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def _model(on: Scene) -> Model:
    weights = find_weights(str(on.weights), alpha=1.0, input_size=SIDE, state_dir=on.state_dir)
    spec = ModelSpec(alpha=1.0, input_size=SIDE, scaling="tf", weights=weights)
    return Model(spec=spec, path=converted(spec, on.state_dir))


def _mean(spent: Sequence[Spent]) -> Spent:
    return {name: statistics.mean(one[name] for one in spent) for name in spent[0]}


barrier: Barrier
"""Of a process of the pool: where it waits for the others."""


def _meet(where: Barrier) -> None:
    global barrier  # noqa: PLW0603  # A pool can hand it on in no other way.
    barrier = where


@dataclass(frozen=True, kw_only=True)
class Job:
    """What each process has to do: called with its number, it runs all kernels and says what each took."""

    dsn: str
    urls: Sequence[str]
    model: Model
    helpers: Mapping[str, int]
    of: int
    images: int

    def __call__(self, number: int) -> Noted:
        prepare(MOST_PIXELS)
        first = number * self.images
        urls = [self.urls[n % len(self.urls)] for n in range(first, first + self.images)]
        noted: Noted = []
        take = partial(self._take, noted)
        pictures = take("fetch", {VECTORDS: fetch_as_vectord, "raw sockets": fetch}, urls)
        pixels = np.stack(take("decode", decoders(), pictures))
        vectors = take("embed", embedders(self.model), pixels)
        take("store", {"COPY BINARY": partial(store, self.dsn, BASE + 1 + first)}, vectors)
        return noted

    def _take(self, noted: Noted, stage: str, kernels: Mapping[str, Callable[[Any], Any]], given: Any) -> Any:
        """What the last of the kernels makes of what is given."""
        made = None
        for name, kernel in kernels.items():
            if stage != "store":
                kernel(given[:8])
            with self._noted(noted, stage, name):
                made = kernel(given)
        return made

    @contextmanager
    def _noted(self, noted: Noted, stage: str, kernel: str) -> Iterator[None]:
        """From the moment when all are ready for it to the one when all are done. A helper worked for all of them."""
        barrier.wait()
        helpers, began = self._helpers(), time.process_time()
        yield
        own = time.process_time() - began
        barrier.wait()
        spent = {name: (seconds - helpers[name]) / self.of for name, seconds in self._helpers().items()}
        noted.append(((stage, kernel), {name: each / self.images for name, each in {"": own, **spent}.items()}))

    def _helpers(self) -> Spent:
        return {name: processor_seconds([pid]) for name, pid in self.helpers.items()}


def show_limit(limit: Limit, alone: Limit, cores: int) -> None:
    print("\nThe machine's limit: core-milliseconds of an image in the fastest kernel of each stage, on all cores\n")
    print("| stage | kernel | in the process | the other end | together | vectord's own way | ", end="")
    print("on one core, the others idle |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for stage in STAGES:
        kernel, spent = limit.best(stage)
        own, together = spent[""], sum(spent.values())
        by_itself, ours = sum(alone.best(stage)[1].values()), limit.vectords(stage)
        print(f"| {stage} | {kernel} | {_ms(own)} | {_ms(together - own)} | {_ms(together)} ", end="")
        print(f"| {'' if ours is None else _ms(ours)} | {_ms(by_itself)} |")
    own, total = limit.own(), limit.seconds()
    print(f"| all | | {_ms(own)} | {_ms(total - own)} | {_ms(total)} | | {_ms(alone.seconds())} |")
    served = limit.helper("the files' server")
    print(f"\nLimit: {cores} cores / {_ms(total)} ms = {cores / total:.1f} images/s; ", end="")
    print(f"not counting the files' server, {cores / (total - served):.1f} images/s.")


def _ms(seconds: float) -> str:
    return f"{1e3 * seconds:.2f}"
