"""Ways to hold a daemon's work at a seam from outside: loaders that stand still, a decoding that never ends."""

import os
import select
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.faults.daemons import PATIENCE, Running


@contextmanager
def frozen_loaders(daemon: Running) -> Iterator[None]:
    """Its loaders do nothing while this lasts: what it claims is claimed and no more."""
    loaders = daemon.loaders()
    for pid in loaders:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in loaders:
            # Where the daemon was killed, they went with it.
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


class Lingering:
    """Tells when a loader has begun to decode a picture `FAULT:linger`, which then never ends."""

    def __init__(self, pipe: Path) -> None:
        os.mkfifo(pipe)
        self._end = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
        self.variables = {
            "LOADER_TEST_PLUGIN": "loader_plugin",
            "PYTHONPATH": f"{Path(__file__).parent}:{Path(__file__).parents[2]}",
            "FAULTS_LINGER": str(pipe),
        }

    def wait(self) -> None:
        """Until a decoding has begun."""
        assert select.select([self._end], [], [], PATIENCE)[0], "nothing was decoded"

    def close(self) -> None:
        os.close(self._end)


@contextmanager
def lingering(pipe: Path) -> Iterator[Lingering]:
    """For daemons started with its `variables`."""
    made = Lingering(pipe)
    try:
        yield made
    finally:
        made.close()
