"""Joining a cluster of Ray's, or starting one here, and leaving it in order."""

import logging
import os
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from daemon.backfill.crew import Cluster
from daemon.errors import ConfigurationError
from daemon.service.signals import SIGNALS

# Ray reads these when it is imported.
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
# Else a thread of Ray's that asks something after the end starts a cluster of its own for the answer.
os.environ.setdefault("RAY_ENABLE_AUTO_CONNECT", "0")

try:
    import ray
    import ray.data
except ImportError as missing:
    raise ConfigurationError(
        f"a backfill needs Ray Data ({missing}): install what requirements-ray.txt names"
    ) from missing

LOCAL = "local"
CONNECT_SECONDS = 5.0


@contextmanager
def joined(address: str, *, loaders: int | None = None) -> Iterator[Cluster]:
    """A cluster by the address of its head; "local" starts one here, with room for the loaders.

    A local one ends with the block. Raises `ConfigurationError` when there is none.
    """
    given: dict[str, Any] = {"address": address}
    if address == LOCAL:
        cpus = max(len(os.sched_getaffinity(0)), loaders or 0)
        given |= {"include_dashboard": False, "_node_ip_address": "127.0.0.1", "num_cpus": cpus}
    else:
        _require_head(address)
    try:
        with _own_signals():
            ray.init(logging_level="ERROR", log_to_driver=False, **given)
        logging.getLogger("ray.data").setLevel(logging.ERROR)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise ConfigurationError(f"--ray {address}: {error}") from error
    try:
        yield _look()
    finally:
        ray.shutdown()


def _require_head(address: str) -> None:
    """Somebody listens there. Ray itself would go on trying for minutes, deaf to signals."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or "/" in host:
        raise ConfigurationError(
            f"--ray {address}: name the cluster's head as HOST:PORT (6379 unless changed), or local"
        )
    try:
        socket.create_connection((host, int(port)), CONNECT_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise ConfigurationError(f"--ray {address}: no head of a cluster can be reached there: {error}") from error


@contextmanager
def _own_signals() -> Iterator[None]:
    """Ray's drivers leave at a SIGTERM from wherever they are. Ours end in order, so the handlers stay ours."""
    before = {number: signal.getsignal(number) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _look() -> Cluster:
    found = ray.cluster_resources()
    nodes = sum(node["Alive"] for node in ray.nodes())
    return Cluster(nodes=nodes, cpus=int(found.get("CPU", 0)), gpus=int(found.get("GPU", 0)))
