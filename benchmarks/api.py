"""Uploads over HTTP: latency idle and beside a backfill, and throughput beside one-by-one `model.predict`.

    .venv/bin/python -m benchmarks.api --weights FILE [--photos FOLDER] [--seconds 20] [--clients 64] [--rounds 3]

The daemon, its loaders, PostgreSQL, the server of the pictures and the clients share the machine. Clients are threads
of one process that send the same JPEG files of 640×480 in turn, each waiting for its answer before it sends the next.
They send requests that were put together before, and read of an answer no more than its status and its length, so that
they take little of the processors from what is measured. "one by one" is `predict_server`, asked by one client. The
ways alternate; figures are medians of the rounds.
"""

import argparse
import http.client
import itertools
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import psycopg2

from benchmarks.loader import make_mix
from benchmarks.postgres import database, machine, server

BOUNDARY = "vectord-benchmark"
BACKFILL = 20_000
LIMITS = "p99 beside the backfill, to 5 × idle p50 + 250 ms"


def upload_request(picture: bytes) -> bytes:
    """A whole HTTP request."""
    opening = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="a.jpg"\r\n\r\n'
    body = opening.encode() + picture + f"\r\n--{BOUNDARY}--\r\n".encode()
    head = (
        "POST /extract/upload HTTP/1.1\r\nHost: 127.0.0.1\r\n"
        f"Content-Type: multipart/form-data; boundary={BOUNDARY}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


class Client:
    """A connection that is kept."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=60)

    def close(self) -> None:
        self._socket.close()

    def ask(self, request: bytes) -> int:
        """Sends it and waits for all of the answer; gives its status."""
        self._socket.sendall(request)
        answer = b""
        while b"\r\n\r\n" not in answer:
            answer += self._receive()
        head, _, body = answer.partition(b"\r\n\r\n")
        left = int(head.lower().partition(b"content-length:")[2].split(None, 1)[0]) - len(body)
        while left > 0:
            left -= len(self._receive())
        return int(head.split(None, 2)[1])

    def _receive(self) -> bytes:
        received = self._socket.recv(65_536)
        if not received:
            raise SystemExit("a connection was closed in the middle of an answer")
        return received


def load(port: int, uploads: Sequence[bytes], *, clients: int, seconds: float) -> list[float]:
    """The milliseconds that each answer took. Anything but 200 ends the benchmark."""
    taken: list[float] = []
    wrong: list[int] = []
    until = time.perf_counter() + seconds

    def ask(number: int) -> None:
        with closing(Client(port)) as client:
            for request in itertools.islice(itertools.cycle(uploads), number, None):
                begun = time.perf_counter()
                if begun > until or wrong:
                    return
                status = client.ask(request)
                taken.append((time.perf_counter() - begun) * 1000)
                if status != 200:
                    wrong.append(status)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if wrong:
        raise SystemExit(f"an upload was answered {wrong[0]}")
    return taken


def percentile(values: Sequence[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


@contextmanager
def program(*command: str, environment: dict[str, str] | None = None) -> Iterator["subprocess.Popen[str]"]:
    with subprocess.Popen(
        [sys.executable, "-m", *command], env=os.environ | (environment or {}), stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
        finally:
            process.terminate()


def port_of(process: "subprocess.Popen[str]") -> int:
    assert process.stdout is not None
    return int(process.stdout.readline())


@contextmanager
def vectord(dsn: str, weights: str, state: str) -> Iterator[int]:
    """A daemon's port."""
    port = 18_000 + os.getpid() % 1000
    variables = {
        "VECTORD_DATABASE__DSN": dsn,
        "VECTORD_DATABASE__STATE_DIR": state,
        "VECTORD_MODEL__WEIGHTS": weights,
        "VECTORD_FETCH__ALLOW_NETWORKS": '["127.0.0.0/8"]',
        "VECTORD_FETCH__ALLOW_PORTS": "[0]",
        "VECTORD_HTTP__PORT": str(port),
        "VECTORD_LOG__LEVEL": "error",
    }
    with program("daemon", "run", environment=variables) as process:
        _wait_ready(port, process)
        yield port


def _wait_ready(port: int, process: "subprocess.Popen[str]") -> None:
    while process.poll() is None:
        try:
            with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=5)) as connection:
                connection.request("GET", "/ready")
                if connection.getresponse().status == 200:
                    return
        except OSError:
            pass
        time.sleep(0.1)
    raise SystemExit("the daemon did not start")


