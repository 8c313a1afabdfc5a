"""The generation, and the model that counts: what start-up, `reprocess` and every sweep go by.

`daemon.reprocess` decides; this reads the facts and writes what was decided, one start or raise at a time.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from daemon.db.driver import Cursor
from daemon.db.names import Names, load_queries
from daemon.db.pool import Pool
from daemon.reprocess import (
    ALWAYS,
    NEVER,
    SWEEP_PAYLOAD,
    Mark,
    Standing,
    StartFacts,
    model_of,
    raises_generation,
    standing,
    takes_over,
    with_generation,
)

QUERIES = Path(__file__).with_name("queries_generation.sql")

ALIVE_SECONDS = 180.0
"""A daemon that was seen so lately lives: three times the default lease, so a reboot of its machine fits in."""

FORGOTTEN_SECONDS = 30 * 24 * 3600.0
"""After which nobody asks any more for a daemon that is gone. One in a loop of crashes leaves thousands a day."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Instance:
    """Who starts. `name` stays the same over restarts (a host, a unit); `boot_id` is the kernel's.

    `signature` is its own, of any generation; `mode` is `reprocess.on_start`.
    """

    name: str
    boot_id: str
    signature: str
    mode: str = NEVER


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """What a start came to: the signature that counts now, and how the daemon's own stands beside it."""

    signature: str
    standing: Standing
    raised: bool
    """The generation was raised by this start."""
    replaced_model: str | None
    """The model that counted until this start, where that was another one. Worth a loud warning."""


class Generations:
    """All methods raise `DatabaseUnavailableError` and `DatabaseError` only."""

    def __init__(self, pool: Pool, names: Names, *, notify: bool = True) -> None:
        self._pool = pool
        self._names = names
        self._notify = notify
        self._queries = load_queries(names, QUERIES)

    def signature(self) -> str | None:
        """The present signature, or None while no daemon has ever started on this database."""
        with self._pool.transaction() as cursor:
            return _signature(*self._present(cursor))

    def standing(self, signature: str) -> Standing:
        """How this signature stands now. One row read by its key: cheap enough to ask before every batch."""
        return standing(signature, self.signature())

    def present(self, signature: str) -> bool:
        """Whether this signature is the present one: only then may its daemon feed the queue and store."""
        return self.standing(signature) is Standing.PRESENT

    def raise_now(self, cause: str = "asked for") -> int:
        """Has everything made anew; gives the new generation. Daemons that run hear of it and go on with it."""
        with self._pool.transaction() as cursor:
            self._lock(cursor)
            return self._begin(cursor, cause=cause, tag=None)

    def on_start(self, instance: Instance) -> Started:
        """What every daemon does first: claims its model, raises the generation if its mode says so, leaves a mark."""
        with self._pool.transaction() as cursor:
            self._lock(cursor)
            cursor.execute(self._queries["forget_the_gone"], {"seconds": FORGOTTEN_SECONDS})
            facts = self._facts(cursor, instance)
            raised, won = raises_generation(facts), takes_over(facts)
            self._mark(cursor, instance, stopped=False)
            if won:
                self._take_over(cursor, facts, raised=raised)
            model, generation = self._present(cursor)
            return Started(
                signature=with_generation(model or facts.model, generation),
                standing=Standing.PRESENT if won else Standing.SUPERSEDED,
                raised=raised,
                replaced_model=facts.present_model if won and facts.present_model != facts.model else None,
            )

    def stopping(self, instance: Instance) -> None:
        """Marks that somebody asked this instance to end (SIGTERM, Ctrl-C): to be called first when it ends."""
        with self._pool.transaction() as cursor:
            self._mark(cursor, instance, stopped=True)

    def _lock(self, cursor: Cursor) -> None:
        cursor.execute(self._queries["lock"], {"lock": f"vectord.{self._names.schema}.generation"})

    def _present(self, cursor: Cursor) -> tuple[str | None, int]:
        cursor.execute(self._queries["present"])
        model, generation = cursor.fetchone() or (None, 0)
        return model, generation

    def _facts(self, cursor: Cursor, instance: Instance) -> StartFacts:
        present_model, _ = self._present(cursor)
        values = {"instance": _key(instance), "alive_seconds": ALIVE_SECONDS, "mode": instance.mode}
        cursor.execute(self._queries["facts"], values)
        mark, holder_alive, running, tag_known = cursor.fetchone() or (None, False, False, False)
        return StartFacts(
            mode=instance.mode,
            model=model_of(instance.signature),
            boot_id=instance.boot_id,
            last=Mark.read(_json(mark)),
            present_model=present_model,
            holder_alive=holder_alive,
            running=running,
            tag_known=tag_known,
        )

    def _mark(self, cursor: Cursor, instance: Instance, *, stopped: bool) -> None:
        values = {"model": model_of(instance.signature), "boot_id": instance.boot_id, "stopped": stopped}
        cursor.execute(self._queries["keep"], {"key": _key(instance), "value": json.dumps(values)})

    def _take_over(self, cursor: Cursor, facts: StartFacts, *, raised: bool) -> None:
        cursor.execute(self._queries["keep"], {"key": "model", "value": facts.model})
        if raised:
            tag = None if facts.mode == ALWAYS else facts.mode
            self._begin(cursor, cause="restart" if tag is None else f"tag {tag}", tag=tag)
        elif facts.present_model != facts.model:
            cause = "first start" if facts.present_model is None else f"model was {facts.present_model}"
            self._begin(cursor, cause=cause, tag=None, forced=False)

    def _begin(self, cursor: Cursor, *, cause: str, tag: str | None, forced: bool = True) -> int:
        """A walk through the whole table from its beginning; a forced one in a generation of its own."""
        generation = self._present(cursor)[1] + int(forced)
        cursor.execute(self._queries["supersede"])
        values = {"generation": generation, "cause": cause, "forced": forced, "tag": tag}
        cursor.execute(self._queries["begin"], values)
        cursor.execute(self._queries["restart_cycle"])
        if self._notify:
            cursor.execute(self._queries["notify"], {"channel": self._names.channel, "payload": SWEEP_PAYLOAD})
        return generation


def _key(instance: Instance) -> str:
    return f"instance {instance.name}"


def _signature(model: str | None, generation: int) -> str | None:
    return None if model is None else with_generation(model, generation)


def _json(text: str | None) -> Any:
    try:
        return json.loads(text or "null")
    except ValueError:
        return None
