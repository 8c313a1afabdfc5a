"""Fetching from servers that mean well and from servers that do not."""

import gzip
import socket
import subprocess
import threading
import time
import zlib
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest

from daemon.clock import SystemClock
from daemon.errors import Reason
from daemon.loader.fetch import Fetcher
from daemon.loader.gate import Resolve, Resolved, resolve
from daemon.loader.options import FetchOptions
from daemon.loader.problem import LoadError
from daemon.loader.transport import make_trust
from daemon.loader.web import WebFetcher
from tests.loading import LOOPBACK, encoded
from tests.servers import Answer, Request, Server, body, redirect, serve, status

PICTURE = encoded()
LIMIT = 100_000
PATIENT = replace(LOOPBACK, max_bytes=LIMIT)
"""With the timeouts of production, that a machine which stands still for a second makes no test fail."""
HASTY = replace(PATIENT, total_timeout=1.0)
HASTY_READ = replace(PATIENT, read_timeout=0.5)
HASTY_CONNECT = replace(PATIENT, connect_timeout=0.5)
SLACK = 30.0
"""Seconds beyond a deadline that a busy machine may take."""


class Elsewhere:
    """A resolver that answers as told, in turn, and knows what it was asked."""

    def __init__(self, *answers: str) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []

    def __call__(self, host: str, port: int) -> Resolved:
        self.asked.append(host)
        address = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return resolve(address, port)


def fetch(url: str, options: FetchOptions = PATIENT, resolver: Resolve = resolve) -> bytes:
    fetcher = WebFetcher(options, resolver=resolver)
    try:
        return fetcher.fetch(url)
    finally:
        fetcher.close()


def failure(url: str, options: FetchOptions = PATIENT, resolver: Resolve = resolve) -> LoadError:
    with pytest.raises(LoadError) as caught:
        fetch(url, options, resolver)
    return caught.value


def cut(url: str, options: FetchOptions, resolver: Resolve = resolve) -> Reason:
    """The reason for which the fetch was ended at the one short deadline of these options."""
    deadline = min(options.connect_timeout, options.read_timeout, options.total_timeout)
    begun = time.monotonic()
    reason = failure(url, options, resolver).reason
    assert deadline - 0.1 < time.monotonic() - begun < deadline + SLACK
    return reason


@pytest.fixture
def server() -> Iterator[Server]:
    with serve({"/x.jpg": body(PICTURE)}) as made:
        yield made


def test_a_picture_is_fetched(server: Server) -> None:
    assert fetch(f"{server.url}/x.jpg") == PICTURE
    headers = server.seen[0].headers
    assert headers["user-agent"] == "vectord"
    assert headers["accept-encoding"] == "identity"
    assert "authorization" not in headers
    assert "cookie" not in headers


def test_the_user_agent_is_configurable(server: Server) -> None:
    fetch(f"{server.url}/x.jpg", replace(PATIENT, user_agent="me/1.0"))
    assert server.seen[0].headers["user-agent"] == "me/1.0"


def test_connections_are_kept(server: Server) -> None:
    fetcher = WebFetcher(PATIENT)
    for _ in range(5):
        assert fetcher.fetch(f"{server.url}/x.jpg") == PICTURE
    fetcher.close()
    assert server.connections == 1


def test_a_kept_connection_that_the_server_closed_is_made_anew() -> None:
    def once(request: Request) -> None:
        request.reply(body=PICTURE)
        request.socket.shutdown(socket.SHUT_RDWR)

    with serve({"*": once}) as server:
        fetcher = WebFetcher(PATIENT)
        assert [fetcher.fetch(f"{server.url}/{number}") for number in range(3)] == [PICTURE] * 3
        fetcher.close()


