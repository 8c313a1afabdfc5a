"""The stages on Ray Data; the only module that imports Ray.

    units ─ load (actors with a CPU each) ─ parcels ─ embed and store (actors with the model) ─ tallies

A block is a parcel, so what lies between the stages is bounded by bytes. Ray starts actors that died anew and gives
their units to others; where it cannot, the leg ends and `run` begins another.
"""

import os
import pickle
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import cycle
from typing import Any
from uuid import UUID

from daemon.backfill import embedding, loading
from daemon.backfill.desk import Desk
from daemon.backfill.order import Order, Parcel, Tally, Unit
from daemon.db.backfill import Span
from daemon.db.outcomes import Written
from daemon.errors import ConfigurationError, VectordError
from daemon.records import Claim, Outcome

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")

try:
    import numpy as np
    import pyarrow as pa
    import ray
    from ray.data import ActorPoolStrategy, DataContext
    from ray.exceptions import RayError
except ImportError as missing:
    raise ConfigurationError(
        f"a backfill needs Ray Data ({missing}): install what requirements-ray.txt names"
    ) from missing

LOCAL = "local"
PARCELS_PER_WORKER = 4
"""In the object store at most, for each worker: one made, one waiting, two on their way."""
SPREAD = {"scheduling_strategy": "SPREAD"}
Block = "pa.Table"


class LegError(VectordError):
    """A leg broke off: a worker failed in a way that Ray could not mend. What it had claimed is claimed again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Crew:
    """How many workers: loaders of a CPU each, embedders, of a GPU each where there are any, and connections."""

    loaders: int
    embedders: int
    connections: int
    gpus: int = 0
    """Of each embedder."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """What Ray says there is."""

    nodes: int
    cpus: int
    gpus: int

    def crew(self, *, loaders: int | None, embedders: int | None, connections: int) -> Crew:
        """A loader for each CPU; an embedder for each GPU, or else for each node, on the loaders' cores."""
        return Crew(
            loaders=loaders or max(1, self.cpus),
            embedders=embedders or self.gpus or self.nodes,
            connections=connections,
            gpus=1 if self.gpus else 0,
        )


@contextmanager
def cluster(address: str) -> Iterator[Cluster]:
    """A cluster by its address; "local" starts one on this machine that ends with the block.

    Raises `ConfigurationError` when there is none.
    """
    given: dict[str, Any] = {"address": address}
    if address == LOCAL:
        given |= {"include_dashboard": False, "_node_ip_address": "127.0.0.1"}
    try:
        ray.init(logging_level="ERROR", log_to_driver=False, **given)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise ConfigurationError(f"--ray {address}: {error}") from error
    try:
        yield _look()
    finally:
        ray.shutdown()


def run_leg(order: Order, crew: Crew, units: Sequence[Unit]) -> Iterator[Tally]:
    """What became of each unit, in any order. Raises `LegError`; closing the iterator stops the work."""
    _limit(order, crew)
    desks = [_desk_actor(order) for _ in range(crew.connections)]
    try:
        yield from _stream(order, crew, desks, units)
    except RayError as error:
        raise LegError(_last_line(error)) from error
    finally:
        for one in desks:
            ray.kill(one)


def _stream(order: Order, crew: Crew, desks: Sequence[Any], units: Sequence[Unit]) -> Iterator[Tally]:
    rows = [{"unit": pickle.dumps(unit)} for unit in units]
    given = {
        "batch_size": None,
        "batch_format": "pyarrow",
        "zero_copy_batch": True,
        "fn_constructor_args": (order, desks),
    }
    stages = (
        ray.data.from_items(rows, override_num_blocks=len(rows))
        .map_batches(_Load, compute=_actors(crew.loaders, loading.AT_ONCE), num_cpus=1, **given, **SPREAD)
        .map_batches(
            _Embed,
            compute=_actors(crew.embedders, embedding.AT_ONCE),
            num_cpus=0,
            num_gpus=crew.gpus,
            **given,
            **SPREAD,
        )
    )
    for row in stages.iter_rows():
        yield pickle.loads(row["tally"])  # noqa: S301 - of our own workers


