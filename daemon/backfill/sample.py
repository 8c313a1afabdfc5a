"""Measured rates for a plan: some missing images are loaded and embedded on this machine, and nothing is written."""

import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from typing import TypeVar
from uuid import UUID

from daemon.backfill.embedding import embed, make_engine
from daemon.backfill.loading import Loading
from daemon.backfill.order import Order, Parcel, Unit
from daemon.backfill.plan import Rates
from daemon.db.backfill import Span, SpanJobs
from daemon.db.outcomes import Written
from daemon.engine import Engine
from daemon.loader.events import Event, ImageFinished
from daemon.records import Claim, Embedded, Outcome

T = TypeVar("T")
IMAGES = 256
"""Of a sample, at most. One loader takes some seconds over them."""
SHARDS = 8
"""That a sample, and the estimate of what is missing, is taken from."""


def spread(items: Sequence[T], number: int = SHARDS) -> list[T]:
    """Some of them, evenly spaced, the first and the last among them."""
    if len(items) <= number:
        return list(items)
    return [items[at * (len(items) - 1) // (number - 1)] for at in range(number)]


def measure(order: Order, claims: Sequence[Claim], jobs: SpanJobs) -> Rates:
    """The rates of one loader and one engine over these images, whose claims are none: nobody's leases are touched.

    Raises `EngineError` and `NotServingError`.
    """
    heard = _Heard()
    parts = [claims[at : at + order.unit] for at in range(0, len(claims), order.unit)]
    ledger = _Sample(parts, jobs)
    with closing(make_engine(order)) as engine, closing(Loading(order, ledger, heard)) as loading:
        unit = Unit(shard=0, span=Span(after=None, upto=0))
        # The loader comes up over the first image.
        ledger.parts.insert(0, list(claims[:1]))
        loading.load(unit)
        heard.sizes.clear()
        began = time.perf_counter()
        parcels = [loading.load(unit) for _ in parts]
        loaded = time.perf_counter()
        made = sum(_vectors(engine, parcel) for parcel in parcels)
        ended = time.perf_counter()
    return Rates(
        loader=len(claims) / (loaded - began) if claims else 0.0,
        engine=made / (ended - loaded) if made else 0.0,
        image_bytes=sum(heard.sizes) / len(heard.sizes) if heard.sizes else 0.0,
        images=len(claims),
        failed=len(claims) - made,
    )


def _vectors(engine: Engine, parcel: Parcel) -> int:
    return sum(isinstance(result, Embedded) for result in embed(engine, parcel))


class _Heard:
    """The sizes of what was fetched."""

    def __init__(self) -> None:
        self.sizes: list[int] = []

    def __call__(self, event: Event) -> None:
        if isinstance(event, ImageFinished) and event.reason is None:
            self.sizes.append(event.size)


class _Sample:
    """A counter that gives the sample's images and writes nothing."""

    def __init__(self, parts: Sequence[Sequence[Claim]], jobs: SpanJobs) -> None:
        self.parts = [list(part) for part in parts]
        self._jobs = jobs

    def claim(self, span: Span, token: UUID) -> list[Claim]:
        _ = span
        part = self.parts.pop(0) if self.parts else []
        return [_as(claim, token) for claim in part]

    def renew(self, claims: Sequence[Claim]) -> int:
        return len(claims)

    def read_stored(self, claim: Claim) -> bytes:
        return self._jobs.read_stored(claim)

    def write(self, outcomes: Sequence[Outcome]) -> Written:
        _ = outcomes
        return Written()


def _as(claim: Claim, token: UUID) -> Claim:
    return replace(claim, token=token)