def test_a_kept_connection_that_went_stale_is_made_anew_behind_a_redirect() -> None:
    def once(request: Request) -> None:
        request.reply(body=PICTURE)
        request.socket.shutdown(socket.SHUT_RDWR)

    with serve({"*": once}) as last, serve({"*": redirect(last.url)}) as first:
        fetcher = WebFetcher(PATIENT)
        assert [fetcher.fetch(url) for url in (last.url, first.url)] == [PICTURE] * 2
        fetcher.close()


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (201, Reason.UNEXPECTED_STATUS),
        (204, Reason.UNEXPECTED_STATUS),
        (205, Reason.UNEXPECTED_STATUS),
        (206, Reason.UNEXPECTED_STATUS),
        (300, Reason.UNEXPECTED_STATUS),
        (304, Reason.UNEXPECTED_STATUS),
        (400, Reason.HTTP_CLIENT_ERROR),
        (401, Reason.FORBIDDEN),
        (403, Reason.FORBIDDEN),
        (404, Reason.NOT_FOUND),
        (408, Reason.READ_TIMEOUT),
        (410, Reason.GONE),
        (418, Reason.HTTP_CLIENT_ERROR),
        (429, Reason.RATE_LIMITED),
        (451, Reason.HTTP_CLIENT_ERROR),
        (500, Reason.HTTP_SERVER_ERROR),
        (503, Reason.HTTP_SERVER_ERROR),
        (599, Reason.HTTP_SERVER_ERROR),
        (999, Reason.UNEXPECTED_STATUS),
    ],
)
def test_statuses(code: int, reason: Reason) -> None:
    with serve({"*": status(code)}) as server:
        assert failure(server.url).reason is reason


@pytest.mark.parametrize(
    ("value", "least", "most"),
    [
        ("120", 120, 120),
        (" 7 ", 7, 7),
        (timedelta(seconds=600), 500, 600),
        (timedelta(seconds=-600), 0, 0),
    ],
)
@pytest.mark.parametrize("code", [429, 503])
def test_retry_after(code: int, value: str | timedelta, least: float, most: float) -> None:
    if isinstance(value, timedelta):
        value = format_datetime(datetime.now(UTC) + value, usegmt=True)
    with serve({"*": status(code, retry_after=value)}) as server:
        wait = failure(server.url).retry_after
    assert wait is not None
    assert least <= wait <= most


def test_a_date_in_retry_after_is_one_of_the_servers_clock() -> None:
    now = datetime.now(UTC) - timedelta(days=400)
    headers = {"retry_after": format_datetime(now + timedelta(seconds=90)), "date": format_datetime(now)}
    with serve({"*": status(429, **headers)}) as server:
        assert failure(server.url).retry_after == 90


@pytest.mark.parametrize(
    "value",
    [
        "",
        "soon",
        "-5",
        "1e9",
        "٣",
        "Thu, 99 Nov 2026 00:00:00 GMT",
        "Mon, 01 Jan 99999999999 00:00:00 GMT",
        "Mon, 01 Jan 2026 00:00:00 +99999999999999999999",
    ],
)
def test_nonsense_in_retry_after_is_ignored(value: str) -> None:
    head = f"Retry-After: {value}\r\nDate: {value}\r\nContent-Length: "

    def no(request: Request) -> None:
        request.send(f"HTTP/1.1 429 No\r\n{head}0\r\n\r\n".encode())

    def yes(request: Request) -> None:
        request.send(f"HTTP/1.1 200 OK\r\n{head}{len(PICTURE)}\r\n\r\n".encode() + PICTURE)

    with serve({"/no": no, "/yes": yes}) as server:
        assert failure(f"{server.url}/no").retry_after is None
        assert fetch(f"{server.url}/yes") == PICTURE


