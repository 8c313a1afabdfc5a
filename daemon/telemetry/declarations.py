"""Every metric of vectord's own: its name, its help text, its labels. `reference` makes docs/metrics.md of it.

Names follow Prometheus' rules (prometheus.io/docs/practices/naming): base units, moments as timestamps instead of ages,
and never an id or a URL in a label. A counter's name stands here without the `_total` that its series bear.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

from daemon.db.gauges import COUNTED

PREFIX = "vectord_"
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
LATENCIES = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 3600.0)
SIZES = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0)


class Kind(StrEnum):
    """What Prometheus calls a metric's type."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, slots=True, kw_only=True)
class Declared:
    """A metric. `name` is without the prefix; `buckets` are a histogram's upper bounds, in the unit of its name."""

    name: str
    kind: Kind
    text: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()

    @property
    def family(self) -> str:
        """The name with its prefix, as prometheus_client takes it."""
        return PREFIX + self.name

    @property
    def series(self) -> str:
        """The name that queries use; a histogram's series have suffixes of their own behind it."""
        return self.family + "_total" * (self.kind is Kind.COUNTER)


def _counter(name: str, text: str, *labels: str) -> Declared:
    return Declared(name=name, kind=Kind.COUNTER, text=text, labels=labels)


def _gauge(name: str, text: str, *labels: str) -> Declared:
    return Declared(name=name, kind=Kind.GAUGE, text=text, labels=labels)


def _histogram(name: str, text: str, *labels: str, buckets: tuple[float, ...] = SECONDS) -> Declared:
    return Declared(name=name, kind=Kind.HISTOGRAM, text=text, labels=labels, buckets=buckets)


