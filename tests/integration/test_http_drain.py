"""HTTP goes on until the pipeline has drained: who was let in is answered, who comes late is told why not."""

import json
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from queue import SimpleQueue
from threading import Event
from typing import Any

import pytest
import requests

from tests.pictures import picture
from tests.servers import Answer, serve
from tests.whole import PATIENCE, Tables, daemon_process

TIMEOUT = 60
LATE: dict[str, Callable[[str], requests.Response]] = {
    "an upload": lambda base: requests.post(base + "/extract/upload", files={"file": picture(1)}, timeout=TIMEOUT),
    "a URL": lambda base: requests.post(base + "/extract/url?image_url=http://127.0.0.1/", timeout=TIMEOUT),
    "an image": lambda base: requests.post(base + "/process/image", json={"image_id": 1}, timeout=TIMEOUT),
    "a batch": lambda base: requests.post(base + "/process/batch", json=["1"], timeout=TIMEOUT),
    "a run": lambda base: requests.post(base + "/process/all", timeout=TIMEOUT),
    "a search": lambda base: requests.get(base + "/similar/1", timeout=TIMEOUT),
    "a question": lambda base: requests.get(base + "/images/1", timeout=TIMEOUT),
    "a retry": lambda base: requests.post(base + "/retry", json={"all": True}, timeout=TIMEOUT),
}


class Slow:
    """A server whose answers wait until `go`; `asked` gets the path of each request."""

    def __init__(self) -> None:
        self.go = Event()
        self.asked: SimpleQueue[str] = SimpleQueue()
        self.paths: dict[str, Answer] = {"*": self._answer}

    def _answer(self, request: Any) -> None:
        self.asked.put(request.path)
        assert self.go.wait(TIMEOUT)
        request.reply(body=picture(1))


@pytest.fixture
def slow() -> Iterator[tuple[str, Slow]]:
    made = Slow()
    with serve(made.paths) as server:
        try:
            yield server.url, made
        finally:
            made.go.set()


def hear(process: "subprocess.Popen[str]", event: str) -> None:
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("{") and json.loads(line)["event"] == event:
            return
    raise AssertionError(f"it ended before it said {event}")


def test_who_is_in_work_is_answered_and_who_comes_while_it_drains_is_told_why(
    small: dict[str, str], slow: tuple[str, Slow]
) -> None:
    url, pictures = slow
    tables = Tables(small["VECTORD_DATABASE__DSN"])
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    base = f"http://127.0.0.1:{port}"
    environment = small | {"VECTORD_HTTP__PORT": str(port), "VECTORD_QUEUE__TRIGGER": "false"}
    # A fetch that waits for the test must not run out of time.
    environment |= {"VECTORD_FETCH__READ_TIMEOUT": "60", "VECTORD_FETCH__TOTAL_TIMEOUT": "60"}
    with daemon_process(environment) as process, ExitStack() as stack:
        threads = stack.enter_context(ThreadPoolExecutor(2))
        stack.callback(pictures.go.set)
        tables.insert({1: url + "/table.jpg"})
        begun = [
            threads.submit(requests.post, f"{base}/extract/url?image_url={url}/web.jpg", timeout=TIMEOUT),
            threads.submit(requests.post, f"{base}/process/image", json={"image_id": 1}, timeout=TIMEOUT),
        ]
        assert {pictures.asked.get(timeout=TIMEOUT) for _ in begun} == {"/web.jpg", "/table.jpg"}
        process.send_signal(signal.SIGTERM)
        hear(process, "daemon.stopping")
        # What stops first is the taking of work: a moment after the word, and before anything is waited for.
        while requests.get(base + "/ready", timeout=TIMEOUT).status_code == 200:
            pass
        for what, ask in LATE.items():
            answer = ask(base)
            assert (answer.status_code, answer.json()["reason"]) == (503, "not_serving"), what
            assert answer.json()["message"] == "the daemon is stopping", what
            assert int(answer.headers["Retry-After"]) > 0
        health = requests.get(base + "/health", timeout=TIMEOUT)
        assert (health.status_code, health.json()["state"], health.json()["ready"]) == (200, "stopping", False)
        assert requests.get(base + "/metrics", timeout=TIMEOUT).status_code == 200
        assert not any(one.done() for one in begun)
        pictures.go.set()
        extracted, processed = (one.result(TIMEOUT) for one in begun)
        assert (extracted.status_code, extracted.json()["dimension"]) == (200, 1280)
        assert (processed.status_code, processed.json()["success"]) == (200, True)
        process.communicate(timeout=PATIENCE)
        assert process.returncode == 0
        with pytest.raises(requests.ConnectionError):
            requests.get(base + "/health", timeout=TIMEOUT)
    assert set(tables.vectors()) == {1}
    assert tables.jobs() == {}
