"""Every metric, declared here with its help text, and how events move them."""

from collections.abc import Callable
from functools import singledispatchmethod

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from daemon.engine.protocol import EngineInfo
from daemon.errors import Reason
from daemon.events import Event, Hindered, Overtaken, Settled, Worked
from daemon.loader.events import Event as LoaderEvent
from daemon.loader.events import HostLeftAlone, ImageFinished, LoaderEnded, LoaderStarted, LoaderStartFailed
from daemon.records import Dead, Released, Retry, Stored

STAGES = ("claim", "load", "embed", "store", "sweep")
MODEL_LABELS = ("backend", "device", "precision", "signature")
ENDS = ("expected", "unexpected")
STATUSES = ("stored", "dead", "retry", "released")
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
LATENCIES = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 3600.0)
SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class Metrics:
    """One daemon's metrics in a registry of their own, so that two daemons in one process do not share them."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        registry = self.registry
        self.stage_items = Counter(
            "vectord_stage_items", "Items that a stage has worked on.", ["stage"], registry=registry
        )
        self.stage_seconds = Histogram(
            "vectord_stage_seconds",
            "Time that one call of a stage took.",
            ["stage"],
            buckets=SECONDS,
            registry=registry,
        )
        self.stage_faults = Counter(
            "vectord_stage_faults",
            "Faults of the surroundings that made a stage pause: no image's fault.",
            ["stage"],
            registry=registry,
        )
        self.images = Counter(
            "vectord_images", "Claims settled, by what became of them.", ["status"], registry=registry
        )
        self.failures = Counter("vectord_failures", "Failed attempts, by reason.", ["reason"], registry=registry)
        self.overtaken = Counter(
            "vectord_overtaken",
            "Outcomes refused because the image had changed, gone or been taken over.",
            registry=registry,
        )
        self.latency = Histogram(
            "vectord_latency_seconds",
            "From the making of a job to the commit of its vector.",
            buckets=LATENCIES,
            registry=registry,
        )
        self.batch_size = Histogram("vectord_batch_size", "Images in one batch.", buckets=SIZES, registry=registry)
        self.fetch_seconds = Histogram(
            "vectord_fetch_seconds", "Time that fetching one image took.", buckets=SECONDS, registry=registry
        )
        self.decode_seconds = Histogram(
            "vectord_decode_seconds", "Time that decoding one image took.", buckets=SECONDS, registry=registry
        )
        self.fetched_bytes = Counter("vectord_fetched_bytes", "Bytes of images fetched.", registry=registry)
        self.loader_starts = Counter("vectord_loader_starts", "Loaders that came up.", registry=registry)
        self.loader_ends = Counter(
            "vectord_loader_ends", "Loaders that ended: recycled, or over an image.", ["end"], registry=registry
        )
        self.loader_start_failures = Counter(
            "vectord_loader_start_failures", "Loaders that died before they had done anything.", registry=registry
        )
        self.hosts_left_alone = Counter(
            "vectord_host_left_alone", "Images sent back because their host fails or asks to wait.", registry=registry
        )
        self.last_stored = Gauge(
            "vectord_last_stored_timestamp_seconds", "When a vector was last stored.", registry=registry
        )
        self.foreign = Gauge(
            "vectord_foreign_vectors", "Vectors that other programs made, as counted at the start.", registry=registry
        )
        self.model = Gauge(
            "vectord_model_info", "Always 1; the labels say what makes the vectors.", MODEL_LABELS, registry=registry
        )
        self._start_at_zero()

    def watch(self, name: str, text: str, value: Callable[[], float]) -> None:
        """A gauge that is read when someone asks."""
        Gauge(f"vectord_{name}", text, registry=self.registry).set_function(value)

    def tell_model(self, info: EngineInfo, signature: str) -> None:
        """What makes the vectors from now on."""
        self.model.clear()
        self.model.labels(info.backend, info.device, info.precision, signature).set(1)

    def watch_engine(self, describe: Callable[[], EngineInfo]) -> None:
        """What may go wrong with the engine without stopping it."""
        fallback = "1 when engine.backend = auto could not take its first choice."
        self.watch("engine_fallback", fallback, lambda: float(bool(describe().fallback)))
        self.watch("engine_out_of_memory", "How often the device's memory ran out.", lambda: describe().out_of_memory)

    def exposition(self) -> bytes:
        """All of it in Prometheus' text format."""
        return generate_latest(self.registry)

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
        for reason in Reason:
            self.failures.labels(str(reason))

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
            case Dead(reason=reason):
                self.images.labels("dead").inc()
                self.failures.labels(str(reason)).inc()
            case Retry(reason=reason):
                self.images.labels("retry").inc()
                self.failures.labels(str(reason)).inc()

    @__call__.register
    def _(self, event: Overtaken) -> None:
        self.overtaken.inc(event.count)

    @__call__.register
    def _(self, event: Hindered) -> None:
        self.stage_faults.labels(event.stage).inc()

    @__call__.register
    def _(self, event: ImageFinished) -> None:
        self.stage_items.labels("load").inc()
        self.stage_seconds.labels("load").observe(event.fetch_seconds + event.decode_seconds)
        self.fetch_seconds.observe(event.fetch_seconds)
        self.decode_seconds.observe(event.decode_seconds)
        self.fetched_bytes.inc(event.size)

    @__call__.register
    def _(self, _event: LoaderStarted) -> None:
        self.loader_starts.inc()

    @__call__.register
    def _(self, event: LoaderEnded) -> None:
        self.loader_ends.labels("expected" if event.expected else "unexpected").inc()

    @__call__.register
    def _(self, _event: LoaderStartFailed) -> None:
        self.loader_start_failures.inc()

    @__call__.register
    def _(self, _event: HostLeftAlone) -> None:
        self.hosts_left_alone.inc()
