"""How events move the metrics that `declarations` lists, and how they are exposed."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import singledispatchmethod

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)

from daemon.engine.protocol import EngineInfo
from daemon.errors import FailureClass, Reason
from daemon.events import Answered, Event, Extracted, Hindered, Locked, Overtaken, Settled, Worked
from daemon.loader.events import Event as LoaderEvent
from daemon.loader.events import HostLeftAlone, ImageFinished, LoaderEnded, LoaderStarted, LoaderStartFailed
from daemon.records import Dead, Released, Retry, Stored
from daemon.telemetry.declarations import BY_NAME
from daemon.telemetry.gpu import Gpus, load_library
from daemon.telemetry.lookout import Lookout
from daemon.telemetry.organs import Line, Organs
from daemon.telemetry.processes import LoaderProcesses
from daemon.telemetry.readings import Reading, Readings

STAGES = ("claim", "load", "embed", "store", "sweep", "heartbeat")
"""The heartbeat's items are leases."""
ENDS = ("expected", "unexpected")
STATUSES = ("stored", "dead", "retry", "released")
EXTRACTS = ("embedded", "failure", "released")
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
OTHER_METHOD = "other"
"""A client may send any word for a method, and each would be a series."""
EXPECTED_CODES = ("200", "429", "500", "503")
STAGE_OF = {
    Reason.VECTOR_NOT_FINITE: "embed",
    Reason.ENGINE_FAILED: "embed",
    Reason.VECTOR_REFUSED: "store",
    Reason.TARGET_REFUSES: "store",
    Reason.DAEMON_LOST: "claim",
}
"""Where a reason comes up; all others do in the loaders."""

# Two series for each one, of the moment when it was made: Prometheus has no use for them in its text format.
disable_created_metrics()  # type: ignore[no-untyped-call] # has no types