def test_what_nobody_foresaw_ends_one_image(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> bytes:
        raise ZeroDivisionError("https://user:password@a.example")

    fetcher = Fetcher(PATIENT, make_trust(""))
    monkeypatch.setattr(WebFetcher, "fetch", fail)
    monkeypatch.setattr("daemon.loader.fetch.read_object", fail)
    for location, expected in {"http://a": Reason.CONNECTION_FAILED, "hdfs://a/b": Reason.FILE_ERROR}.items():
        with pytest.raises(LoadError) as caught:
            fetcher.fetch(location)
        assert (caught.value.reason, caught.value.detail) == (expected, "ZeroDivisionError")


def test_redirects_are_followed_to_the_bound() -> None:
    paths: dict[str, Answer] = {f"/{number}": redirect(f"/{number - 1}") for number in range(1, 5)}
    with serve(paths | {"/0": body(PICTURE)}) as server:
        assert fetch(f"{server.url}/3") == PICTURE
        assert failure(f"{server.url}/4").reason is Reason.TOO_MANY_REDIRECTS
        assert failure(f"{server.url}/1", replace(PATIENT, max_redirects=0)).reason is Reason.TOO_MANY_REDIRECTS


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
def test_redirect_statuses(code: int) -> None:
    with serve({"/a": redirect("b?c=d#e", code), "/b?c=d": body(PICTURE)}) as server:
        assert fetch(f"{server.url}/a") == PICTURE


def test_a_redirect_loop_ends() -> None:
    with serve({"*": redirect("/again")}) as server:
        assert failure(server.url).reason is Reason.TOO_MANY_REDIRECTS
        assert len(server.seen) == 4


def test_the_body_of_a_redirect_is_not_read() -> None:
    def endless(request: Request) -> None:
        request.send(b"HTTP/1.1 302 Go\r\nLocation: /x.jpg\r\n\r\n")
        while not request.stop.is_set():
            request.send(bytes(65536))

    with serve({"/endless": endless, "/x.jpg": body(PICTURE)}) as server:
        assert fetch(f"{server.url}/endless") == PICTURE


@pytest.mark.parametrize(
    ("location", "reason"),
    [
        ("", Reason.UNEXPECTED_STATUS),
        ("file:///etc/passwd", Reason.UNSUPPORTED_SCHEME),
        ("ftp://127.0.0.1/x", Reason.UNSUPPORTED_SCHEME),
        ("gopher://127.0.0.1/x", Reason.UNSUPPORTED_SCHEME),
        ("s3://bucket/key", Reason.UNSUPPORTED_SCHEME),
        ("data:image/png;base64,AAAA", Reason.UNSUPPORTED_SCHEME),
        ("http://169.254.169.254/latest/meta-data", Reason.BLOCKED_ADDRESS),
        ("http://[::ffff:169.254.169.254]/", Reason.BLOCKED_ADDRESS),
        ("//169.254.169.254/", Reason.BLOCKED_ADDRESS),
        ("http://10.0.0.1/", Reason.BLOCKED_ADDRESS),
        ("http://[", Reason.INVALID_URL),
        ("http://a b/", Reason.INVALID_URL),
        ("http://127.0.0.1:99999/", Reason.INVALID_URL),
    ],
)
def test_redirects_to_where_nobody_should_go(location: str, reason: Reason) -> None:
    with serve({"*": redirect(location)}) as server:
        assert failure(server.url).reason is reason
        assert len(server.seen) == 1


def test_a_redirect_is_checked_like_the_first_address() -> None:
    with serve({"*": body(PICTURE)}) as inner, serve({"*": redirect(f"{inner.url}/secret")}) as outer:
        only_outer = replace(PATIENT, allow_networks=(), allow_hosts=("outer.test",))
        resolver = Elsewhere("127.0.0.1")
        found = failure(f"http://outer.test:{outer.port}/", only_outer, resolver=resolver)
        assert found.reason is Reason.BLOCKED_ADDRESS
        assert inner.connections == 0


def test_loopback_is_blocked_by_default(server: Server) -> None:
    found = failure(f"{server.url}/x.jpg", replace(PATIENT, allow_networks=()))
    assert found.reason is Reason.BLOCKED_ADDRESS
    assert "fetch.allow_networks" in found.detail
    assert server.connections == 0


def test_other_ports_are_blocked_by_default(server: Server) -> None:
    found = failure(f"{server.url}/x.jpg", replace(PATIENT, allow_ports=()))
    assert found.reason is Reason.BLOCKED_PORT
    assert "fetch.allow_ports" in found.detail
    assert server.connections == 0


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "127.1",
        "0x7f000001",
        "0x7f.0.0.1",
        "2130706433",
        "0177.0.0.1",
        "017700000001",
        "127.0.0.1.",
        "localhost",
        "LOCALHOST.",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[::127.0.0.1]",
        "[64:ff9b::127.0.0.1]",
        "[2002:7f00:1::]",
        "0.0.0.0",
        "0",
        "127。0。0。1",
        "ⓛⓞⓒⓐⓛⓗⓞⓢⓣ",
        "no.invalid@127.0.0.1",
        "user:pass@127.0.0.1",
        "127.0.0.1%2f@127.0.0.1",
        "127.0.0.1#@no.invalid",
        "127.0.0.1\\@no.invalid",
        "localhost%00.no.invalid",
    ],
)
def test_no_spelling_reaches_loopback(host: str) -> None:
    with serve({"*": body(PICTURE)}) as server:
        head, mark, rest = host.partition("#")
        found = failure(f"http://{head}:{server.port}{mark}{rest}/x.jpg", replace(PATIENT, allow_networks=()))
        assert found.reason in {
            Reason.BLOCKED_ADDRESS,
            Reason.BLOCKED_PORT,
            Reason.INVALID_URL,
            Reason.DNS_FAILURE,
        }
        assert server.connections == 0


