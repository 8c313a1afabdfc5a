"""Backfills on clusters of this machine's: their processes, and being in the middle of one."""

import os
import select
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event

from tests.pictures import Web
from tests.whole import ROOT, Tables

ANSWER = "answer: "
"""How `tests.raylets`, which imports Ray and is not imported here, begins an answer."""
PATIENCE = 240.0
"""Seconds. A cluster takes half a minute to begin on two cores, and much longer beside other tests."""
MARK = "BACKFILL_TEST"
"""A variable that all processes of a driver's or a cluster's bear, whoever their parent is by now."""
STAGES = ("_Load", "_Embed", "LocalLedger", "daemon.loader.worker")
"""What the titles of a backfill's workers have in them. Ray keeps some actors of its own for the next driver."""


class Nodes:
    """A cluster with this environment, in processes of its own: `tests.raylets`."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        command = [sys.executable, "-m", "tests.raylets"]
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(command, env=environment, cwd=ROOT, stdin=pipe, stdout=pipe, text=True)
        self.address = self._answer()

    def two(self) -> None:
        """There are two nodes, whatever became of them before."""
        self._ask("two")

    def kill_one(self) -> None:
        self._ask("kill one")

    def close(self) -> None:
        self._process.communicate(timeout=PATIENCE)

    def _ask(self, order: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(order + "\n")
        self._process.stdin.flush()
        self._answer()

    def _answer(self) -> str:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith(ANSWER):
                return line.removeprefix(ANSWER).strip()
        raise AssertionError(f"the cluster ended with status {self._process.wait(PATIENCE)}")


@contextmanager
def backfill(environment: Mapping[str, str], address: str, *options: str) -> Iterator["subprocess.Popen[str]"]:
    """`backfill` with two of each worker unless said otherwise; killed at the end if it still lives."""
    with subprocess.Popen(
        [sys.executable, "-m", "daemon", "backfill", "--ray", address, *(options or two())],
        env=environment,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()


def two() -> list[str]:
    """Options for two of each worker, and shards of two units."""
    return ["--shard-images", "128", "--loaders", "2", "--embedders", "2", "--connections", "2"]


def end_of(process: "subprocess.Popen[str]") -> tuple[int, str]:
    """Its status and what it said."""
    out, _ = process.communicate(timeout=PATIENCE)
    return process.returncode, out


@contextmanager
def holding(web: Web, first: int, last: int) -> Iterator[None]:
    """The answers for these images wait until the end of this."""
    held = {f"/{n}.jpg": Event() for n in range(first, last + 1)}
    web.held.update(held)
    try:
        yield
    finally:
        for path, event in held.items():
            web.held.pop(path)
            event.set()


def wait_for_vectors(tables: Tables, number: int) -> None:
    """Until there are so many."""
    tables.wait(lambda: len(tables.vectors()) >= number, f"no {number} vectors were made", PATIENCE)


def processes(mark: str) -> dict[int, str]:
    """The command lines of all that bear this mark."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        # Of another user, or gone.
        with suppress(OSError):
            if f"{MARK}={mark}".encode() in (folder / "environ").read_bytes():
                found[int(folder.name)] = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
    found.pop(os.getpid(), None)
    return found


def workers(mark: str, *stages: str) -> dict[int, str]:
    """Those of them that work in these stages of a backfill, or in any."""
    return {pid: title for pid, title in processes(mark).items() if any(one in title for one in stages or STAGES)}


def wait_until_gone(find: Callable[[], Mapping[int, str]], seconds: float = PATIENCE) -> Mapping[int, str]:
    """Until nothing is found any more; what is left when that took too long."""
    deadline = time.monotonic() + seconds
    while (left := find()) and (rest := deadline - time.monotonic()) > 0:
        with suppress(ProcessLookupError):
            wait_for_end(next(iter(left)), rest)
    return left


def wait_for_end(pid: int, seconds: float) -> None:
    """Of a process that need not be a child. Raises `ProcessLookupError` when it is gone already."""
    file = os.pidfd_open(pid)
    try:
        select.select([file], [], [], seconds)
    finally:
        os.close(file)
