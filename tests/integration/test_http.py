"""api: health, readiness and metrics over a real socket."""

import errno
import json
import re
import socket
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue
from threading import Event

import pytest
import requests
import structlog
from fastapi import FastAPI

from daemon.api import line as line_module
from daemon.api.access import Token, allowed_hosts, read_token, refuse_open_door
from daemon.api.app import Probes, create_probe_app
from daemon.api.server import HttpServer, listen
from daemon.errors import AddressError, ConfigurationError
from daemon.health import Health, State
from tests.front import Subject, make_app, serving

TIMEOUT = 60.0
PROBES = ("/health", "/ready", "/metrics")
THREADS = 40
"""That anyio has for the routes that are no coroutines."""


@pytest.fixture
def subject() -> Subject:
    return Subject()


@pytest.fixture
def server(subject: Subject) -> Iterator[HttpServer]:
    server = HttpServer(make_app(subject), host="127.0.0.1", port=0)
    server.start()
    yield server
    server.stop()


def get(server: HttpServer, path: str) -> tuple[int, str, str]:
    try:
        # The port is bound since the start, so an early connection waits in the backlog.
        with urllib.request.urlopen(server.address + path, timeout=60) as answer:
            return answer.status, answer.headers["content-type"], answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers["content-type"], error.read().decode()


def test_a_healthy_daemon_answers_200(server: HttpServer) -> None:
    status, _, body = get(server, "/health")
    assert status == 200
    assert json.loads(body) == {
        "healthy": True,
        "ready": True,
        "state": "idle",
        "status": "idle",
        "parts": {"listener": "listening"},
    }


def test_a_sick_one_answers_503_and_says_why(server: HttpServer, subject: Subject) -> None:
    subject.health = Health(healthy=False, ready=False, state=State.ENDED, status="a stage has ended", parts={})
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
            urllib.request.Request(server.address + path, headers=headers), timeout=60
        ) as answer:
            status: int = answer.status
            return status
    except urllib.error.HTTPError as error:
        with error:
            return error.code


def test_a_token_guards_all_but_health_and_metrics(subject: Subject) -> None:
    server = HttpServer(make_app(subject, token=Token("open sesame")), host="127.0.0.1", port=0)
    server.start()
    try:
        assert [call(server, path, None) for path in ("/health", "/ready", "/metrics")] == [200, 200, 200]
        assert [call(server, "/openapi.json", token) for token in (None, "wrong", "", "wrong too")] == [401] * 4
        assert call(server, "/openapi.json", "open sesame") == 200
    finally:
        server.stop()


@pytest.mark.parametrize(
    ("authorization", "status"),
    [
        ("Bearer open sesame", 200),
        ("bearer open sesame", 200),
        ("BEARER  open sesame", 200),
        ("Bearer Open Sesame", 401),
        ("Basic open sesame", 401),
        ("Beareropen sesame", 401),
        ("open sesame", 401),
        ("Bearer", 401),
        ("", 401),
    ],
)
def test_the_tokens_scheme_may_be_written_as_one_likes(subject: Subject, authorization: str, status: int) -> None:
    with serving(make_app(subject, token=Token("open sesame"))) as server:
        headers = {"Authorization": authorization}
        answer = requests.get(server.address + "/openapi.json", headers=headers, timeout=TIMEOUT)
    assert answer.status_code == status


def test_a_port_for_probes_serves_nothing_else(subject: Subject) -> None:
    app = create_probe_app(Probes(health=lambda: subject.health, exposition=bytes))
    server = HttpServer(app, host="127.0.0.1", port=0)
    server.start()
    try:
        paths = ("/health", "/ready", "/metrics", "/docs", "/openapi.json")
        assert [call(server, path, None) for path in paths] == [200, 200, 200, 404, 404]
    finally:
        server.stop()