def test_a_name_that_changes_its_mind_is_asked_once(server: Server) -> None:
    resolver = Elsewhere("127.0.0.1", "10.0.0.1")
    assert fetch(f"http://rebind.test:{server.port}/x.jpg", resolver=resolver) == PICTURE
    assert resolver.asked == ["rebind.test"]


def test_public_then_private_is_caught_on_the_second_connection() -> None:
    resolver = Elsewhere("127.0.0.1", "127.0.0.2")
    first = replace(PATIENT, allow_networks=("127.0.0.1/32",))
    with serve({"*": redirect("http://other.test:1/")}) as server:
        found = failure(f"http://rebind.test:{server.port}/", first, resolver=resolver)
    assert found.reason is Reason.BLOCKED_ADDRESS
    assert resolver.asked == ["rebind.test", "other.test"]


def test_a_name_with_public_and_private_addresses_is_blocked(server: Server) -> None:
    def both(_: str, port: int) -> Resolved:
        return [*resolve("127.0.0.1", port), *resolve("10.0.0.1", port)]

    found = failure(f"http://both.test:{server.port}/x.jpg", resolver=both)
    assert found.reason is Reason.BLOCKED_ADDRESS
    assert server.connections == 0


def test_the_second_address_is_tried_when_the_first_refuses(server: Server) -> None:
    def two(_: str, port: int) -> Resolved:
        return [*resolve("127.0.0.9", port), *resolve("127.0.0.1", port)]

    assert fetch(f"http://two.test:{server.port}/x.jpg", resolver=two) == PICTURE
    assert server.seen[0].headers["host"] == f"two.test:{server.port}"


def test_credentials_go_to_their_origin_only(server: Server) -> None:
    with serve({"*": redirect(f"http://127.0.0.1:{server.port}/x.jpg")}) as first:
        assert fetch(f"http://us%40er:pa%3Ass@127.0.0.1:{first.port}/") == PICTURE
    assert first.seen[0].headers["authorization"] == "Basic dXNAZXI6cGE6c3M="
    assert "authorization" not in server.seen[0].headers


