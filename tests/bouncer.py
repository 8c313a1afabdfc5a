"""A real PgBouncer in transaction mode, before the PostgreSQL of the tests."""

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import psycopg2.extensions
import pytest

CONFIGURATION = """
[databases]
* = {upstream}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = transaction
"""
UP = b"process up"
"""What it says once it listens."""


@contextmanager
def bouncer(dsn: str) -> Iterator[str]:
    """The DSN of a way through it. Skips where it is not installed; in CI that is a failure."""
    program = _program()
    parts = psycopg2.extensions.parse_dsn(dsn)
    with closing(socket.create_server(("127.0.0.1", 0))) as probe:
        port = probe.getsockname()[1]
    upstream = " ".join(f"{key}={parts[key]}" for key in ("host", "port", "user", "password") if key in parts)
    # It refuses to be root; the server's own user is the one that may reach its socket.
    user = ["-u", Path(parts["host"]).owner()] if os.geteuid() == 0 else []
    with tempfile.NamedTemporaryFile("w", suffix=".ini") as file:
        file.write(CONFIGURATION.format(upstream=upstream, port=port))
        file.flush()
        Path(file.name).chmod(0o644)
        with subprocess.Popen([program, *user, file.name], stderr=subprocess.PIPE) as process:
            try:
                _wait_until_up(process)
                yield f"host=127.0.0.1 port={port} dbname={parts['dbname']} user={parts['user']} sslmode=disable"
            finally:
                process.terminate()


def _program() -> str:
    found = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")
    if found is None:
        missing = "pgbouncer is not installed (Debian's package of that name)"
        assert "CI" not in os.environ, missing
        pytest.skip(missing)
    return found


def _wait_until_up(process: "subprocess.Popen[bytes]") -> None:
    assert process.stderr is not None
    said = []
    for line in process.stderr:
        if UP in line:
            return
        said.append(line)
    raise AssertionError(b"".join(said).decode())
