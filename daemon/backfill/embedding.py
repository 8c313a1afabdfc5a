"""An engine of the backfill: makes the vectors of a parcel, and has the ledger write what became of each image."""

from collections.abc import Sequence
from dataclasses import replace
from threading import Lock

from daemon import options
from daemon.backfill.ledger import Ledger, keep
from daemon.backfill.order import Order, Parcel, Tally
from daemon.clock import SystemClock
from daemon.engine import Engine, find_weights, open_engine
from daemon.events import Event
from daemon.pipeline.batch import Batcher
from daemon.pipeline.channel import Channel
from daemon.pipeline.embed import EmbedStage
from daemon.pipeline.store import settle
from daemon.records import Loaded, Result

GPU = "gpu"
"""Ray shows each embedder the GPU that it has been given, as its first and only one."""
AT_ONCE = 2
"""Parcels in work: while one is written, the next one is in the model."""


class Embedding:
    """One engine, the model loaded once. For `AT_ONCE` threads, one of which at a time is in the model."""

    def __init__(self, order: Order, ledger: Ledger) -> None:
        self._ledger = ledger
        self._retry = options.retry_policy(order.settings)
        self._engine = make_engine(order, gpu=GPU)
        self._model = Lock()

    def embed(self, parcel: Parcel) -> Tally:
        """What became of the parcel's images. Raises `EngineMemoryError` when not even one image fits the device."""
        keep(self._ledger, parcel.claims)
        with self._model:
            results = embed(self._engine, parcel)
        outcomes = [settle(result, self._retry) for result in [*results, *parcel.rest]]
        written = self._ledger.write(outcomes)
        return Tally(
            shard=parcel.shard,
            claimed=len(outcomes),
            stored=written.stored,
            dead=written.dead,
            retried=written.retried,
            released=written.released,
            overtaken=len(written.overtaken) + len(written.locked),
        )

    def close(self) -> None:
        self._engine.close()


def make_engine(order: Order, *, gpu: str | None = None) -> Engine:
    """The engine of this order, warm; `gpu` instead of the one that `engine.device` names. Raises `EngineError`."""
    settings = order.settings
    model, state_dir = settings.model, settings.database.state_dir
    weights = find_weights(model.weights, alpha=model.alpha, input_size=model.input_size, state_dir=state_dir)
    given = options.engine_options(settings)
    if gpu and given.device.startswith("gpu"):
        given = replace(given, device=gpu)
    engine = open_engine(options.model_spec(settings, weights), given)
    engine.warm_up()
    return engine


def embed(engine: Engine, parcel: Parcel) -> Sequence[Result]:
    """A result for each claim, by the daemon's own stage."""
    loaded: Channel[Loaded] = Channel()
    results: Channel[Result] = Channel()
    for slot, claim in enumerate(parcel.claims):
        loaded.put(Loaded(claim=claim, pixels=parcel.pixels[slot], slot=slot))
    loaded.close()
    batcher: Batcher[Loaded] = Batcher(limit=engine.describe().batch_limit, wait_seconds=0.0)
    EmbedStage(engine, batcher, loaded, results, _NoLoaders(), clock=SystemClock(), emit=_ignore).run()
    return results.take(len(parcel.claims), timeout=0)


class _NoLoaders:
    """All there will be is there, and nobody waits for a slot."""

    def in_hand(self) -> int:
        return 0

    def release(self, slot: int) -> None:
        """The parcel goes as a whole."""


def _ignore(_: Event) -> None:
    """A failed engine shows in the outcomes."""
