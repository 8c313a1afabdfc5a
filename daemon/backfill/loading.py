"""A loader of the backfill: claims a unit, and gives its pixels."""

from collections.abc import Sequence
from dataclasses import replace
from threading import Condition, Thread
from uuid import UUID, uuid4

import numpy as np

from daemon import options
from daemon.backfill.ledger import Ledger, keep
from daemon.backfill.order import Order, Parcel, Unit
from daemon.errors import NotServingError
from daemon.events import Event
from daemon.loader.events import Emit
from daemon.loader.pool import LoaderPool
from daemon.pipeline.heartbeat import Heartbeat
from daemon.pipeline.inflight import Inflight
from daemon.records import Claim, Delivered, Failure, Loaded, Pixels, Released, Thumbnail

AT_ONCE = 2
"""Units in work: while the last images of one are fetched, the next one keeps the loader busy."""
START_SECONDS = 60.0
"""For a loader to come up, on a machine where many do."""


class Loading:
    """One loader process with the daemon's limits, and the leases of what it has in hand. For `AT_ONCE` threads."""

    def __init__(self, order: Order, ledger: Ledger, emit: Emit = lambda _: None) -> None:
        self._ledger = ledger
        loading = options.loader_options(order.settings)
        loading = replace(loading, processes=1, slots=AT_ONCE * order.unit, urgent_slots=0)
        self._seconds = START_SECONDS + AT_ONCE * order.unit * (loading.fetch.total_timeout + loading.timeout_seconds)
        self._size = loading.input_size
        self._open: dict[UUID, _Tray] = {}
        self._pool = LoaderPool(options=loading, deliver=self._deliver, read_stored=ledger.read_stored, emit=emit)
        self._inflight = Inflight(loading.slots)
        self._heartbeat = Heartbeat(ledger, self._inflight, lease_seconds=order.lease_seconds, emit=_ignore)
        self._pool.start()
        Thread(target=self._heartbeat.run, name="vectord-heartbeat", daemon=True).start()

    def load(self, unit: Unit) -> Parcel:
        """Claims what is missing in the unit, and loads it. Raises `NotServingError` where no loader can be had."""
        token = uuid4()
        claims = self._ledger.claim(unit.span, token)
        tray = self._open[token] = _Tray(claims, self._size)
        self._inflight.add(claims)
        try:
            for claim in claims:
                self._pool.submit(claim)
            tray.wait(self._seconds)
            keep(self._ledger, claims)
        finally:
            # Not amid a beat: the store passes over rows that somebody else has locked.
            with self._inflight.settling:
                self._inflight.remove(claims)
            del self._open[token]
        return tray.parcel(unit.shard)

    def close(self) -> None:
        self._heartbeat.stop()
        self._pool.close()

    def _deliver(self, result: Delivered) -> None:
        """Called by the pool, in its thread."""
        tray = self._open.get(result.claim.token)
        if tray is not None:
            tray.put(result)
        if isinstance(result, Loaded):
            self._pool.release(result.slot)


class _Tray:
    """What has come of one unit so far."""

    def __init__(self, claims: Sequence[Claim], size: int) -> None:
        self._left = len(claims)
        self._pixels: Pixels = np.empty((len(claims), size, size, 3), np.uint8)
        self._loaded: list[Claim] = []
        self._rest: list[Failure | Released] = []
        self._changed = Condition()

    def put(self, result: Delivered) -> None:
        with self._changed:
            match result:
                case Loaded():
                    self._pixels[len(self._loaded)] = result.pixels
                    self._loaded.append(result.claim)
                case Thumbnail():
                    return
                case _:
                    self._rest.append(result)
            self._left -= 1
            self._changed.notify_all()

    def wait(self, seconds: float) -> None:
        with self._changed:
            if not self._changed.wait_for(lambda: self._left == 0, seconds):
                raise NotServingError(f"no loader answered within {seconds:.0f} s; `check` on this machine says more")

    def parcel(self, shard: int) -> Parcel:
        pixels = self._pixels[: len(self._loaded)]
        return Parcel(shard=shard, claims=tuple(self._loaded), pixels=pixels, rest=tuple(self._rest))


def _ignore(_: Event) -> None:
    """A lease that could not be renewed is tried again at the next beat; the fence does the rest."""
