"""The whole daemon as tests use it: small models, pictures on loopback, and waiting for what the tables come to say."""

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import psycopg2

from daemon.config import Settings

DEADLINE = 60.0
LOOK_SECONDS = 0.02

SMALL = {"alpha": 0.35, "input_size": 96, "weights": "untrained"}
"""The smallest MobileNetV2 there is; its vectors are 1280 long like the others'."""


def settings(dsn: str, state_dir: Path, **sections: Mapping[str, Any]) -> Settings:
    """Settings for a test: one loader, pictures on loopback allowed, a port of its own."""
    given: dict[str, dict[str, Any]] = {
        "database": {"dsn": dsn, "state_dir": state_dir},
        "loader": {"processes": 1},
        "fetch": {"allow_networks": ["127.0.0.0/8"], "allow_ports": [0], "connect_timeout": 1.0},
        "model": dict(SMALL),
        "http": {"port": 0},
        "sweep": {"interval_seconds": 1.0},
        "queue": {"retry_base_seconds": 0.05},
    }
    return Settings.model_validate(
        {name: given.get(name, {}) | dict(sections.get(name, {})) for name in {*given, *sections}}
    )


class Tables:
    """The users' two tables and the queue, seen by another program."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn

    def execute(self, sql: str, parameters: Any = None) -> list[tuple[Any, ...]]:
        """One statement in a transaction of its own."""
        session = psycopg2.connect(self._dsn)
        try:
            with session, session.cursor() as cursor:
                cursor.execute(sql, parameters)
                return cursor.fetchall() if cursor.description else []
        finally:
            session.close()

    def insert(self, images: Mapping[int, str]) -> None:
        for image, url in images.items():
            self.execute("INSERT INTO ecai.tb_image (id, url) VALUES (%s, %s)", (image, url))

    def vectors(self) -> dict[int, str]:
        """Each image's vector, as text."""
        return dict(self.execute("SELECT image_id, feature_vector::text FROM tb_hsx_img_value"))

    def jobs(self) -> dict[int, tuple[str, str | None, int]]:
        """What still waits or is dead: state, reason and attempts."""
        rows = self.execute("SELECT image_id, state, reason, attempts FROM vectord.job")
        return {image: (state, reason, attempts) for image, state, reason, attempts in rows}

    def wait(self, condition: Callable[[], object], what: str) -> None:
        """Until the condition holds. Another program can only look, so this looks."""
        deadline = time.monotonic() + DEADLINE
        while not condition():
            assert time.monotonic() < deadline, f"{what}; vectors {sorted(self.vectors())}, jobs {self.jobs()}"
            time.sleep(LOOK_SECONDS)