class Table:
    """The users' tables."""

    def __init__(self, dsn: str, urls: Sequence[str]) -> None:
        self._dsn, self._urls = dsn, urls
        self._rounds = itertools.count(1)

    def fill(self) -> None:
        """Some more images than the rest of the round can work on."""
        first = next(self._rounds) * BACKFILL
        self._execute(
            "INSERT INTO ecai.tb_image (id, url) SELECT %s + n, (%s::text[])[1 + n %% %s] || '?' || n "
            "FROM generate_series(1, %s) n",
            (first, list(self._urls), len(self._urls), BACKFILL),
        )

    def count(self) -> int:
        return int(self._execute("SELECT count(*) FROM tb_hsx_img_value")[0][0])

    def empty(self) -> None:
        """Also of what is dead: nothing should be."""
        if self._execute("SELECT count(*) FROM vectord.job WHERE state = 'dead'")[0][0]:
            raise SystemExit("images of the backfill were lost")
        self._execute("DELETE FROM ecai.tb_image")

    def _execute(self, sql: str, values: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        with closing(psycopg2.connect(self._dsn)) as session, session, session.cursor() as cursor:
            cursor.execute(sql, values)
            return cursor.fetchall() if cursor.description else []


def main() -> None:
    arguments = parse()
    with tempfile.TemporaryDirectory() as folder, server() as dsn, database(dsn, "api") as own:
        root = Path(folder)
        files = [file for file in make_mix(arguments.photos, root) if "640x480" in file]
        uploads = [upload_request(Path(file).read_bytes()) for file in files]
        with (
            program("benchmarks.file_server", folder) as pictures,
            vectord(own, arguments.weights, str(root / "state")) as port,
            program("benchmarks.predict_server", arguments.weights) as predict,
        ):
            served = port_of(pictures)
            urls = [f"http://127.0.0.1:{served}/{Path(file).name}" for file in files]
            measure(arguments, port, port_of(predict), uploads, Table(own, urls))


def measure(arguments: argparse.Namespace, port: int, predict: int, uploads: Sequence[bytes], table: Table) -> None:
    rows: dict[str, list[float]] = {name: [] for name in ("idle", "busy", "rate", "backfill", "single", "many")}
    for _ in range(arguments.rounds):
        single = load(predict, uploads, clients=1, seconds=arguments.seconds / 2)
        rows["single"].append(len(single) / (arguments.seconds / 2))
        idle = load(port, uploads, clients=1, seconds=arguments.seconds / 4)
        rows["idle"].append(statistics.median(idle))
        many = load(port, uploads, clients=arguments.clients, seconds=arguments.seconds / 2)
        rows["many"].append(len(many) / (arguments.seconds / 2))
        table.fill()
        busy = load(port, uploads, clients=arguments.clients, seconds=arguments.seconds)
        rows["busy"].append(percentile(busy, 0.99))
        rows["rate"].append(len(busy) / arguments.seconds)
        rows["backfill"].append(table.count() / arguments.seconds)
        table.empty()
    show(rows, arguments.clients)


def show(rows: dict[str, list[float]], clients: int) -> None:
    middle = {name: statistics.median(values) for name, values in rows.items()}
    limit = 5 * middle["idle"] + 250
    print(f"\nUploads ({machine()})\n")
    print("| what | median | least to most |\n| --- | --- | --- |")
    names = {
        "idle": "p50 of a lone client, idle, ms",
        "busy": f"p99 of {clients} clients beside a backfill, ms",
        "rate": f"uploads/s of {clients} clients beside a backfill",
        "backfill": "vectors/s of the backfill meanwhile",
        "many": f"uploads/s of {clients} clients, no backfill",
        "single": "uploads/s of one-by-one model.predict behind FastAPI",
    }
    for key, name in names.items():
        print(f"| {name} | {middle[key]:,.1f} | {min(rows[key]):,.1f} to {max(rows[key]):,.1f} |")
    print(
        f"\n{LIMITS}: {middle['busy'] / limit:.2f}; throughput to one by one: {middle['many'] / middle['single']:.1f}"
    )


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0] if __doc__ else "", formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--weights", required=True)
    parser.add_argument("--photos", type=Path)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    return parser.parse_args()


if __name__ == "__main__":
    main()
