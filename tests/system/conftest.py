"""A machine with vectord installed on it, and what a test may do with its service."""

import json
import os
import shutil
import signal
import sys
import sysconfig
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.pictures import Web, serving
from tests.proxy import Proxy
from tests.system.machine import Machine, booted, hindrance
from tests.whole import ROOT, Tables

PYTHON = "/opt/python/bin/python3"
PACKAGES = "/opt/site-packages"
WEIGHTS = "/etc/vectord/small.weights.h5"
UNIT = "vectord.service"


@pytest.fixture(scope="session")
def bare() -> Iterator[Machine]:
    """A booted machine that sees the source, and this Python with its packages."""
    if reason := hindrance():
        if "CI" in os.environ:
            pytest.fail(reason)
        pytest.skip(reason)
    binds = {
        ROOT: "/source",
        Path(sys.base_prefix): "/opt/python",
        Path(sysconfig.get_path("purelib")): PACKAGES,
    }
    with booted(binds) as machine:
        # A shared libpython is looked for where it was built, which the sandboxed service may not see.
        machine.write("/etc/ld.so.conf.d/vectord-test.conf", "/opt/python/lib\n")
        machine.run("ldconfig")
        yield machine


def install(machine: Machine) -> None:
    """By `install.sh`, less the fetching of the requirements: those of the tests are lent to its venv."""
    machine.run("/source/systemd/install.sh", "--no-requirements", PYTHON=PYTHON)
    folder = machine.run("/opt/vectord/venv/bin/python", "-c", "import sysconfig; print(sysconfig.get_path('purelib'))")
    machine.write(f"{folder.stdout.strip()}/requirements.pth", PACKAGES)


@pytest.fixture(scope="session")
def machine(bare: Machine, small_weights: Path) -> Machine:
    """The machine with vectord installed."""
    install(bare)
    shutil.copy(small_weights, bare.root / WEIGHTS.lstrip("/"))
    (bare.root / WEIGHTS.lstrip("/")).chmod(0o644)
    return bare


class Service:
    """vectord.service on the machine, working on a database of this test's."""

    def __init__(self, machine: Machine, dsn: str, proxy: Proxy) -> None:
        self.machine = machine
        self.tables = Tables(dsn)
        self.proxy = proxy
        self.began = machine.journal.mark()
        self._dropins: list[str] = []
        self.give_dsn(proxy.dsn)
        self.configure()

    def give_dsn(self, dsn: str) -> None:
        """As a credential: the configuration does not know it."""
        self.machine.write("/etc/credstore/vectord.database_dsn", dsn, 0o600)

    def configure(self, **sections: Mapping[str, Any]) -> None:
        """Writes config.toml: the smallest model, pictures on loopback, short leases; and these sections."""
        given: dict[str, dict[str, Any]] = {
            "model": {"alpha": 0.35, "input_size": 96, "weights": WEIGHTS},
            "fetch": {"allow_networks": ["127.0.0.0/8"], "allow_ports": [0]},
            "http": {"port": 0},
            "loader": {"processes": 1},
            "queue": {"lease_seconds": 2.0, "poll_seconds": 0.5},
        }
        merged = {name: given.get(name, {}) | dict(sections.get(name, {})) for name in {*given, *sections}}
        lines = [
            line
            for name, keys in merged.items()
            for line in [f"[{name}]", *(f"{key} = {json.dumps(value)}" for key, value in keys.items())]
        ]
        self.machine.write("/etc/vectord/config.toml", "\n".join(lines) + "\n")

    def drop_in(self, text: str, unit: str = UNIT, name: str = "test") -> None:
        """Changes the unit, as `systemctl edit` would."""
        folder = f"/etc/systemd/system/{unit}.d"
        self.machine.write(f"{folder}/{name}.conf", text)
        self._dropins.append(folder)
        self.machine.systemctl("daemon-reload")

    def start(self) -> int:
        """Until it is ready; gives the daemon's process id as the machine knows it."""
        self.machine.systemctl("start", UNIT)
        return self.pid

    @property
    def pid(self) -> int:
        return int(self.machine.show(UNIT, "MainPID"))

    @property
    def generations(self) -> int:
        """How often everything was begun anew."""
        return int(self.tables.execute("SELECT count(*) FROM vectord.reprocess WHERE forced")[0][0])

    def kill(self, number: signal.Signals) -> None:
        """Sends the daemon, and only it, a signal."""
        self.machine.systemctl("kill", "--kill-whom=main", f"--signal={number.name}", UNIT)

    def wait_for_restart(self, since: int) -> None:
        """Until systemd has it up again."""
        self.machine.journal.wait_for_event("daemon.ready", since=since)

    def leftovers(self) -> list[tuple[Any, ...]]:
        """Jobs that are still leased, or were charged an attempt that nothing came of."""
        return self.tables.execute(
            "SELECT to_jsonb(j) FROM vectord.job j WHERE lease_until IS NOT NULL OR (attempts > 0 AND reason IS NULL)"
        )

    def close(self) -> None:
        """The machine as it was before."""
        self.machine.systemctl("stop", "vectord.service", "vectord@*.service", check=False)
        for folder in self._dropins:
            self.machine.remove(folder)
        self.machine.systemctl("daemon-reload")
        self.machine.systemctl("reset-failed")


@pytest.fixture
def service(machine: Machine, empty_database: str) -> Iterator[Service]:
    with ExitStack() as stack:
        # The embedded PostgreSQL listens on a Unix socket in a folder of its own user's.
        proxy = stack.enter_context(Proxy(empty_database))
        made = Service(machine, empty_database, proxy)
        stack.callback(made.close)
        yield made


@pytest.fixture
def web() -> Iterator[Web]:
    with serving() as made:
        yield made
