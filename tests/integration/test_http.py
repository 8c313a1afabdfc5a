"""api: health, readiness and metrics over a real socket."""

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from daemon.api.access import read_token, refuse_open_door
from daemon.api.app import create_app, create_probe_app
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


def call(server: HttpServer, path: str, token: str | None) -> int:
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    try:
        with urllib.request.urlopen(
            urllib.request.Request(server.address + path, headers=headers), timeout=10
        ) as answer:
            status: int = answer.status
            return status
    except urllib.error.HTTPError as error:
        with error:
            return error.code


def test_a_token_guards_all_but_health_and_metrics(subject: Subject) -> None:
    app = create_app(health=lambda: subject.health, exposition=lambda: b"", token="open sesame")
    server = HttpServer(app, host="127.0.0.1", port=0)
    server.start()
    try:
        assert [call(server, path, None) for path in ("/health", "/ready", "/metrics")] == [200, 200, 200]
        assert [call(server, "/openapi.json", token) for token in (None, "wrong", "", "wrong too")] == [401] * 4
        assert call(server, "/openapi.json", "open sesame") == 200
    finally:
        server.stop()


def test_a_port_for_probes_serves_nothing_else(subject: Subject) -> None:
    app = create_probe_app(health=lambda: subject.health, exposition=lambda: b"")
    server = HttpServer(app, host="127.0.0.1", port=0)
    server.start()
    try:
        paths = ("/health", "/ready", "/metrics", "/docs", "/openapi.json")
        assert [call(server, path, None) for path in paths] == [200, 200, 200, 404, 404]
    finally:
        server.stop()


def test_a_door_that_would_stand_open_is_refused() -> None:
    for host in ("127.0.0.1", "::1", "localhost", "127.9.9.9"):
        refuse_open_door(host, None, allow_anonymous=False)
    refuse_open_door("0.0.0.0", "token", allow_anonymous=False)
    refuse_open_door("0.0.0.0", None, allow_anonymous=True)
    for host in ("0.0.0.0", "::", "10.1.2.3", "example.org"):
        with pytest.raises(ConfigurationError, match=r"http\.host.*http\.token_file.*http\.allow_anonymous"):
            refuse_open_door(host, None, allow_anonymous=False)


def test_a_token_comes_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "token"
    assert read_token("") is None
    file.write_text("  secret\n")
    assert read_token(str(file)) == "secret"
    file.write_text("\n")
    with pytest.raises(ConfigurationError, match="is empty"):
        read_token(str(file))
    with pytest.raises(ConfigurationError, match="cannot be read"):
        read_token(str(tmp_path / "none"))


def test_a_port_in_use_is_a_clear_error(server: HttpServer) -> None:
    port = int(server.address.rpartition(":")[2])
    with pytest.raises(ConfigurationError, match=r"http\.port: cannot listen on 127\.0\.0\.1"):
        HttpServer(create_app(health=lambda: Subject().health, exposition=bytes), host="127.0.0.1", port=port)
