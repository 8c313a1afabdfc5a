"""Joins the doctor's looks and judges, in the order in which somebody would mend things."""

import os
from collections.abc import Iterator
from contextlib import closing

from daemon import options
from daemon.config import Settings
from daemon.db.generation import Generations
from daemon.db.inspection import Newest, inspect
from daemon.db.pool import Pool
from daemon.db.reports import Reports
from daemon.doctor import device, door, hearing, judge_database, judge_machine, machine, model, roots, trial
from daemon.doctor.findings import Finding, ok, problem
from daemon.engine import WeightsFile
from daemon.errors import ConfigurationError, VectordError
from daemon.ground import database


def examine(settings: Settings) -> Iterator[Finding]:
    """A finding for each thing, told as soon as it is known. Changes nothing in the database."""
    return _Examination(settings).findings()


class _Examination:
    """One run; what one look came to, later ones go by."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._names = options.names(settings)
        self._loading = options.loader_options(settings)
        self._weights: WeightsFile | None = None
        self._newest: Newest | None = None
        self._unread = ""
        self._images_seen = False
        self._lives_here: bool | None = None

    def findings(self) -> Iterator[Finding]:
        settings = self._settings
        yield ok("configuration", "every key is known and every value possible")
        self._weights, of_weights = model.look_at_weights(settings.model, settings.database.state_dir)
        yield from self._database()
        yield of_weights
        engine = options.engine_options(settings)
        yield device.judge_devices(device.look_at_devices(engine), engine)
        needs = machine.needs(settings, self._loading)
        yield from judge_machine.judge_machine(machine.look_at_machine(settings.database.state_dir), needs)
        yield from roots.look_at_roots(settings.fetch.file_roots)
        yield from self._trial()
        yield from self._door()

    def _database(self) -> Iterator[Finding]:
        state = self._settings.database.state_dir / "postgres"
        # Path.exists raises where a folder may not be searched.
        if not self._settings.database.dsn.get_secret_value() and not os.path.exists(state):  # noqa: PTH110
            self._lives_here = False
            yield ok("database", f"no database.dsn: the first start makes an embedded PostgreSQL in {state}")
            return
        try:
            with database(self._settings) as dsn, closing(Pool(dsn, size=1, application_name="vectord check")) as pool:
                yield from self._inspected(pool)
                yield self._hearing(dsn)
        except ConfigurationError as error:
            yield problem("database", str(error), "correct it; POSTGRES_PASSWORD takes a password as it is")
        except VectordError as error:
            yield problem("database", str(error), "see that database.dsn leads to a server that runs")

    def _inspected(self, pool: Pool) -> Iterator[Finding]:
        schema = options.schema_options(self._settings)
        seen = inspect(pool, self._names, schema)
        self._newest, self._unread = seen.newest, seen.unread
        self._lives_here = seen.lives_here
        self._images_seen = seen.source is not None and not seen.faults
        yield from judge_database.judge_database(seen, self._names, schema, self._settings.database.pool_size)
        if seen.own and seen.target and seen.missing is not None and all(right.optional for right in seen.missing):
            yield from self._vectors(pool)

    def _vectors(self, pool: Pool) -> Iterator[Finding]:
        if self._weights is not None:
            own = options.instance(self._settings, self._weights).signature
            yield model.judge_model(own, Generations(pool, self._names).signature())
        kept = self._settings.reprocess.foreign == "keep"
        yield model.judge_foreign(Reports(pool, self._names).foreign(), kept=kept)

    def _hearing(self, dsn: str) -> Finding:
        if not self._settings.queue.notify:
            return hearing.not_wanted()
        own = self._settings.database.listen_dsn.get_secret_value()
        return hearing.judge_hearing(hearing.look_at_hearing(own or dsn), own_dsn=bool(own))

    def _trial(self) -> Iterator[Finding]:
        with trial.Trial(self._loading) as loader:
            made = loader.made()
            yield trial.judge_made(made, self._loading)
            if self._unread:
                yield trial.judge_unread(self._unread)
            elif self._images_seen and made.reason is None and not made.silent:
                yield trial.judge_newest(self._newest, loader.newest(self._newest) if self._newest else None)

    def _door(self) -> Iterator[Finding]:
        http = self._settings.http
        here = self._lives_here
        yield door.judge_port(door.look_at_port(http.host, http.port), lives_here=here)
        if port := http.port_of_probes:
            yield door.judge_port(door.look_at_port(http.host, port), "http.metrics_port", lives_here=here)
        yield door.look_at_token(http)
