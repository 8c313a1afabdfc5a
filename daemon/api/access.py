"""Who may call: a bearer token for everything but health and metrics, and loopback alone where there is none."""

import hmac
from collections.abc import Awaitable, Callable
from ipaddress import ip_address
from pathlib import Path

from fastapi import Request, Response
from fastapi.responses import JSONResponse

from daemon.errors import ConfigurationError

OPEN_PATHS = frozenset({"/health", "/ready", "/metrics"})

CallNext = Callable[[Request], Awaitable[Response]]


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


def guard(token: str) -> Callable[[Request, CallNext], Awaitable[Response]]:
    """A middleware that answers 401 to calls without the token. Compared in constant time."""
    expected = f"Bearer {token}".encode()

    async def check(request: Request, call_next: CallNext) -> Response:
        given = request.headers.get("authorization", "").encode()
        if request.url.path in OPEN_PATHS or hmac.compare_digest(given, expected):
            return await call_next(request)
        return JSONResponse({"reason": "unauthorized"}, 401, headers={"WWW-Authenticate": "Bearer"})

    return check


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