SECTIONS: Mapping[str, tuple[Declared, ...]] = MappingProxyType(
    {
        "Images": (
            _counter("images", "Claims settled, by what became of them.", "status"),
            _counter("failures", "Failed attempts, by reason and its class.", "stage", "reason", "class"),
            _counter("extracts", "Pictures embedded for callers of the API, by what became of them.", "status"),
            _counter("overtaken", "Outcomes refused because the image had changed, gone or been taken over."),
            _counter("locked", "Outcomes that waited for a lock which another session held on the job."),
            _histogram("latency_seconds", "From the making of a job to the commit of its vector.", buckets=LATENCIES),
            _gauge("last_stored_timestamp_seconds", "When a vector was last stored; 0 before the first."),
            _gauge("foreign_vectors", "Vectors that other programs made, as counted at the start."),
            _gauge(
                "model_info",
                "Always 1; the labels say what makes the vectors.",
                "backend",
                "device",
                "precision",
                "signature",
            ),
        ),
        "Health": (
            _gauge("healthy", "1 while every stage runs and gets on, as /health says."),
            _gauge("ready", "1 while the daemon takes work, as /ready says."),
            _gauge("superseded", "1 while another daemon's model counts, so that this one neither claims nor stores."),
        ),
        "Stages": (
            _counter("stage_items", "Items that a stage has worked on.", "stage"),
            _histogram("stage_seconds", "Time that one call of a stage took.", "stage"),
            _counter("stage_faults", "Faults of the surroundings that made a stage pause: no image's fault.", "stage"),
            _gauge("stage_in_progress", "Images that a stage has in hand.", "stage"),
            _gauge("stage_queue_items", "Images that wait in front of a stage.", "stage"),
            _gauge("stage_queue_capacity", "As many images can wait in front of a stage.", "stage"),
            _gauge("in_flight", "Claims between their lease and their outcome."),
            _gauge("in_flight_limit", "As many claims may be in flight."),
            _histogram("batch_size", "Images in one batch.", buckets=SIZES),
            _gauge("batch_limit", "As many images make a full batch; halved whenever the device's memory ran out."),
        ),
        "Loaders": (
            _gauge("loaders", "Loaders that are up."),
            _gauge("loaders_wanted", "Loaders that ought to be up: loader.processes."),
            _counter("loader_starts", "Loaders that came up."),
            _counter("loader_ends", "Loaders that ended: recycled (expected), or over an image (unexpected).", "end"),
            _counter("loader_start_failures", "Loaders that died before they had done anything."),
            _gauge("loader_resident_memory_bytes", "Memory of all loaders; what they share counts for each."),
            _gauge("loader_largest_resident_memory_bytes", "Memory of the largest loader."),
            _counter("loader_cpu_seconds", "CPU time of all loaders; of one that ended, up to the last scrape before."),
            _histogram("fetch_seconds", "Time that fetching one image took."),
            _histogram("decode_seconds", "Time that decoding one image took."),
            _counter("fetched_bytes", "Bytes of images fetched."),
            _counter("host_left_alone", "Images sent back because their host fails or asks to wait."),
            _gauge("hosts_left_alone", "Hosts that are left alone just now."),
        ),
        "Engine": (
            _gauge("engine_fallback", "1 when engine.backend or engine.device = auto could not take its first choice."),
            _counter("engine_out_of_memory", "How often the device's memory ran out."),
            _gauge("gpu_memory_used_bytes", "Memory of a GPU in use, by whatever program.", "gpu"),
            _gauge("gpu_memory_size_bytes", "Memory that a GPU has.", "gpu"),
            _gauge("gpu_utilization_ratio", "Share of the last second, roughly, in which a GPU did something.", "gpu"),
        ),
        "Waking": (
            _gauge("listener_state", "1 for the state that LISTEN is in, 0 for the others.", "state"),
            _gauge("listener_heartbeat_timestamp_seconds", "When the listener last heard itself; 0 before the first."),
            _gauge("sweep_interval_seconds", "Time between two cycles of the sweep: sweep.interval_seconds."),
        ),
        "Database": (
            _gauge("database_up", "1 when the last look at the database succeeded, and was not long ago."),
            _gauge("database_look_timestamp_seconds", "When the database was last looked at with success; 0 before."),
            _gauge("database_look_seconds", "Time that the last look took; absent while vectord_database_up is 0."),
            _gauge("database_pool_connections", "Connections of the pipeline to the database in use."),
            _gauge("database_pool_size", "Connections that may be in use: database.pool_size."),
        ),
        "Queue": (
            _gauge(
                "pending_jobs", f"Jobs that wait or are worked on, by whichever daemon; counting stops at {COUNTED:,}."
            ),
            _gauge("leased_jobs", "Pending jobs that some daemon works on."),
            _gauge("due_jobs", "Pending jobs that could be worked on now and are not."),
            _gauge("dead_jobs", f"Jobs that failed for good; counting stops at {COUNTED:,}."),
            _gauge("oldest_pending_timestamp_seconds", "When the oldest pending job was made; absent without one."),
            _gauge(
                "oldest_due_timestamp_seconds", "Since when the due job is due that waited longest; absent without one."
            ),
            _gauge("job_table_bytes", "Size of the table of jobs with its indexes."),
            _gauge("job_table_dead_rows", "Rows of the table of jobs that only vacuum can remove, estimated."),
            _gauge("source_rows", "Images, as PostgreSQL's statistics estimate them."),
            _gauge("target_rows", "Vectors, by whichever program, as PostgreSQL's statistics estimate them."),
            _gauge("sweep_tick_timestamp_seconds", "When some daemon last swept; absent before the first time."),
            _gauge("sweep_cycle_end_timestamp_seconds", "When a cycle last ended; absent before the first time."),
            _gauge("sweep_cycle", "Number of the present cycle, from 0."),
            _gauge("sweep_cycle_looked", "Images that the present cycle has looked at."),
            _gauge("sweep_cycle_found", "Images that the present cycle has queued."),
            _gauge("reprocess_running", "1 while all vectors are being made anew."),
            _gauge("reprocess_left", "Images that the running reprocess has yet to do, estimated; 0 without one."),
            _gauge("notification_queue_ratio", "Share of PostgreSQL's notification queue in use, whoever filled it."),
            _gauge(
                "oldest_transaction_timestamp_seconds",
                "When the oldest open transaction in the database began, of those that the role may see (all with "
                "pg_read_all_stats); absent without one.",
            ),
        ),
        "HTTP": (
            _counter("http_requests", "Requests answered.", "method", "route", "status"),
            _histogram(
                "http_seconds",
                "Time from a request's first line to the end of its answer, or to its beginning where it is a stream.",
                "route",
            ),
            _gauge("http_places", "As many requests for a vector are worked on at a time."),
            _gauge("http_places_taken", "Requests for a vector that are worked on."),
            _gauge("http_waiting", "Requests that wait for a place; when too many do, others are sent away with 429."),
            _gauge("http_waiting_limit", "As many requests may wait for a place: http.max_waiting."),
        ),
    }
)


def declared() -> Iterator[Declared]:
    """All of them, in the order of the page."""
    for metrics in SECTIONS.values():
        yield from metrics


BY_NAME: Mapping[str, Declared] = MappingProxyType({metric.name: metric for metric in declared()})
