"""Who may call: whoever has the bearer token; without one, whoever is on this machine. `door` asks for it."""

import hmac
from collections.abc import Sequence
from ipaddress import ip_address
from pathlib import Path

from daemon.errors import ConfigurationError

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
        """Whether this Authorization header will do. The token is compared in constant time; of the scheme, no case
        counts (RFC 9110, 11.1).
        """
        if self.value is None:
            return True
        scheme, _, given = authorization.partition(b" ")
        return hmac.compare_digest(given.lstrip(b" "), self.value.encode()) and scheme.lower() == b"bearer"


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
