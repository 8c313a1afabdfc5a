"""The composition root: opens a daemon, or its model alone, and closes it the other way round.

`ground` opens the database, `parts` and `reception` make the parts, `front` shows them and keeps the door, `assembly`
puts them together. Of the daemon, only these six name concrete classes; the doctor, the backfill and the demo put
together what they need themselves.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace

from daemon import assembly, options, parts
from daemon import front as fronts
from daemon.assembly import OnFailure
from daemon.config import Settings
from daemon.db.names import Names
from daemon.db.pool import Pool
from daemon.engine import Engine, WeightsFile, open_engine
from daemon.engine.weights import IMAGENET, UNTRAINED
from daemon.engine.weights import find_weights as search_weights
from daemon.errors import ConfigurationError
from daemon.ground import open_ground
from daemon.health import Health
from daemon.records import Vectors
from daemon.service.presence import Presence
from daemon.wanted import StillWanted, always

__all__ = [
    "IMAGENET",
    "UNTRAINED",
    "Daemon",
    "Embed",
    "find_weights",
    "open_daemon",
    "open_embedder",
]

Embed = Callable[[str, bytes | None], Vectors]
"""Gives the vector of what lies at a location, or of bytes that are at hand: `pipeline.single.Single.embed`."""


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
    settings: Settings,
    *,
    on_failure: OnFailure = lambda _: None,
    allow_untrained: bool = False,
    still_wanted: StillWanted = always,
) -> Iterator[Daemon]:
    """A daemon that works while this lasts.

    `on_failure` hears of an exception that ended a stage. Raises `VectordError` when it cannot start, and then no job
    was claimed. `still_wanted` is asked again and again until then, and what it raises is passed on.
    """
    if not allow_untrained:
        _require_trained(settings)
    front = fronts.open_front(settings)
    with ExitStack() as stack:
        ground = stack.enter_context(open_ground(settings))
        still_wanted()
        address = fronts.serve(settings, front, stack)
        weights = find_weights(settings, still_wanted)
        still_wanted()
        given = replace(options.engine_options(settings), still_wanted=still_wanted)
        engine = open_engine(options.model_spec(settings, weights), given)
        stack.callback(engine.close)
        front.metrics.watch_engine(engine.describe)
        still_wanted()
        engine.warm_up()
        still_wanted()
        defects = assembly.Defects(on_failure)
        site = parts.Site(
            settings=settings,
            dsn=ground.dsn,
            pool=ground.pool,
            layout=ground.layout,
            engine=engine,
            emit=front.emit,
            on_failure=defects.hear,
            worker=parts.worker_name(),
        )
        assembly.warn(site, front.metrics)
        body = assembly.start(site, weights, front, defects, stack)
        fronts.show(front, site, body, stack, trained=weights.path is not None)
        yield Daemon(
            pool=ground.pool,
            names=options.names(settings),
            engine=engine,
            presence=body.presence,
            trained=weights.path is not None,
            address=address,
            health=front.vitals.health,
            settled=lambda: front.pulse.settled,
            backlog=lambda: body.gauges.read().pending,
            reload=lambda given: assembly.reload(given, front.token, body),
            hurry=lambda: assembly.hurry(body),
        )


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


def find_weights(settings: Settings, still_wanted: StillWanted = always) -> WeightsFile:
    """The weights that `model.weights` names, fetched if need be. Raises `EngineError` when they cannot be had."""
    model = settings.model
    return search_weights(
        model.weights,
        alpha=model.alpha,
        input_size=model.input_size,
        state_dir=settings.database.state_dir,
        still_wanted=still_wanted,
    )


def _require_trained(settings: Settings) -> None:
    if settings.model.weights == UNTRAINED:
        raise ConfigurationError(f"model.weights: {UNTRAINED!r} is for the demo alone; name a file, or {IMAGENET!r}")