def test_a_stop_that_takes_too_long_leaves_the_server_its_socket(monkeypatch: pytest.MonkeyPatch) -> None:
    """pytest makes a failure of what the server's thread then raises."""
    app, asked, go_on = FastAPI(), Event(), Event()

    @app.get("/")
    async def stall() -> None:
        asked.set()
        go_on.wait(TIMEOUT)

    server = HttpServer(app, host="127.0.0.1", port=0)
    server.start()
    thread = server._thread
    with ThreadPoolExecutor(1) as caller:
        caller.submit(requests.get, server.address, timeout=TIMEOUT)
        assert asked.wait(TIMEOUT)
        monkeypatch.setattr("daemon.api.server.STOP_SECONDS", -1.0)
        server.stop()
        assert thread.is_alive()
        go_on.set()
        thread.join(TIMEOUT)
    assert not thread.is_alive()


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
    with pytest.raises(AddressError, match=r"http\.port: cannot listen on 127\.0\.0\.1"):
        HttpServer(make_app(Subject()), host="127.0.0.1", port=port)
    with pytest.raises(AddressError, match=r"http\.host, http\.metrics_port: cannot listen"):
        listen("127.0.0.1", port, "http.metrics_port")


def test_an_address_that_is_not_up_yet_may_be_later_and_nonsense_never() -> None:
    with pytest.raises(AddressError, match=r"cannot listen on 203\.0\.113\.1"):
        listen("203.0.113.1", 0)
    with pytest.raises(ConfigurationError, match="cannot listen on no such host"):
        listen("no such host", 0)


def test_a_machine_without_ipv6_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EAFNOSUPPORT, "Address family not supported by protocol")

    monkeypatch.setattr(socket, "socket", refuse)
    with pytest.raises(ConfigurationError, match=r"http\.port: cannot listen on :::8000: Address family not supported"):
        listen("::", 8000)


def test_a_token_may_be_replaced_while_the_server_runs(subject: Subject) -> None:
    token = Token("old")
    server = HttpServer(make_app(subject, token=token), host="127.0.0.1", port=0)
    server.start()
    try:
        assert [call(server, "/openapi.json", given) for given in ("old", "new")] == [200, 401]
        token.value = "new"
        assert [call(server, "/openapi.json", given) for given in ("old", "new")] == [401, 200]
    finally:
        server.stop()


@pytest.mark.parametrize(
    ("host", "listed", "names"),
    [
        ("127.0.0.1", (), {"localhost", "127.0.0.1", "::1"}),
        ("::1", ("Db.Example.org",), {"localhost", "127.0.0.1", "::1", "db.example.org"}),
        ("0.0.0.0", (), None),
        ("0.0.0.0", ("api.example.org",), {"api.example.org"}),
    ],
)
def test_which_names_a_daemon_answers_to(host: str, listed: tuple[str, ...], names: set[str] | None) -> None:
    assert allowed_hosts(host, listed) == names


def test_a_page_whose_name_resolves_here_gets_nothing(subject: Subject) -> None:
    server = HttpServer(make_app(subject, hosts=allowed_hosts("127.0.0.1", ())), host="127.0.0.1", port=0)
    server.start()
    port = server.address.rpartition(":")[2]
    try:
        for name, status in {
            "localhost": 200,
            f"localhost:{port}": 200,
            "[::1]:80": 200,
            "evil.example": 421,
            "localhost.evil.example": 421,
            "": 421,
        }.items():
            answer = requests.get(server.address + "/openapi.json", headers={"Host": name}, timeout=60)
            assert answer.status_code == status, name
            # Probes come by any name: a load balancer knows the machine by its own.
            assert requests.get(server.address + "/health", headers={"Host": name}, timeout=60).status_code == 200
    finally:
        server.stop()