class _Load:
    """`Loading` as Ray Data calls it: a block with a unit in, a block with its parcel out."""

    def __init__(self, order: Order, desks: Sequence[Any]) -> None:
        self._loading = loading.Loading(order, _Desks(desks))

    def __call__(self, block: Any) -> Any:
        parcels = [self._loading.load(pickle.loads(unit.as_py())) for unit in block["unit"]]  # noqa: S301 - as above
        return pa.table(
            {
                "head": pa.array([pickle.dumps((one.shard, one.claims, one.rest)) for one in parcels], pa.binary()),
                "pixels": pa.array([one.pixels.data.cast("B") for one in parcels], pa.large_binary()),
                "shape": [list(one.pixels.shape) for one in parcels],
            }
        )


class _Embed:
    """`Embedding` as Ray Data calls it: a block with a parcel in, a block with its tally out."""

    def __init__(self, order: Order, desks: Sequence[Any]) -> None:
        self._embedding = embedding.Embedding(order, _Desks(desks))

    def __call__(self, block: Any) -> Any:
        tallies = [self._embedding.embed(parcel) for parcel in _parcels(block)]
        return pa.table({"tally": pa.array([pickle.dumps(one) for one in tallies], pa.binary())})


def _parcels(block: Any) -> Iterator[Parcel]:
    for head, pixels, shape in zip(block["head"], block["pixels"], block["shape"], strict=True):
        shard, claims, rest = pickle.loads(head.as_py())  # noqa: S301 - as above
        array = np.frombuffer(pixels.as_buffer(), np.uint8).reshape(shape.as_py())
        yield Parcel(shard=shard, claims=claims, pixels=array, rest=rest)


class _Desks:
    """The desks as a worker sees them: one call at a time goes to each, whoever's turn it is."""

    def __init__(self, desks: Sequence[Any]) -> None:
        # Workers begin at different desks.
        start = os.getpid() % len(desks)
        self._turns = cycle([*desks[start:], *desks[:start]])

    def claim(self, span: Span, token: UUID) -> list[Claim]:
        found: list[Claim] = ray.get(next(self._turns).claim.remote(span, token))
        return found

    def renew(self, claims: Sequence[Claim]) -> int:
        return int(ray.get(next(self._turns).renew.remote(claims)))

    def read_stored(self, claim: Claim) -> bytes:
        return bytes(ray.get(next(self._turns).read_stored.remote(claim)))

    def write(self, outcomes: Sequence[Outcome]) -> Written:
        written: Written = ray.get(next(self._turns).write.remote(outcomes))
        return written


def _desk_actor(order: Order) -> Any:
    remote = ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1, **SPREAD)(Desk)
    return remote.remote(order)


def _actors(number: int, at_once: int) -> Any:
    return ActorPoolStrategy(
        min_size=1,
        max_size=number,
        initial_size=number,
        max_concurrent_calls_per_actor=at_once,
        max_tasks_in_flight_per_actor=at_once,
        enable_true_multi_threading=True,
    )


def _limit(order: Order, crew: Crew) -> None:
    """Every parcel a block of its own, and only so many of them anywhere."""
    size = order.settings.model.input_size
    parcel = order.unit * size * size * 3
    context = DataContext.get_current()
    context.target_max_block_size = parcel
    context.enable_progress_bars = False
    limits: Mapping[str, float] = {"object_store_memory": PARCELS_PER_WORKER * parcel * (crew.loaders + crew.embedders)}
    context.execution_options.resource_limits = context.execution_options.resource_limits.copy(**limits)


def _look() -> Cluster:
    found = ray.cluster_resources()
    nodes = sum(node["Alive"] for node in ray.nodes())
    return Cluster(nodes=nodes, cpus=int(found.get("CPU", 0)), gpus=int(found.get("GPU", 0)))


def _last_line(error: Exception) -> str:
    """Ray's messages are whole tracebacks; the last line says what it was."""
    lines = [line for line in str(error).splitlines() if line.strip()]
    return lines[-1].strip() if lines else type(error).__name__