def test_credentials_survive_a_redirect_to_the_same_origin() -> None:
    with serve({"/a": redirect("/b"), "/b": body(PICTURE)}) as server:
        assert fetch(f"http://u:p@127.0.0.1:{server.port}/a") == PICTURE
        assert [request.headers["authorization"] for request in server.seen] == ["Basic dTpw"] * 2


@pytest.mark.parametrize(
    "url", ["http://u:s3cret@127.0.0.1:{port}/?sig=s3cret", "http://u:s3cret@no.invalid/?k=s3cret"]
)
def test_no_detail_tells_a_secret(url: str) -> None:
    def answer(request: Request) -> None:
        request.send(b"rubbish\r\n\r\n")

    with serve({"*": answer}) as server:
        found = failure(url.format(port=server.port))
    assert "s3cret" not in str(found)
    assert found.__cause__ is None


def test_netrc_and_proxies_of_the_environment_are_ignored(
    server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login u password p\n")
    monkeypatch.setenv("NETRC", str(netrc))
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9/")
    assert fetch(f"{server.url}/x.jpg") == PICTURE
    assert "authorization" not in server.seen[0].headers


def test_cookies_are_not_kept() -> None:
    with serve({"*": status(200, set_cookie="id=1; Path=/")}) as server:
        fetcher = WebFetcher(PATIENT)
        for _ in range(2):
            fetcher.fetch(server.url)
        fetcher.close()
        assert "cookie" not in server.seen[1].headers


def test_too_large_by_announcement() -> None:
    with serve({"*": status(200, content_length=LIMIT + 1)}) as server:
        assert failure(server.url).reason is Reason.TOO_LARGE


@pytest.mark.parametrize("length", ["99999999999999999999", str(10**400), "9" * 5000])
def test_absurd_announcements(length: str) -> None:
    with serve({"*": status(200, content_length=length)}) as server:
        assert failure(server.url).reason is Reason.TOO_LARGE


@pytest.mark.parametrize(
    ("head", "begin"),
    [
        (b"", b""),
        (b"Transfer-Encoding: chunked\r\n", b""),
        # urllib3 takes a negative length for all that comes.
        (b"Transfer-Encoding: chunked\r\n", b"-1\r\n"),
    ],
)
def test_an_endless_body_is_cut_at_the_limit(head: bytes, begin: bytes) -> None:
    def endless(request: Request) -> None:
        request.send(b"HTTP/1.1 200 OK\r\n" + head + b"\r\n" + begin)
        while not request.stop.is_set():
            request.send(b"4000\r\n" + bytes(0x4000) + b"\r\n")

    with serve({"*": endless}) as server:
        assert failure(server.url).reason is Reason.TOO_LARGE


def test_just_the_limit_is_allowed() -> None:
    with serve({"*": body(bytes(LIMIT))}) as server:
        assert len(fetch(server.url)) == LIMIT


def test_a_short_body_is_truncated() -> None:
    def short(request: Request) -> None:
        request.reply(body=PICTURE, content_length=len(PICTURE) + 10)
        request.socket.shutdown(socket.SHUT_RDWR)

    with serve({"*": short}) as server:
        assert failure(server.url).reason is Reason.TRUNCATED_BODY


def test_a_chunked_body_that_breaks_off_is_truncated() -> None:
    def short(request: Request) -> None:
        request.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n100\r\nabc")
        request.socket.shutdown(socket.SHUT_RDWR)

    with serve({"*": short}) as server:
        assert failure(server.url).reason is Reason.TRUNCATED_BODY


def test_what_comes_after_the_announced_length_is_no_answer() -> None:
    def smuggle(request: Request) -> None:
        request.reply(body=PICTURE + b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nbad", content_length=len(PICTURE))

    with serve({"*": smuggle}) as server:
        fetcher = WebFetcher(PATIENT)
        assert [fetcher.fetch(server.url) for _ in range(3)] == [PICTURE] * 3
        fetcher.close()


@pytest.mark.parametrize(
    ("encoding", "packed"),
    [
        ("gzip", gzip.compress(PICTURE)),
        ("x-gzip", gzip.compress(PICTURE)),
        ("deflate", zlib.compress(PICTURE)),
        ("deflate", zlib.compress(PICTURE)[2:-4]),
        ("identity", PICTURE),
    ],
)
def test_encodings_are_unpacked(encoding: str, packed: bytes) -> None:
    with serve({"*": lambda request: request.reply(body=packed, content_encoding=encoding)}) as server:
        assert fetch(server.url) == PICTURE


@pytest.mark.parametrize(
    ("encoding", "packed", "reason"),
    [
        ("gzip", gzip.compress(bytes(50 * 1024 * 1024)), Reason.TOO_LARGE),
        ("deflate", zlib.compress(bytes(50 * 1024 * 1024)), Reason.TOO_LARGE),
        ("gzip", gzip.compress(PICTURE)[:-20], Reason.TRUNCATED_BODY),
        ("gzip", b"no gzip at all", Reason.CORRUPT_IMAGE),
        ("br", b"whatever", Reason.NOT_AN_IMAGE),
        ("gzip, gzip", gzip.compress(gzip.compress(PICTURE)), Reason.NOT_AN_IMAGE),
    ],
)
def test_encodings_that_are_traps(encoding: str, packed: bytes, reason: Reason) -> None:
    with serve({"*": lambda request: request.reply(body=packed, content_encoding=encoding)}) as server:
        assert failure(server.url).reason is reason


def test_a_silent_server_is_left() -> None:
    def silent(request: Request) -> None:
        request.stop.wait(60)

    with serve({"*": silent}) as server:
        assert cut(server.url, HASTY_READ) is Reason.READ_TIMEOUT


@pytest.mark.parametrize(
    ("head", "tail"),
    [
        (b"", b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 50),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n", bytes(1000)),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n" * 100),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", b"X: y\r\n" * 100),
        (b"HTTP/1.1 200 OK\r\n\r\n", bytes(1000)),
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 50),
    ],
)
def test_what_drips_is_cut_at_the_deadline(head: bytes, tail: bytes) -> None:
    def answer(request: Request) -> None:
        request.send(head)
        request.drip(tail, 0.1)

    with serve({"*": answer}) as server:
        assert cut(server.url, HASTY) is Reason.TOTAL_TIMEOUT