def test_what_strangers_send_fills_no_log(server: HttpServer, caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(3):
        with socket.create_connection(("127.0.0.1", int(server.address.rpartition(":")[2])), 60) as caller:
            caller.sendall(b"\x16\x03\x01 this is no HTTP\r\n\r\n")
            assert caller.recv(65_536).startswith(b"HTTP/1.1 400 ")
    assert caplog.records == []


def test_two_host_headers_are_the_name_of_nobody(subject: Subject) -> None:
    """Whatever stands before the daemon may have gone by the other one."""
    server = HttpServer(make_app(subject, hosts=allowed_hosts("127.0.0.1", ())), host="127.0.0.1", port=0)
    server.start()
    try:
        for first, second in (("localhost", "evil.example"), ("evil.example", "localhost"), ("localhost", "localhost")):
            with socket.create_connection(("127.0.0.1", int(server.address.rpartition(":")[2])), 60) as caller:
                head = f"GET /openapi.json HTTP/1.1\r\nHost: {first}\r\nHost: {second}\r\nConnection: close\r\n\r\n"
                caller.sendall(head.encode())
                assert caller.recv(65_536).startswith(b"HTTP/1.1 421 "), (first, second)
    finally:
        server.stop()


def test_a_body_does_not_wait_for_the_clients_word_of_the_headers() -> None:
    with listen("127.0.0.1", 0) as listening, socket.create_connection(listening.getsockname()):
        accepted, _ = listening.accept()
        with accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_a_caller_whose_machine_vanished_is_noticed_within_a_minute() -> None:
    with listen("127.0.0.1", 0) as listening, socket.create_connection(listening.getsockname()):
        accepted, _ = listening.accept()
        with accepted:
            assert accepted.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
            idle, pause, probes = (
                accepted.getsockopt(socket.IPPROTO_TCP, option)
                for option in (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT)
            )
            assert idle + pause * probes <= 60


def test_every_answer_has_its_number_and_its_headers(server: HttpServer, subject: Subject) -> None:
    for path, status in {"/health": 200, "/nothing": 404, "/images/1": 503, "/docs": 200}.items():
        answer = requests.get(server.address + path, headers={"X-Request-ID": "one two;"}, timeout=60)
        assert answer.status_code == status
        assert re.fullmatch("[0-9a-f]{32}", answer.headers["X-Request-ID"])
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Cross-Origin-Resource-Policy"] == "same-origin"
        assert "Content-Security-Policy" in answer.headers
        assert "Access-Control-Allow-Origin" not in answer.headers
    # An answer is recorded once all of it is sent, which may be after the client has read it.
    routes = [subject.answered.get(timeout=60).route for _ in range(4)]
    assert routes == ["/health", "unknown", "/images/{image_id}", "/docs"]
    wrong = requests.delete(server.address + "/health", timeout=60)
    assert (wrong.status_code, wrong.json()["reason"]) == (405, "method_not_allowed")


def test_the_docs_load_nothing_from_elsewhere(server: HttpServer) -> None:
    page = requests.get(server.address + "/docs", timeout=60).text
    sources = re.findall(r"(?:src|href)=\"([^\"]+)\"", page)
    assert len(sources) == 3
    for source in sources:
        assert source.startswith("/docs/static/")
        assert requests.get(server.address + source, timeout=60).status_code == 200
    assert "http" not in page.replace("xmlns", "")


def test_what_breaks_inside_is_told_without_its_details(subject: Subject) -> None:
    app = make_app(subject)

    @app.get("/broken")
    def broken() -> None:
        raise ZeroDivisionError("a secret of the house")

    server = HttpServer(app, host="127.0.0.1", port=0)
    server.start()
    try:
        with structlog.testing.capture_logs(processors=[structlog.contextvars.merge_contextvars]) as logs:
            answer = requests.get(server.address + "/broken", timeout=60)
        assert (answer.status_code, answer.json()["reason"]) == (500, "internal_error")
        assert "secret" not in answer.text
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        told = subject.answered.get(timeout=TIMEOUT)
        assert (told.route, told.status, told.request) == ("/broken", 500, answer.headers["X-Request-ID"])
        (line,) = (line for line in logs if line["event"] == "http.defect")
        assert line["request"] == told.request
    finally:
        server.stop()


def test_pages_of_listed_origins_may_call(subject: Subject) -> None:
    server = HttpServer(make_app(subject, origins=("https://a.example",)), host="127.0.0.1", port=0)
    server.start()
    try:
        for origin, allowed in {"https://a.example": "https://a.example", "https://b.example": None}.items():
            answer = requests.get(server.address + "/openapi.json", headers={"Origin": origin}, timeout=60)
            assert answer.headers.get("Access-Control-Allow-Origin") == allowed
    finally:
        server.stop()


def test_pages_of_other_origins_set_nothing_going(subject: Subject) -> None:
    server = HttpServer(make_app(subject, origins=("https://a.example",)), host="127.0.0.1", port=0)
    server.start()
    own = server.address
    cases: list[tuple[dict[str, str], bool]] = [
        ({}, True),  # curl, and every other program
        ({"Origin": own, "Sec-Fetch-Site": "same-origin"}, True),
        ({"Origin": own}, True),
        ({"Origin": "https://vectord.example", "Sec-Fetch-Site": "same-origin"}, True),  # behind a proxy
        ({"Sec-Fetch-Site": "none"}, True),
        ({"Origin": "https://a.example", "Sec-Fetch-Site": "cross-site"}, True),  # http.cors_origins
        ({"Origin": "https://b.example", "Sec-Fetch-Site": "cross-site"}, False),
        ({"Origin": "https://b.example"}, False),
        ({"Origin": "http://127.0.0.1:1", "Sec-Fetch-Site": "same-site"}, False),
        ({"Origin": "http://127.0.0.1:1"}, False),
        ({"Origin": "null"}, False),
        ({"Origin": "http://[::1"}, False),
        ({"Origin": "http://evil]"}, False),
    ]
    try:
        for headers, allowed in cases:
            answer = requests.post(own + "/process/all", headers=headers, timeout=TIMEOUT)
            told = (answer.status_code, answer.json()["reason"])
            assert told == ((503, "not_serving") if allowed else (403, "cross_site")), headers
            # A look at a thumbnail has it fetched.
            look = requests.get(own + "/images/1/thumbnail", headers=headers, timeout=TIMEOUT)
            assert (look.status_code, look.json()["reason"]) == told, headers
            for path in ("/", *PROBES):
                assert requests.get(own + path, headers=headers, timeout=TIMEOUT).status_code == 200
    finally:
        server.stop()


@pytest.mark.parametrize(
    ("method", "mode", "destination", "allowed"),
    [
        ("GET", "navigate", "document", True),  # a link that somebody follows
        ("GET", "navigate", "iframe", False),
        ("GET", "no-cors", "image", False),
        ("GET", "cors", "empty", False),
        ("POST", "navigate", "document", False),  # a form
    ],
)
def test_a_link_from_another_page_may_be_followed(
    server: HttpServer, method: str, mode: str, destination: str, *, allowed: bool
) -> None:
    headers = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": mode, "Sec-Fetch-Dest": destination}
    path = "/images/1" if method == "GET" else "/process/all"
    answer = requests.request(method, server.address + path, headers=headers, timeout=TIMEOUT)
    assert (answer.status_code, answer.json()["reason"]) == ((503, "not_serving") if allowed else (403, "cross_site"))


def test_who_has_the_token_may_come_from_anywhere(subject: Subject) -> None:
    server = HttpServer(make_app(subject, token=Token("open sesame")), host="127.0.0.1", port=0)
    server.start()
    headers = {"Origin": "chrome-extension://abc", "Authorization": "Bearer open sesame"}
    try:
        answer = requests.post(server.address + "/process/all", headers=headers, timeout=TIMEOUT)
        assert answer.json()["reason"] == "not_serving"
    finally:
        server.stop()


def test_probes_wait_for_nobody_who_waits_for_the_database(subject: Subject) -> None:
    app, gate, asked = make_app(subject), Event(), SimpleQueue[None]()

    @app.get("/slow")
    def slow() -> None:
        asked.put(None)
        gate.wait(TIMEOUT)

    server = HttpServer(app, host="127.0.0.1", port=0)
    server.start()
    try:
        with ThreadPoolExecutor(60) as callers:
            for _ in range(60):
                callers.submit(requests.get, server.address + "/slow", timeout=TIMEOUT)
            for _ in range(THREADS):
                asked.get(timeout=TIMEOUT)
            statuses = [requests.get(server.address + path, timeout=TIMEOUT / 2).status_code for path in PROBES]
            gate.set()
    finally:
        server.stop()
    assert statuses == [200, 200, 200]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/images/1"),
        ("GET", "/images/1/vector"),
        ("GET", "/images/1/thumbnail"),
        ("GET", "/failures"),
        ("GET", "/waiting"),
        ("GET", "/similar/1"),
        ("GET", "/runs/00000000-0000-0000-0000-000000000000"),
        ("POST", "/retry"),
        ("POST", "/process/all"),
    ],
)
def test_a_crowd_before_the_database_is_sent_away(monkeypatch: pytest.MonkeyPatch, method: str, path: str) -> None:
    monkeypatch.setattr(line_module, "MOST_ASKING", 0)
    server = HttpServer(make_app(Subject()), host="127.0.0.1", port=0)
    server.start()
    try:
        body = {"all": True} if path == "/retry" else None
        answer = requests.request(method, server.address + path, json=body, timeout=TIMEOUT)
        assert (answer.status_code, answer.json()["reason"]) == (429, "too_busy")
        assert int(answer.headers["Retry-After"]) > 0
    finally:
        server.stop()
