"""What a location is: a web address, a file, an object in a store; decided by its text alone.

A location that starts with `scheme://` is a URL; anything else is a path, except for the few schemes that go without
slashes. Both sides use this: the parent to tell hosts apart, the child to fetch.
"""

import re
from dataclasses import dataclass
from enum import StrEnum
from urllib.parse import unquote, urlsplit

from daemon.errors import Reason
from daemon.loader.problem import LoadError

LONGEST = 8192
"""Bytes of UTF-8. Longer than any server takes, and one packet to a child holds it."""

_SCHEME = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*):(?P<slashes>/*)")
_WITHOUT_SLASHES = frozenset({"http", "https", "file", "data", "blob", "about", "cid", "javascript", "mailto", "urn"})
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


class Kind(StrEnum):
    """Who fetches it."""

    WEB = "web"
    FILE = "file"
    STORE = "store"


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A location taken apart: for `WEB` and `STORE` the URL, for `FILE` the path."""

    kind: Kind
    scheme: str
    target: str


def parse(location: str) -> Place:
    """What this location is. Raises `LoadError` (empty_location, invalid_url, unsupported_scheme)."""
    text = location.strip()
    if not text:
        raise LoadError(Reason.EMPTY_LOCATION)
    if _CONTROL.search(text) or is_too_long(text):
        raise LoadError(Reason.INVALID_URL, "control characters, or too long")
    scheme = scheme_of(text)
    match scheme:
        case "":
            return _path(text)
        case "http" | "https":
            return _web(scheme, text)
        case "file":
            return _file_url(text)
        case _:
            return Place(kind=Kind.STORE, scheme=scheme, target=text)


def is_too_long(text: str) -> bool:
    """Whether no packet to a child could hold it."""
    return len(text.encode("utf-8", "replace")) > LONGEST


def scheme_of(text: str) -> str:
    """The scheme in lower case; empty for a path."""
    found = _SCHEME.match(text)
    if found is None:
        return ""
    scheme = found["scheme"].lower()
    return scheme if found["slashes"].startswith("//") or scheme in _WITHOUT_SLASHES else ""


def host_key(location: str) -> str:
    """What shares a server with this location: scheme, host and port; empty for files. Never raises."""
    try:
        place = parse(location)
        parts = urlsplit(place.target)
        if place.kind is Kind.FILE or not parts.hostname:
            return ""
        port = parts.port or {"http": 80, "https": 443}.get(place.scheme, 0)
    except (LoadError, ValueError):
        return ""
    return f"{place.scheme}://{parts.hostname.rstrip('.')}:{port}"


def _web(scheme: str, text: str) -> Place:
    try:
        parts = urlsplit(text)
        usable = bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        usable = False
    if not usable:
        raise LoadError(Reason.INVALID_URL, "no usable host or port")
    return Place(kind=Kind.WEB, scheme=scheme, target=text)


def _path(text: str) -> Place:
    if text.startswith("//"):
        raise LoadError(Reason.INVALID_URL, "it begins with // and names no scheme")
    return Place(kind=Kind.FILE, scheme="file", target=text)


def _file_url(text: str) -> Place:
    """`file:///path`, `file://localhost/path` and `file:/path`, per RFC 8089."""
    try:
        parts = urlsplit(text)
    except ValueError:
        raise LoadError(Reason.INVALID_URL) from None
    if parts.netloc.lower() not in {"", "localhost"}:
        raise LoadError(Reason.INVALID_URL, "a file URL names another host")
    path = unquote(parts.path)
    if not path.startswith("/") or _CONTROL.search(path):
        raise LoadError(Reason.INVALID_URL, "a file URL needs an absolute path")
    return Place(kind=Kind.FILE, scheme="file", target=path)
