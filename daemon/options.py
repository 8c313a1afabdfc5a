"""The sections of the configuration as the plain values that the parts take."""

import platform
from pathlib import Path

from daemon.api import bounds
from daemon.config import Settings
from daemon.db.generation import Instance
from daemon.db.names import Names
from daemon.db.schema import SchemaOptions
from daemon.db.sweep import SweepOptions
from daemon.db.wants import WantOptions
from daemon.engine import EngineOptions, ModelSpec, WeightsFile
from daemon.health import STALLED_SECONDS
from daemon.loader.options import FetchOptions, LoaderOptions
from daemon.policy import RetryPolicy
from daemon.signature import Model, dimension, sign

BATCHES_IN_FLIGHT = 4
"""One being loaded, one being filled, one in the model, one being stored."""
URGENT_LEAST = 32
"""Pictures that callers wait for, in work at a time: what fills the loaders and a batch besides."""
BASE_FILES = 128
"""Open files of a daemon that does nothing, and room for a few more."""
FILES_PER_LOADER = 4
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def names(settings: Settings) -> Names:
    """The configured tables and columns."""
    source, target = settings.source, settings.target
    return Names(
        schema=settings.queue.schema_name,
        source_table=source.table,
        source_id=source.id_column,
        source_location=source.location_column,
        target_table=target.table,
        target_id=target.id_column,
        target_vector=target.vector_column,
        target_dimension=target.dimension_column,
        target_version=target.version_column,
    )


def schema_options(settings: Settings) -> SchemaOptions:
    """`queue.trigger`, `queue.notify`, `target.index`, and the vector's length, which follows from `model.alpha`."""
    queue = settings.queue
    return SchemaOptions(
        trigger=queue.trigger,
        notify=queue.notify,
        index=settings.target.index,
        dimension=dimension(settings.model.alpha),
    )


def sweep_options(settings: Settings) -> SweepOptions:
    """`sweep`, and what of `queue` and `reprocess` bears on it."""
    return SweepOptions(
        window=settings.sweep.window,
        high_water=settings.queue.high_water,
        replace_foreign=settings.reprocess.foreign == "replace",
        notify=settings.queue.notify,
    )


def loader_options(settings: Settings) -> LoaderOptions:
    """`loader` and `fetch`, and slots enough that neither loaders nor the engine wait for one."""
    loader, fetch = settings.loader, settings.fetch
    in_hand = 2 * loader.process_count * loader.threads
    return LoaderOptions(
        processes=loader.process_count,
        threads=loader.threads,
        timeout_seconds=loader.timeout_seconds,
        memory_mb=loader.memory_mb,
        max_pixels=loader.max_pixels,
        srgb=loader.srgb,
        input_size=settings.model.input_size,
        urgent_slots=max(URGENT_LEAST, settings.engine.batch_max),
        slots=in_hand + BATCHES_IN_FLIGHT * settings.engine.batch_max,
        breaker_seconds=settings.queue.retry_base_seconds,
        fetch=FetchOptions(
            connect_timeout=fetch.connect_timeout,
            read_timeout=fetch.read_timeout,
            total_timeout=fetch.total_timeout,
            max_bytes=fetch.max_bytes,
            max_redirects=fetch.max_redirects,
            per_host=fetch.per_host,
            allow_networks=tuple(map(str, fetch.allow_networks)),
            allow_hosts=fetch.allow_hosts,
            allow_ports=fetch.allow_ports,
            file_roots=tuple(map(str, fetch.file_roots)),
            user_agent=fetch.user_agent,
            ca_file=fetch.ca_file,
        ),
    )


def stalled_seconds(settings: Settings) -> float:
    """Claims in work and nothing settled for so long: twice what a fetch and a decode may take, or more."""
    return max(STALLED_SECONDS, 2 * (settings.fetch.total_timeout + settings.loader.timeout_seconds))


def open_files(settings: Settings) -> int:
    """What the daemon needs of them besides callers' connections. Each picture in hand may hold one."""
    loading, http = loader_options(settings), settings.http
    files = BASE_FILES + settings.database.pool_size + FILES_PER_LOADER * loading.processes + loading.all_slots
    probing = bounds.MOST_PROBING + bounds.BACKLOG if http.port_of_probes else 0
    return files + bounds.BACKLOG + probing


def most_open(settings: Settings, limit: int) -> int:
    """Connections to the API at a time, where so many files may be open."""
    return bounds.most_open(limit=limit, needed=open_files(settings), waiting=settings.http.max_waiting)


def want_options(settings: Settings, *, worker: str, stored_bytes: bool) -> WantOptions:
    """For images that callers wait for."""
    return WantOptions(
        worker=worker,
        lease_seconds=settings.queue.lease_seconds,
        replace_foreign=settings.reprocess.foreign == "replace",
        stored_bytes=stored_bytes,
    )


def instance(settings: Settings, weights: WeightsFile) -> Instance:
    """Who this is over all its restarts: the machine, and the state that it keeps there."""
    model = Model(
        alpha=settings.model.alpha,
        input_size=settings.model.input_size,
        scaling=settings.model.scaling,
        weights_digest=weights.digest,
        srgb=settings.loader.srgb,
    )
    return Instance(
        name=f"{platform.node()}:{settings.database.state_dir}",
        boot_id=BOOT_ID.read_text().strip() if BOOT_ID.is_file() else "",
        signature=sign(model, generation=0),
        mode=settings.reprocess.on_start,
    )


def model_spec(settings: Settings, weights: WeightsFile) -> ModelSpec:
    """`model`, with the weights found."""
    model = settings.model
    return ModelSpec(alpha=model.alpha, input_size=model.input_size, scaling=model.scaling, weights=weights)


def engine_options(settings: Settings) -> EngineOptions:
    """`engine`, and where compiled models are kept."""
    engine = settings.engine
    return EngineOptions(
        state_dir=settings.database.state_dir,
        backend=engine.backend,
        device=engine.device,
        memory_growth=engine.memory_growth,
        precision=engine.precision,
        batch_max=engine.batch_max,
    )


def retry_policy(settings: Settings) -> RetryPolicy:
    """`queue.max_attempts` and `queue.retry_base_seconds`."""
    return RetryPolicy(max_attempts=settings.queue.max_attempts, base_seconds=settings.queue.retry_base_seconds)
