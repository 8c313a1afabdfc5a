"""The stages on Ray Data. Import `cluster` before it: Ray reads variables when it is imported.

    units ─ load (actors with a CPU each) ─ parcels ─ embed and store (actors with the model) ─ tallies

A block is a parcel, so what lies between the stages is bounded by bytes. Ray starts actors that died anew and gives
their units to others; where it cannot, the leg ends and `run` begins another.
"""

import os
import pickle
import re
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import cycle
from typing import Any, ClassVar
from uuid import UUID

import numpy as np
import pyarrow as pa
import ray
from ray.data import ActorPoolStrategy, DataContext
from ray.exceptions import RayError

from daemon.backfill import embedding, loading
from daemon.backfill.crew import Crew
from daemon.backfill.ledger import LocalLedger
from daemon.backfill.legs import Stop
from daemon.backfill.order import Order, Parcel, Tally, Unit
from daemon.db.backfill import Span
from daemon.db.outcomes import Written
from daemon.errors import DatabaseUnavailableError, VectordError
from daemon.loader.limits import bind_to_parent
from daemon.records import Claim, Outcome, Pixels

PARCELS_PER_WORKER = 4
"""In the object store at most, for each worker: one made, one waiting, two on their way."""
DISMISS_SECONDS = 5.0
SPREAD = {"scheduling_strategy": "SPREAD"}
_NAMED = re.compile(r"[\w.]+(Error|Exception): ")


class LegError(VectordError):
    """A leg broke off: a worker failed in a way that Ray could not mend. What it had claimed is claimed again."""


def run_leg(order: Order, crew: Crew, stop: Stop, units: Sequence[Unit]) -> Generator[Tally]:
    """What became of each unit, in any order; ends early when `stop` is asked. Raises `LegError`."""
    _limit(order, crew)
    _Halt.asked = stop
    ledgers = [_ledger_actor(order) for _ in range(crew.connections)]
    try:
        yield from _stream(order, crew, ledgers, units)
    except _StoppedError:
        return
    except RayError as error:
        raise LegError(_last_line(error)) from error
    finally:
        _dismiss(ledgers)


class _StoppedError(Exception):
    """Somebody asked for an end."""


class _Halt:
    """Ends Ray's work when somebody asks for it: a callback that Ray Data makes itself, and calls many times a second.

    The iterator over its rows cannot be left while it waits for one.
    """

    asked: ClassVar[Stop]

    def before_execution_starts(self, executor: object) -> None:
        """Nothing to be done."""

    def on_execution_step(self, executor: object) -> None:
        _ = executor
        if self.asked.wait(0):
            raise _StoppedError

    def after_execution_succeeds(self, executor: object) -> None:
        """Nothing to be done."""

    def after_execution_fails(self, executor: object, error: Exception) -> None:
        """Nothing to be done."""


def _dismiss(ledgers: Sequence[Any]) -> None:
    """Nobody claims or stores any more once this is over, whatever workers still have in hand."""
    with suppress(RayError):
        ray.wait([one.close.remote() for one in ledgers], num_returns=len(ledgers), timeout=DISMISS_SECONDS)
        for one in ledgers:
            ray.kill(one)


def _stream(order: Order, crew: Crew, ledgers: Sequence[Any], units: Sequence[Unit]) -> Iterator[Tally]:
    rows = [{"unit": pickle.dumps(unit)} for unit in units]
    given = {
        "batch_size": None,
        "batch_format": "pyarrow",
        "zero_copy_batch": True,
        "fn_constructor_args": (order, ledgers),
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

    def __init__(self, order: Order, ledgers: Sequence[Any]) -> None:
        bind_to_parent(os.getppid())  # Ray's raylet. It looks after nobody who has taken leave and hangs in his end.
        self._loading = loading.Loading(order, _Ledgers(ledgers))

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

    def __init__(self, order: Order, ledgers: Sequence[Any]) -> None:
        bind_to_parent(os.getppid())  # As above.
        self._embedding = embedding.Embedding(order, _Ledgers(ledgers))

    def __call__(self, block: Any) -> Any:
        tallies = [self._embedding.embed(parcel) for parcel in _parcels(block)]
        return pa.table({"tally": pa.array([pickle.dumps(one) for one in tallies], pa.binary())})


def _parcels(block: Any) -> Iterator[Parcel]:
    for head, pixels, shape in zip(block["head"], block["pixels"], block["shape"], strict=True):
        shard, claims, rest = pickle.loads(head.as_py())  # noqa: S301 - as above
        array: Pixels = np.ndarray(tuple(shape.as_py()), np.uint8, pixels.as_buffer())
        yield Parcel(shard=shard, claims=claims, pixels=array, rest=rest)


class _Ledgers:
    """The ledgers as a worker sees them: one call at a time goes to each, whoever's turn it is."""

    def __init__(self, ledgers: Sequence[Any]) -> None:
        # Workers begin at different ledgers.
        start = os.getpid() % len(ledgers)
        self._turns = cycle([*ledgers[start:], *ledgers[:start]])

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
        """Raises what the ledger raised, and `DatabaseUnavailableError` while its machine is gone."""
        try:
            return ray.get(getattr(next(self._turns), what).remote(*arguments))
        except RayError as error:
            if isinstance(error, VectordError):
                raise
            raise DatabaseUnavailableError(f"no ledger answers: {_last_line(error)}") from error


def _ledger_actor(order: Order) -> Any:
    remote = ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1, **SPREAD)(LocalLedger)
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
    context.custom_execution_callback_classes = [_Halt]
    limits: Mapping[str, float] = {"object_store_memory": PARCELS_PER_WORKER * parcel * (crew.loaders + crew.embedders)}
    context.execution_options.resource_limits = context.execution_options.resource_limits.copy(**limits)


def _last_line(error: Exception) -> str:
    """Ray's messages are whole tracebacks; the last line that names an error says what it was."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    named = [line for line in lines if _NAMED.match(line)]
    return (named or lines or [type(error).__name__])[-1]
