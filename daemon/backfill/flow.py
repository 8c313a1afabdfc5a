"""The stages on Ray Data; the only module that imports Ray.

    units ─ load (actors with a CPU each) ─ parcels ─ embed and store (actors with the model) ─ tallies

A block is a parcel, so what lies between the stages is bounded by bytes. Ray starts actors that died anew and gives
their units to others; where it cannot, the leg ends and `run` begins another.
"""

import logging
import os
import pickle
import re
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
from daemon.errors import ConfigurationError, DatabaseUnavailableError, VectordError
from daemon.records import Claim, Outcome, Pixels

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
_NAMED = re.compile(r"[\w.]+(Error|Exception): ")


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
def cluster(address: str, *, loaders: int | None = None) -> Iterator[Cluster]:
    """A cluster by its address; "local" starts one here, with room for the loaders, that ends with the block.

    Raises `ConfigurationError` when there is none.
    """
    given: dict[str, Any] = {"address": address}
    if address == LOCAL:
        cpus = max(len(os.sched_getaffinity(0)), loaders or 0)
        given |= {"include_dashboard": False, "_node_ip_address": "127.0.0.1", "num_cpus": cpus}
    try:
        ray.init(logging_level="ERROR", log_to_driver=False, **given)
        logging.getLogger("ray.data").setLevel(logging.ERROR)
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
        .map_batches(_Load, compute=_actors(crew.loaders, loading.AT_ONCE), num_cpus=1, **given)
        .map_batches(
            _Embed,
            compute=_actors(crew.embedders, embedding.AT_ONCE),
            num_cpus=0,
            num_gpus=crew.gpus,
            **given,
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
                "pixels": pa.array([one.pixels.reshape(-1).data for one in parcels], pa.large_binary()),
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
        array: Pixels = np.ndarray(tuple(shape.as_py()), np.uint8, pixels.as_buffer())
        yield Parcel(shard=shard, claims=claims, pixels=array, rest=rest)


class _Desks:
    """The desks as a worker sees them: one call at a time goes to each, whoever's turn it is."""

    def __init__(self, desks: Sequence[Any]) -> None:
        # Workers begin at different desks.
        start = os.getpid() % len(desks)
        self._turns = cycle([*desks[start:], *desks[:start]])

    def claim(self, span: Span, token: UUID) -> list[Claim]:
        found: list[Claim] = self._ask("claim", span, token)
        return found

    def renew(self, claims: Sequence[Claim]) -> int:
        return int(self._ask("renew", claims))

    def read_stored(self, claim: Claim) -> bytes:
        return bytes(self._ask("read_stored", claim))

    def write(self, outcomes: Sequence[Outcome]) -> Written:
        written: Written = self._ask("write", outcomes)
        return written

    def _ask(self, what: str, *arguments: object) -> Any:
        """Raises what the desk raised, and `DatabaseUnavailableError` while its machine is gone."""
        try:
            return ray.get(getattr(next(self._turns), what).remote(*arguments))
        except RayError as error:
            if isinstance(error, VectordError):
                raise
            raise DatabaseUnavailableError(f"no desk answers: {_last_line(error)}") from error


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
    """Ray's messages are whole tracebacks; the last line that names an error says what it was."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    named = [line for line in lines if _NAMED.match(line)]
    return (named or lines or [type(error).__name__])[-1]
