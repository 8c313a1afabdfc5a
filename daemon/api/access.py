"""Who may call: a bearer token for everything but health, metrics and the console's page; without one, loopback."""

import hmac
import re
from collections.abc import Callable, Mapping, Sequence
from ipaddress import ip_address
from pathlib import Path

from starlette.types import ASGIApp, Receive, Scope, Send

from daemon.api.problems import Problem, stopping
from daemon.errors import ConfigurationError

OPEN_PATHS = frozenset({"/health", "/ready", "/metrics"})
PAGE = "/"
PAGE_FILES = "/console/"
"""The console's page and what it is made of are for anyone: there is nothing in them but what is in the source."""
LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})


def read_token(file: str) -> str | None:
    """The token that `http.token_file` holds; None where no file is named. Raises `ConfigurationError`."""
    if not file:
        return None
    try:
        token = Path(file).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"http.token_file: {file} cannot be read: {error}") from error
    if not token:
        raise ConfigurationError(f"http.token_file: {file} is empty")
    return token


def refuse_open_door(host: str, token: str | None, *, allow_anonymous: bool) -> None:
    """Raises `ConfigurationError` when anyone on the network could call."""
    if token or allow_anonymous or _is_loopback(host):
        return
    raise ConfigurationError(
        f"http.host: {host} is not loopback, so anyone who reaches it could call: "
        "set http.token_file to a file that holds a token, or http.allow_anonymous = true"
    )


def admission(token_file: str, host: str, *, allow_anonymous: bool) -> str | None:
    """The token that callers need, None where none is. Raises `ConfigurationError` for a door that stands open."""
    token = read_token(token_file)
    refuse_open_door(host, token, allow_anonymous=allow_anonymous)
    return token


class Token:
    """The bearer token of this moment; None where callers need none. A reload may replace it."""

    def __init__(self, value: str | None) -> None:
        self.value = value

    def admits(self, authorization: bytes) -> bool:
        """Whether this Authorization header will do. Compared in constant time."""
        return self.value is None or hmac.compare_digest(authorization, f"Bearer {self.value}".encode())


class Door:
    """A middleware that answers 401 to calls without the token, 421 to those that mean another host, and 503 to all
    others once it is `closing`.

    The Host header keeps out web pages of strangers, whose names resolve to
    this machine (DNS rebinding); `hosts` are the names that may be used, None for any. Probes come by any name, and
    are answered until the end.
    """

    def __init__(
        self, app: ASGIApp, *, token: Token, hosts: frozenset[str] | None, closing: Callable[[], bool]
    ) -> None:
        self._app = app
        self._token = token
        self._hosts = hosts
        self._closing = closing

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        problem = None
        if scope["type"] == "http" and scope["path"] not in OPEN_PATHS:
            problem = self._objection(dict(scope["headers"]), is_page=_is_page(scope["path"]))
        await (problem.response() if problem else self._app)(scope, receive, send)

    def _objection(self, headers: Mapping[bytes, bytes], *, is_page: bool) -> Problem | None:
        host = host_name(headers.get(b"host", b"").decode("latin-1"))
        if self._hosts is not None and host not in self._hosts:
            return Problem(
                421, "unknown_host", "this daemon has another name; http.allow_hosts lists those it answers to"
            )
        if not is_page and not self._token.admits(headers.get(b"authorization", b"")):
            problem = Problem(401, "unauthorized", "a bearer token is needed (http.token_file)")
            problem.headers = {"WWW-Authenticate": "Bearer"}
            return problem
        return stopping() if self._closing() and not is_page else None


def _is_page(path: str) -> bool:
    return path == PAGE or path.startswith(PAGE_FILES)


def host_name(header: str) -> str:
    """A Host header without its port."""
    return re.sub(r":\d*$", "", header).strip("[]").lower()


def allowed_hosts(host: str, allow_hosts: Sequence[str]) -> frozenset[str] | None:
    """The names that a daemon bound to `host` answers to: None, any, where it is not loopback and none are listed."""
    names = {name.lower() for name in allow_hosts}
    if _is_loopback(host):
        return frozenset(names | LOOPBACK_NAMES | {host.lower()})
    return frozenset(names) or None


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