class Metrics:
    """One daemon's metrics in a registry of their own, so that two daemons in one process do not share them."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.stage_items = self._counter("stage_items")
        self.stage_seconds = self._histogram("stage_seconds")
        self.stage_faults = self._counter("stage_faults")
        self.images = self._counter("images")
        self.failures = self._counter("failures")
        self.extracts = self._counter("extracts")
        self.overtaken = self._counter("overtaken")
        self.locked = self._counter("locked")
        self.latency = self._histogram("latency_seconds")
        self.batch_size = self._histogram("batch_size")
        self.fetch_seconds = self._histogram("fetch_seconds")
        self.decode_seconds = self._histogram("decode_seconds")
        self.fetched_bytes = self._counter("fetched_bytes")
        self.loader_starts = self._counter("loader_starts")
        self.loader_ends = self._counter("loader_ends")
        self.loader_start_failures = self._counter("loader_start_failures")
        self.hosts_left_alone = self._counter("host_left_alone")
        self.last_stored = self._gauge("last_stored_timestamp_seconds")
        self.foreign = self._gauge("foreign_vectors")
        self.model = self._gauge("model_info")
        self.http_requests = self._counter("http_requests")
        self.http_seconds = self._histogram("http_seconds")
        self._loaders = LoaderProcesses()
        self._readings = Readings()
        self._engine: Callable[[], EngineInfo] | None = None
        for source in (self._loaders.readings, self._of_engine):
            self._readings.add(source)
        self.registry.register(self._readings)
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        self._start_at_zero()

    @contextmanager
    def observe(self, organs: Organs) -> Iterator[None]:
        """Shows the daemon's parts from now on, and looks at the database now and then while this lasts."""
        lookout = Lookout(organs.look)
        for source in (organs.readings, lookout.readings, Gpus(load_library()).readings):
            self._readings.add(source)
        lookout.start()
        try:
            yield
        finally:
            lookout.stop()

    def tell_model(self, info: EngineInfo, signature: str) -> None:
        """What makes the vectors from now on."""
        self.model.clear()
        self.model.labels(info.backend, info.device, info.precision, signature).set(1)

    def watch_engine(self, describe: Callable[[], EngineInfo]) -> None:
        """What may go wrong with the engine without stopping it, in its warm-up already."""
        self._engine = describe

    def watch_line(self, line: Line) -> None:
        """Those who ask for a vector over HTTP, and those who wait for that."""

        def readings() -> Iterator[Reading]:
            yield Reading("http_places", line.places)
            yield Reading("http_places_taken", line.taken)
            yield Reading("http_waiting", line.waiting)
            yield Reading("http_waiting_limit", line.most_waiting)

        self._readings.add(readings)

    def expect_routes(self, routes: Iterable[tuple[str, str]]) -> None:
        """Makes the series of these methods and routes for the answers that alerts go by, at zero."""
        for method, route in routes:
            self.http_seconds.labels(route)
            for status in EXPECTED_CODES:
                self.http_requests.labels(method, route, status)

    def exposition(self) -> bytes:
        """All of it in Prometheus' text format."""
        return generate_latest(self.registry)

    def _of_engine(self) -> Iterator[Reading]:
        """Counted from zero on, like everything else, though there is no engine yet."""
        info = self._engine() if self._engine is not None else None
        yield Reading("engine_out_of_memory", info.out_of_memory if info else 0)
        if info:
            yield Reading("engine_fallback", bool(info.fallback))

    def _counter(self, name: str) -> Counter:
        metric = BY_NAME[name]
        return Counter(metric.family, metric.text, metric.labels, registry=self.registry)

    def _gauge(self, name: str) -> Gauge:
        metric = BY_NAME[name]
        return Gauge(metric.family, metric.text, metric.labels, registry=self.registry)

    def _histogram(self, name: str) -> Histogram:
        metric = BY_NAME[name]
        return Histogram(metric.family, metric.text, metric.labels, buckets=metric.buckets, registry=self.registry)

    def _start_at_zero(self) -> None:
        """A series that does not exist yet makes `rate()` miss its first step, so all of them exist from the start."""
        for stage in STAGES:
            self.stage_items.labels(stage)
            self.stage_seconds.labels(stage)
            self.stage_faults.labels(stage)
        for end in ENDS:
            self.loader_ends.labels(end)
        for status in STATUSES:
            self.images.labels(status)
        for status in EXTRACTS:
            self.extracts.labels(status)
        for reason in Reason:
            self._failures_of(STAGE_OF.get(reason, "load"), reason)

    def _failures_of(self, stage: str, reason: Reason) -> Counter:
        failure_class: FailureClass = reason.failure_class
        return self.failures.labels(stage, str(reason), failure_class.value)

    def _failed(self, status: str, failed: Dead | Retry) -> None:
        self.images.labels(status).inc()
        self._failures_of(failed.stage, failed.reason).inc()

    @singledispatchmethod
    def __call__(self, event: Event | LoaderEvent) -> None:
        raise TypeError(f"no metric for {type(event).__name__}")

    @__call__.register
    def _(self, event: Worked) -> None:
        self.stage_items.labels(event.stage).inc(event.items)
        self.stage_seconds.labels(event.stage).observe(event.seconds)
        if event.stage == "embed":
            self.batch_size.observe(event.items)

    @__call__.register
    def _(self, event: Settled) -> None:
        match event.outcome:
            case Stored():
                self.images.labels("stored").inc()
                self.last_stored.set_to_current_time()
                if event.seconds is not None:
                    self.latency.observe(event.seconds)
            case Released():
                self.images.labels("released").inc()
            case Dead() as dead:
                self._failed("dead", dead)
            case Retry() as retry:
                self._failed("retry", retry)

    @__call__.register
    def _(self, event: Extracted) -> None:
        self.extracts.labels(type(event.result).__name__.lower()).inc()

    @__call__.register
    def _(self, event: Overtaken) -> None:
        self.overtaken.inc(event.count)

    @__call__.register
    def _(self, event: Locked) -> None:
        self.locked.inc(event.count)

    @__call__.register
    def _(self, event: Hindered) -> None:
        self.stage_faults.labels(event.stage).inc()

    @__call__.register
    def _(self, event: Answered) -> None:
        method = event.method if event.method in METHODS else OTHER_METHOD
        self.http_requests.labels(method, event.route, str(event.status)).inc()
        self.http_seconds.labels(event.route).observe(event.seconds)

    @__call__.register
    def _(self, event: ImageFinished) -> None:
        self.stage_items.labels("load").inc()
        self.stage_seconds.labels("load").observe(event.fetch_seconds + event.decode_seconds)
        self.fetch_seconds.observe(event.fetch_seconds)
        self.decode_seconds.observe(event.decode_seconds)
        self.fetched_bytes.inc(event.size)

    @__call__.register
    def _(self, event: LoaderStarted) -> None:
        self.loader_starts.inc()
        self._loaders.started(event.pid)

    @__call__.register
    def _(self, event: LoaderEnded) -> None:
        self.loader_ends.labels("expected" if event.expected else "unexpected").inc()
        self._loaders.ended(event.pid)

    @__call__.register
    def _(self, _event: LoaderStartFailed) -> None:
        self.loader_start_failures.inc()

    @__call__.register
    def _(self, _event: HostLeftAlone) -> None:
        self.hosts_left_alone.inc()
