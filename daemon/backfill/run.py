"""The command `backfill`: plans, works through the shards, and builds the vector index at the end."""

import platform
from collections import Counter
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from uuid import uuid4

from rich.console import Console

from daemon import options, wiring
from daemon.backfill import sample
from daemon.backfill.crew import Crew
from daemon.backfill.indexing import anything_missing, without_index
from daemon.backfill.ledger import jobs
from daemon.backfill.legs import Legs, RunLeg, Stop
from daemon.backfill.order import Order
from daemon.backfill.plan import Plan, Rates, lines
from daemon.config import Settings
from daemon.db.backfill import WORKER_PREFIX, SpanJobs
from daemon.db.generation import Generations
from daemon.db.index import VectorIndex
from daemon.db.shards import Shard, Shards, Totals
from daemon.errors import ConfigurationError
from daemon.ground import Ground, open_as_it_is, open_ground
from daemon.records import Claim
from daemon.reprocess import NEVER, Standing, standing
from daemon.signature import dimension
from daemon.telemetry.progress import Reporter

SHARD_IMAGES = 16_384
INTERRUPTED = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What was said on the command line; None where the cluster decides."""

    address: str
    dry_run: bool = False
    shard_images: int = SHARD_IMAGES
    loaders: int | None = None
    embedders: int | None = None
    connections: int = 4
    drop_index: bool = False
    memory_mb: int | None = None
    loader_rate: float | None = None
    engine_rate: float | None = None


def run(settings: Settings, given: Options, stop: Stop, console: Console) -> int:
    """Exit status 0: no shard is open. 1: stopped, or something is left for another run. Raises `VectordError`."""
    # Ray is optional, and takes seconds to import.
    from daemon.backfill import cluster, flow  # noqa: PLC0415

    if given.address != cluster.LOCAL and not settings.database.dsn.get_secret_value():
        raise ConfigurationError("database.dsn: a cluster needs a PostgreSQL that all its machines reach; name one")
    opened = open_as_it_is(settings) if given.dry_run else open_ground(settings)
    with opened as ground, cluster.joined(given.address, loaders=given.loaders) as there:
        crew = there.crew(
            loaders=given.loaders,
            embedders=given.embedders,
            connections=given.connections,
            device=settings.engine.device,
        )
        order = _order(settings, ground, register=not given.dry_run)
        shards = Shards(ground.pool, options.names(settings), order.signature)
        if given.dry_run:
            for line in lines(_survey(order, ground, shards, given, crew)):
                console.print(line, highlight=False, soft_wrap=True)
            return 0
        with Reporter(console, what="images planned") as reporter:
            _write_plan(shards, given.shard_images, stop, reporter)
        index = VectorIndex(ground.pool, options.names(settings), memory_mb=given.memory_mb)
        bulk = given.drop_index and (not index.there() or anything_missing(shards, jobs(order, ground.pool), stop))
        with without_index(index, stop, console) if bulk else nullcontext():
            legs = _work(order, ground, shards, partial(flow.run_leg, order, crew, stop), stop, console)
        return max(_summary(legs, shards.totals(), console), INTERRUPTED if stop.wait(0) else 0)


def _order(settings: Settings, ground: Ground, *, register: bool) -> Order:
    """Raises `ConfigurationError` where another model counts: its daemons and this would undo each other's work.

    `register`: where no model counts yet, this one does from now on.
    """
    names = options.names(settings)
    own = options.instance(settings, wiring.find_weights(settings))
    generations = Generations(ground.pool, names, notify=settings.queue.notify)
    present = generations.signature()
    if standing(own.signature, present) is Standing.SUPERSEDED:
        raise ConfigurationError(
            f"the vectors that count are {present}, and this configuration makes {own.signature}: "
            "give it the same [model], or start a daemon with this one first"
        )
    if present is None:
        present = generations.on_start(replace(own, mode=NEVER)).signature if register else own.signature
    shards = Shards(ground.pool, names, present)
    return Order(
        settings=settings,
        dsn=ground.dsn,
        layout=ground.layout,
        signature=present,
        worker=f"{WORKER_PREFIX}{platform.node()}:{uuid4().hex[:8]}",
        forced_since=shards.forced_since(),
    )


def _work(order: Order, ground: Ground, shards: Shards, run_leg: RunLeg, stop: Stop, console: Console) -> Legs:
    names = options.names(order.settings)
    with Reporter(console, total=shards.totals().open_images, what="images made") as reporter:

        def show(done: Counter[str]) -> None:
            reporter.show(done["claimed"])

        legs = Legs(
            order, jobs(order, ground.pool), shards, Generations(ground.pool, names), run_leg, stop=stop, show=show
        )
        legs.run()
    return legs


def _write_plan(shards: Shards, size: int, stop: Stop, reporter: Reporter) -> None:
    images = 0
    for shard in shards.plan(size):
        images += shard.images
        reporter.show(images)
        if stop.wait(0):
            break


def _summary(legs: Legs, totals: Totals, console: Console) -> int:
    done = legs.done
    console.print(
        f"{done['stored']:,} vectors stored, {done['dead']:,} images dead, {done['retried']:,} wait for a retry, "
        f"{done['overtaken']:,} were somebody else's by then"
    )
    if done["retried"]:
        console.print("a daemon has to run for the retries: `python -m daemon run`")
    if totals.open_shards:
        console.print(
            f"{totals.open_shards:,} of {totals.shards:,} shards are open: the same command goes on with them"
        )
    return INTERRUPTED if totals.open_shards else 0


def _survey(order: Order, ground: Ground, shards: Shards, given: Options, crew: Crew) -> Plan:
    """What there is to do: ids are counted, what is missing is estimated, rates are measured unless they are given."""
    totals = shards.totals()
    planned = shards.open(totals.open_shards)
    todo = [*planned, *shards.survey(given.shard_images)]
    open_images = sum(shard.images for shard in todo)
    wanted = jobs(order, ground.pool)
    some = sample.spread(todo)
    looked = sum(shard.images for shard in some)
    found = sum(wanted.left(shard.span, shard.images) for shard in some)
    return Plan(
        # Where none is open, all of them are planned anew.
        shards=len(todo) + (totals.finished_shards if planned else 0),
        images=open_images + (totals.finished_images if planned else 0),
        open_shards=len(todo),
        open_images=open_images,
        missing=round(open_images * found / looked) if looked else 0,
        loaders=crew.loaders,
        embedders=crew.embedders,
        dimension=dimension(order.settings.model.alpha),
        rates=_rates(order, wanted, some, given),
    )


def _rates(order: Order, wanted: SpanJobs, some: Sequence[Shard], given: Options) -> Rates:
    if given.loader_rate is not None and given.engine_rate is not None:
        return Rates(loader=given.loader_rate, engine=given.engine_rate)
    each = -(-sample.IMAGES // max(1, len(some)))
    claims: list[Claim] = [claim for shard in some for claim in wanted.peek(shard.span, each)]
    found = sample.measure(order, claims, wanted)
    return replace(found, loader=given.loader_rate or found.loader, engine=given.engine_rate or found.engine)