def test_endless_interim_answers_end() -> None:
    def answer(request: Request) -> None:
        while not request.stop.is_set():
            request.send(b"HTTP/1.1 100 Continue\r\n\r\n" * 100)

    with serve({"*": answer}) as server:
        assert failure(server.url).reason is Reason.TOO_LARGE


def test_slow_redirects_share_one_deadline() -> None:
    def slow(request: Request) -> None:
        request.stop.wait(0.4)
        request.reply(302, location="/again")

    with serve({"*": slow}) as server:
        assert cut(server.url, replace(HASTY, max_redirects=50)) is Reason.TOTAL_TIMEOUT


@pytest.mark.parametrize(
    "answer",
    [b"", b"\r\n", b"SSH-2.0-OpenSSH_9.2\r\n", b"HTTP/9.9 what\r\n\r\n", b"HTTP/1.1 abc OK\r\n\r\n", b"\x00" * 1000],
)
def test_what_is_no_http(answer: bytes) -> None:
    def send(request: Request) -> None:
        request.send(answer)
        request.socket.shutdown(socket.SHUT_RDWR)

    with serve({"*": send}) as server:
        assert failure(server.url).reason is Reason.CONNECTION_FAILED


@pytest.mark.parametrize("head", [b"X: " + b"y" * 100_000 + b"\r\n", b"X: y\r\n" * 500])
def test_a_flood_of_headers(head: bytes) -> None:
    with serve({"*": lambda request: request.send(b"HTTP/1.1 200 OK\r\n" + head + b"\r\n")}) as server:
        assert failure(server.url).reason is Reason.CONNECTION_FAILED


