"""The composition root: opens what a command needs, from the database upwards, and closes it the other way round.

`parts` makes the parts, `front` shows them and keeps the door, `assembly` puts them together. Only these four name
concrete classes.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass

import structlog

from daemon import assembly, options, parts
from daemon import front as fronts
from daemon.assembly import OnFailure
from daemon.config import Settings
from daemon.db import schema
from daemon.db.desk import Desk
from daemon.db.embedded import EmbeddedServer
from daemon.db.names import Names
from daemon.db.pool import Pool
from daemon.engine import Engine, WeightsFile, open_engine
from daemon.engine.weights import IMAGENET, UNTRAINED
from daemon.engine.weights import find_weights as search_weights
from daemon.errors import ConfigurationError
from daemon.health import Health
from daemon.records import Vectors
from daemon.service.presence import Presence

__all__ = [
    "IMAGENET",
    "UNTRAINED",
    "Daemon",
    "Desk",
    "Embed",
    "Ground",
    "find_weights",
    "migrate",
    "open_daemon",
    "open_desk",
    "open_embedder",
    "open_ground",
    "schema_script",
]

Embed = Callable[[str, bytes | None], Vectors]
"""Gives the vector of what lies at a location, or of bytes that are at hand: `pipeline.single.Single.embed`."""

_log = structlog.get_logger("vectord")


@dataclass(frozen=True, kw_only=True)
class Daemon:
    """A running daemon, as far as anyone outside of it needs to know."""

    pool: Pool
    names: Names
    engine: Engine
    presence: Presence
    trained: bool
    address: str
    health: Callable[[], Health]
    settled: Callable[[], int]
    """Images that came to an outcome since the start."""
    backlog: Callable[[], int]
    """Jobs that wait. Raises `DatabaseUnavailableError` and `DatabaseError`."""
    reload: Callable[[Settings], None]
    """Goes by these from now on. Raises `ConfigurationError`, and then nothing has changed."""
    hurry: Callable[[], None]
    """Cuts the drain short: what is in hand is given back at once."""

    @property
    def signature(self) -> str:
        return self.presence.signature


@contextmanager
def open_daemon(
    settings: Settings, *, on_failure: OnFailure = lambda _: None, allow_untrained: bool = False
) -> Iterator[Daemon]:
    """A daemon that works while this lasts.

    `on_failure` hears of an exception that ended a stage. Raises `VectordError` when it cannot start, and then no job
    was claimed.
    """
    if not allow_untrained:
        _require_trained(settings)
    front = fronts.open_front(settings)
    with ExitStack() as stack:
        dsn = stack.enter_context(_database(settings))
        pool = stack.enter_context(closing(parts.pool(settings, dsn)))
        layout = _migrate(settings, pool)
        address = fronts.serve(settings, front, stack)
        weights = find_weights(settings)
        engine = open_engine(options.model_spec(settings, weights), options.engine_options(settings))
        stack.callback(engine.close)
        engine.warm_up()
        defects = assembly.Defects(on_failure)
        site = parts.Site(
            settings=settings,
            dsn=dsn,
            pool=pool,
            layout=layout,
            engine=engine,
            emit=front.emit,
            on_failure=defects.hear,
            worker=parts.worker_name(),
        )
        assembly.warn(site, front.metrics)
        body = assembly.start(site, weights, front, defects, stack)
        fronts.show(front, site, body, stack, trained=weights.path is not None)
        yield Daemon(
            pool=pool,
            names=options.names(settings),
            engine=engine,
            presence=body.presence,
            trained=weights.path is not None,
            address=address,
            health=front.vitals.health,
            settled=lambda: front.pulse.settled,
            backlog=lambda: body.gauges.read().pending,
            reload=lambda given: assembly.reload(given, front.token, body),
            hurry=body.pipeline.runner.hurry,
        )


@dataclass(frozen=True, kw_only=True)
class Ground:
    """The database with the schema in it, for a command that works on it itself."""

    dsn: str
    pool: Pool
    layout: schema.Layout


@contextmanager
def open_ground(settings: Settings) -> Iterator[Ground]:
    """Makes what is missing in the database first. Raises `DatabaseError` that says which right is lacking."""
    with _database(settings) as dsn, closing(parts.pool(settings, dsn)) as pool:
        yield Ground(dsn=dsn, pool=pool, layout=_migrate(settings, pool))


@contextmanager
def open_desk(settings: Settings) -> Iterator[Desk]:
    """The database for a command. Raises `DatabaseError` with the remedy where nobody has made the schema yet."""
    with _database(settings) as dsn, closing(parts.pool(settings, dsn)) as pool:
        yield Desk(pool, options.names(settings), notify=settings.queue.notify)


@contextmanager
def open_embedder(settings: Settings) -> Iterator[Embed]:
    """The vectors of single pictures, as the daemon would make them, and without it.

    Raises `EngineError`, and `ConfigurationError` for weights that mean nothing.
    """
    _require_trained(settings)
    spec = options.model_spec(settings, find_weights(settings))
    with (
        closing(open_engine(spec, options.engine_options(settings))) as engine,
        closing(parts.single(settings, engine)) as single,
    ):
        single.start()
        yield single.embed


def migrate(settings: Settings) -> None:
    """Makes what is missing in the database. Raises `DatabaseError` that says which right is lacking."""
    with _database(settings) as dsn, closing(parts.pool(settings, dsn)) as pool:
        _migrate(settings, pool)


def schema_script(settings: Settings) -> str:
    """What a DBA would run instead."""
    return schema.print_sql(options.names(settings), options.schema_options(settings))


def find_weights(settings: Settings) -> WeightsFile:
    """The weights that `model.weights` names, fetched if need be. Raises `EngineError` when they cannot be had."""
    model, state_dir = settings.model, settings.database.state_dir
    return search_weights(model.weights, alpha=model.alpha, input_size=model.input_size, state_dir=state_dir)


def _require_trained(settings: Settings) -> None:
    if settings.model.weights == UNTRAINED:
        raise ConfigurationError(f"model.weights: {UNTRAINED!r} is for the demo alone; name a file, or {IMAGENET!r}")


@contextmanager
def _database(settings: Settings) -> Iterator[str]:
    """The DSN: the configured one, or that of the embedded PostgreSQL, which runs while this lasts."""
    dsn = settings.database.dsn.get_secret_value()
    if dsn:
        yield dsn
        return
    with EmbeddedServer(settings.database.state_dir / "postgres") as server:
        yield server.dsn


def _migrate(settings: Settings, pool: Pool) -> schema.Layout:
    layout = schema.migrate(pool, options.names(settings), options.schema_options(settings))
    for note in layout.notes:
        _log.warning("schema.note", note=note)
    return layout
