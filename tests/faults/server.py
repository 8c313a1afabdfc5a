"""A PostgreSQL of a test's own, which can be stopped, killed and started again."""

import os
import select
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import psycopg2

from daemon.db.embedded import EmbeddedServer
from tests.postgres import Server

SETTINGS = ("fsync = off", "full_page_writes = off", "synchronous_commit = off")


class OwnServer(Server):
    """Works on the same folder and the same socket all the time, so `dsn` stays."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._embedded = EmbeddedServer(folder)
        super().__init__("")

    def __enter__(self) -> Self:
        self._embedded.__enter__()
        self.dsn = self._embedded.dsn
        program = (self._folder / "postmaster.opts").read_text().split()[0]
        self._pg_ctl = str(Path(program).with_name("pg_ctl"))
        for setting in SETTINGS:
            self.execute(f"ALTER SYSTEM SET {setting}")
        self.execute("SELECT pg_reload_conf()")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(subprocess.CalledProcessError):
            self.stop("immediate")
        self._embedded.__exit__(kind, error, trace)

    @property
    def user(self) -> str:
        """Whom it runs as."""
        return self._folder.owner()

    def stop(self, mode: str = "fast") -> None:
        """Ends it: `fast` tells everyone, `immediate` is as a crash."""
        self._control("-m", mode, "stop")

    def start(self) -> None:
        """Starts it again, and waits until it takes connections."""
        self._control("-o", f'-h "" -k {self._folder}', "-l", str(self._folder / "log"), "start")

    def kill(self) -> None:
        """Everything at once, as the kernel would when memory runs out: the postmaster first, then its children."""
        for pid in self._processes():
            with suppress(ProcessLookupError):
                _kill(pid)
        # Where nobody buries the dead at once, as in many containers, the postmaster would seem to live on.
        for lock in (self._folder / "postmaster.pid", *self._folder.glob(".s.PGSQL.*.lock")):
            lock.unlink()

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """While this lasts it stands still: the kernel takes connections and queries, and nobody answers."""
        processes = self._processes()
        _send(signal.SIGSTOP, processes)
        try:
            yield
        finally:
            _send(signal.SIGCONT, processes)

    def _processes(self) -> list[int]:
        """The postmaster first, then its children."""
        postmaster = int((self._folder / "postmaster.pid").read_text().split()[0])
        children = Path(f"/proc/{postmaster}/task/{postmaster}/children").read_text().split()
        return [postmaster, *map(int, children)]

    def ensure(self) -> None:
        """Starts it, if a test that failed has left it stopped."""
        with suppress(psycopg2.OperationalError):
            psycopg2.connect(self.dsn).close()
            return
        self.start()

    def _control(self, *arguments: str) -> None:
        user = self.user if os.geteuid() == 0 else None
        subprocess.run(
            [self._pg_ctl, "-w", "-D", str(self._folder), *arguments],
            user=user,
            cwd="/",
            check=True,
            timeout=60,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )


def _send(number: signal.Signals, processes: Sequence[int]) -> None:
    for pid in processes:
        # Sessions end by themselves.
        with suppress(ProcessLookupError):
            os.kill(pid, number)


def _kill(pid: int) -> None:
    """Ends it, and waits until it is gone: memory that it shares is in use until then."""
    descriptor = os.pidfd_open(pid)
    try:
        os.kill(pid, signal.SIGKILL)
        select.select([descriptor], [], [], 60.0)
    finally:
        os.close(descriptor)
