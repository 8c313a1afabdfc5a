"""Who is let in: with the token, by a name of this daemon; anybody to health, metrics and the console's page."""

import re
from collections.abc import Callable, Mapping

from starlette.types import ASGIApp, Receive, Scope, Send

from daemon.api.access import Token
from daemon.api.problems import Problem, stopping

OPEN_PATHS = frozenset({"/health", "/ready", "/metrics"})
PAGE = "/"
PAGE_FILES = "/console/"
"""The console's page and what it is made of are for anyone: there is nothing in them but what is in the source."""


class Door:
    """A middleware that answers 401 to calls without the token, 421 to those that mean another host, and 503 to all
    others once it is `closing`.

    The Host header keeps out web pages of strangers, whose names resolve to this machine (DNS rebinding); `hosts` are
    the names that may be used, None for any. Probes come by any name, and are answered until the end.
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
