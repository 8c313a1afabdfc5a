"""api: health, readiness and metrics over a real socket."""

import json
import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest

from daemon.api.app import create_app
from daemon.api.server import HttpServer
from daemon.errors import ConfigurationError
from daemon.health import Health


class Subject:
    """A daemon whose health the test decides."""

    def __init__(self) -> None:
        self.health = Health(healthy=True, ready=True, status="idle", parts={"listener": "listening"})


@pytest.fixture
def subject() -> Subject:
    return Subject()


@pytest.fixture
def server(subject: Subject) -> Iterator[HttpServer]:
    app = create_app(health=lambda: subject.health, exposition=lambda: b"vectord_up 1.0\n")
    server = HttpServer(app, host="127.0.0.1", port=0)
    server.start()
    yield server
    server.stop()


def get(server: HttpServer, path: str) -> tuple[int, str, str]:
    try:
        # The port is bound since the start, so an early connection waits in the backlog.
        with urllib.request.urlopen(server.address + path, timeout=10) as answer:
            return answer.status, answer.headers["content-type"], answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers["content-type"], error.read().decode()


def test_a_healthy_daemon_answers_200(server: HttpServer) -> None:
    status, _, body = get(server, "/health")
    assert status == 200
    assert json.loads(body) == {"healthy": True, "ready": True, "status": "idle", "parts": {"listener": "listening"}}


def test_a_sick_one_answers_503_and_says_why(server: HttpServer, subject: Subject) -> None:
    subject.health = Health(healthy=False, ready=False, status="a stage has ended", parts={})
    assert get(server, "/health")[0] == 503
    status, _, body = get(server, "/ready")
    assert status == 503
    assert json.loads(body) == {"ready": False, "status": "a stage has ended"}


def test_metrics_are_prometheus_text(server: HttpServer) -> None:
    assert get(server, "/metrics") == (200, "text/plain; version=0.0.4; charset=utf-8", "vectord_up 1.0\n")


def test_the_interface_is_described(server: HttpServer) -> None:
    assert {"/health", "/ready", "/metrics"} <= set(json.loads(get(server, "/openapi.json")[2])["paths"])


def test_a_port_in_use_is_a_clear_error(server: HttpServer) -> None:
    port = int(server.address.rpartition(":")[2])
    with pytest.raises(ConfigurationError, match=r"http\.port: cannot listen on 127\.0\.0\.1"):
        HttpServer(create_app(health=lambda: Subject().health, exposition=bytes), host="127.0.0.1", port=port)