def test_nothing_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    assert failure(f"http://127.0.0.1:{port}/").reason is Reason.CONNECTION_REFUSED


def test_nobody_answers_the_call() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        port = listener.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)), socket.socket() as second:
            second.setblocking(False)  # noqa: FBT003 - socket's own signature
            second.connect_ex(("127.0.0.1", port))
            assert cut(f"http://127.0.0.1:{port}/", HASTY_CONNECT) is Reason.CONNECT_TIMEOUT


def test_a_name_without_an_address() -> None:
    def none(_: str, __: int) -> Resolved:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    assert failure("http://no-such-host.invalid/", resolver=none).reason is Reason.DNS_FAILURE
    assert failure("http://no-such-host.invalid/", resolver=lambda _, __: []).reason is Reason.DNS_FAILURE


def test_a_resolver_that_hangs() -> None:
    release = threading.Event()

    def hang(_: str, __: int) -> Resolved:
        release.wait(60)
        return []

    assert cut("http://slow.test/", HASTY_CONNECT, hang) is Reason.DNS_FAILURE
    release.set()


@pytest.mark.parametrize("host", ["a" * 64 + ".example", "." * 10, "a..b", "xn--\u00fc"])
def test_names_that_are_none(host: str) -> None:
    assert failure(f"http://{host}/").reason in {Reason.INVALID_URL, Reason.DNS_FAILURE}


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for 127.0.0.1 and its key in one file, signed by itself."""
    folder = tmp_path_factory.mktemp("tls")
    key, made, both = folder / "key.pem", folder / "cert.pem", folder / "both.pem"
    names = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1,DNS:tls.test"]
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
    subprocess.run([*command, "-keyout", str(key), "-out", str(made), *names], check=True, capture_output=True)
    both.write_text(made.read_text() + key.read_text())
    return both


def test_tls_needs_trust(certificate: Path) -> None:
    with serve({"*": body(PICTURE)}, certificate=certificate) as server:
        assert failure(server.url).reason is Reason.TLS_FAILURE
        assert fetch(server.url, replace(PATIENT, ca_file=str(certificate))) == PICTURE
        assert server.seen[0].headers["host"] == f"127.0.0.1:{server.port}"


def test_tls_is_held_against_the_name(certificate: Path) -> None:
    trusting = replace(PATIENT, ca_file=str(certificate))
    with serve({"*": body(PICTURE)}, certificate=certificate) as server:
        elsewhere = Elsewhere("127.0.0.1")
        assert fetch(f"https://tls.test:{server.port}/", trusting, resolver=elsewhere) == PICTURE
        wrong = failure(f"https://other.test:{server.port}/", trusting, resolver=elsewhere)
        assert wrong.reason is Reason.TLS_FAILURE


def test_plain_http_where_tls_was_asked_for() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            end, _ = listener.accept()
            with end:
                end.recv(1)
                end.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        assert failure(f"https://127.0.0.1:{listener.getsockname()[1]}/").reason is Reason.TLS_FAILURE
        thread.join(5)


def test_a_handshake_that_hangs() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        reason = cut(f"https://127.0.0.1:{listener.getsockname()[1]}/", HASTY_CONNECT)
    assert reason is Reason.CONNECT_TIMEOUT


def test_dripping_under_tls_is_cut_at_the_deadline(certificate: Path) -> None:
    def answer(request: Request) -> None:
        request.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        request.drip(bytes(1000), 0.1)

    with serve({"*": answer}, certificate=certificate) as server:
        assert cut(server.url, replace(HASTY, ca_file=str(certificate))) is Reason.TOTAL_TIMEOUT


def test_a_missing_trust_file_is_told() -> None:
    with pytest.raises(OSError, match=r"^fetch\.ca_file: /nowhere\.pem "):
        WebFetcher(replace(PATIENT, ca_file="/nowhere.pem"), clock=SystemClock())
