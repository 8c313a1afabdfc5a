"""Who is let in: with the token, by a name of this daemon; anybody to health, metrics and the console's page."""

import re
from collections.abc import Callable, Collection, Mapping
from urllib.parse import urlsplit

from starlette.types import ASGIApp, Receive, Scope, Send

from daemon.api.access import Token
from daemon.api.problems import Problem, stopping

OPEN_PATHS = frozenset({"/health", "/ready", "/metrics"})
PAGE = "/"
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
PAGE_FILES = "/console/"
"""The console's page and what it is made of are for anyone: there is nothing in them but what is in the source."""


class Door:
    """A middleware that answers 401 to calls without the token, 421 to those that mean another host, 403 to those of
    strangers' web pages, and 503 to all others once it is `closing`.

    The Host header keeps out pages whose names resolve to this machine (DNS rebinding); `hosts` are the names that may
    be used, None for any. Other pages could not read an answer, but would set work going where no token is asked for,
    by a picture's address already: only those of `origins` may. A link to here may be followed from anywhere. Probes
    come by any name, and are answered until the end.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        token: Token,
        hosts: frozenset[str] | None,
        origins: Collection[str],
        closing: Callable[[], bool],
    ) -> None:
        self._app = app
        self._token = token
        self._hosts = hosts
        self._origins = origins
        self._closing = closing

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        problem = None
        if scope["type"] == "http" and scope["path"] not in OPEN_PATHS:
            problem = self._objection(scope["method"], _headers(scope), is_page=_is_page(scope["path"]))
        await (problem.response() if problem else self._app)(scope, receive, send)

    def _objection(self, method: str, headers: Mapping[bytes, bytes], *, is_page: bool) -> Problem | None:
        host = host_name(headers.get(b"host", b"").decode("latin-1"))
        if self._hosts is not None and host not in self._hosts:
            return Problem(
                421, "unknown_host", "this daemon has another name; http.allow_hosts lists those it answers to"
            )
        if not is_page and not self._token.admits(headers.get(b"authorization", b"")):
            problem = Problem(401, "unauthorized", "a bearer token is needed (http.token_file)")
            problem.headers = {"WWW-Authenticate": "Bearer"}
            return problem
        harmless = is_page or (method in SAFE_METHODS and _is_link(headers))
        if self._token.value is None and not harmless and is_of_a_stranger(headers, self._origins):
            return Problem(403, "cross_site", "a page of another origin calls; http.cors_origins lists those that may")
        return stopping() if self._closing() and not is_page else None


def _headers(scope: Scope) -> Mapping[bytes, bytes]:
    """By name. Two hosts are no name of anybody's, whichever of them others have gone by."""
    hosts = [value for name, value in scope["headers"] if name == b"host"]
    return dict(scope["headers"]) | {b"host": b", ".join(hosts)}


def is_of_a_stranger(headers: Mapping[bytes, bytes], origins: Collection[str]) -> bool:
    """Whether a browser sends this for a page that is neither this daemon's nor of one of these origins.

    What is no browser sends neither header. Source: the algorithm of Go's `http.CrossOriginProtection`.
    """
    origin = headers.get(b"origin", b"").decode("latin-1")
    if origin in origins:
        return False
    if site := headers.get(b"sec-fetch-site"):
        return site not in {b"same-origin", b"none"}
    return bool(origin) and _netloc(origin) != headers.get(b"host", b"").decode("latin-1")


def _netloc(origin: str) -> str | None:
    """Its host and port; None for what no browser would send."""
    try:
        return urlsplit(origin).netloc
    except ValueError:
        return None


def _is_link(headers: Mapping[bytes, bytes]) -> bool:
    """Whether a browser goes to another page by this. Frames, too, are navigated, and a page may have many of them."""
    return headers.get(b"sec-fetch-mode") == b"navigate" and headers.get(b"sec-fetch-dest") == b"document"


def _is_page(path: str) -> bool:
    return path == PAGE or path.startswith(PAGE_FILES)


def host_name(header: str) -> str:
    """A Host header without its port."""
    return re.sub(r":\d*$", "", header).strip("[]").lower()
