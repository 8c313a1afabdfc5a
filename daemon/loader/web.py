"""Pictures from http and https addresses: redirects by hand, answers judged by their status, nothing taken on trust."""

import base64
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http.client import IncompleteRead
from ssl import SSLContext
from urllib.parse import SplitResult, unquote_to_bytes, urljoin, urlsplit

import requests
import urllib3
from requests.exceptions import RequestException

from daemon.clock import Clock, SystemClock
from daemon.errors import Reason
from daemon.loader.body import gather
from daemon.loader.gate import Gate, Resolve, resolve
from daemon.loader.guard import make_rules
from daemon.loader.location import Kind, parse
from daemon.loader.options import FetchOptions
from daemon.loader.problem import LoadError
from daemon.loader.transport import GuardedAdapter, make_trust

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_PIECE = 4 * 1024 * 1024
"""What is read of a body at a time: most pictures come in one piece, which nobody has to put together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """An address without its credentials, and those apart. `origin`: who may be told them."""

    url: str
    origin: tuple[str, str, int | None]
    credentials: str | None


class WebFetcher:
    """Fetches for one thread; keeps its connections from one image to the next.

    `trust` may be shared by several threads: to read certifi's list took 50 ms of processor time (two busy AMD EPYC
    vCPUs). Raises `OSError` where it is not given and `ca_file` cannot be read.
    """

    def __init__(
        self,
        options: FetchOptions,
        *,
        trust: SSLContext | None = None,
        clock: Clock | None = None,
        resolver: Resolve = resolve,
    ) -> None:
        self._options = options
        self._gate = Gate(options, make_rules(options), clock or SystemClock(), resolver)
        self._adapter = GuardedAdapter(self._gate, trust or make_trust(options.ca_file))

    def close(self) -> None:
        self._adapter.close()

    def fetch(self, url: str) -> bytes:
        """The body of the answer, unpacked. Raises `LoadError`."""
        self._gate.start()
        target = take_apart(url)
        known = {target.origin: target.credentials}
        for _ in range(self._options.max_redirects + 1):
            with closing(self._ask(target.url, known.get(target.origin))) as answer:
                if answer.status_code not in _REDIRECTS:
                    return self._accept(answer)
                target = follow(target, answer.headers.get("Location"))
            if target.credentials:
                known[target.origin] = target.credentials
        raise LoadError(Reason.TOO_MANY_REDIRECTS, f"limit {self._options.max_redirects}")

    def _ask(self, url: str, credentials: str | None) -> requests.Response:
        self._gate.ask()
        headers = {
            "User-Agent": self._options.user_agent,
            "Accept": "image/*,*/*;q=0.5",
            "Accept-Encoding": "identity",
        }
        if credentials:
            headers["Authorization"] = f"Basic {credentials}"
        try:
            request = requests.Request("GET", url, headers=headers).prepare()
        except (RequestException, ValueError):
            raise LoadError(Reason.INVALID_URL) from None
        try:
            return self._send(request)
        except requests.ConnectionError:
            if self._gate.opened:
                raise
            return self._send(request)  # The server had closed the kept connection.

    def _send(self, request: requests.PreparedRequest) -> requests.Response:
        limits = (self._options.connect_timeout, self._options.read_timeout)
        try:
            return self._adapter.send(request, stream=True, timeout=limits)
        except requests.ConnectionError as error:
            if self._gate.opened:
                raise self._explain(error) from None
            raise
        except (RequestException, urllib3.exceptions.HTTPError, OSError, ValueError) as error:
            raise self._explain(error) from None

    def _accept(self, answer: requests.Response) -> bytes:
        check_status(answer.status_code, wait_of(answer.headers.get("Retry-After"), answer.headers.get("Date")))
        limit = self._options.max_bytes
        announced = answer.headers.get("Content-Length", "")
        if announced.isascii() and announced.isdigit() and _exceeds(announced, limit):
            raise LoadError(Reason.TOO_LARGE, f"{announced[:20]} bytes announced, limit {limit}")
        try:
            return gather(_pieces(answer), answer.headers.get("Content-Encoding", ""), limit)
        except (urllib3.exceptions.HTTPError, OSError, ValueError) as error:
            raise self._explain(error) from None

    def _explain(self, error: Exception) -> LoadError:
        """The reason for what requests or urllib3 raised. Their texts hold whole URLs, so none of them is kept."""
        self._gate.left()  # Past the deadline, whatever broke broke for that.
        return LoadError(_reason(error))


def _exceeds(announced: str, limit: int) -> bool:
    """Python makes no number of thousands of digits."""
    digits = announced.lstrip("0")
    return len(digits) > len(str(limit)) or int(digits or "0") > limit


def _pieces(answer: requests.Response) -> Iterator[bytes]:
    yield from answer.raw.stream(_PIECE, decode_content=False)


def _reason(error: Exception) -> Reason:
    match error:
        case requests.exceptions.SSLError() | urllib3.exceptions.SSLError():
            return Reason.TLS_FAILURE
        case requests.exceptions.InvalidURL() | urllib3.exceptions.LocationValueError():
            return Reason.INVALID_URL
        case requests.exceptions.Timeout() | urllib3.exceptions.TimeoutError() | TimeoutError():
            return Reason.READ_TIMEOUT
        case IncompleteRead() | urllib3.exceptions.ProtocolError(args=(_, IncompleteRead())):
            return Reason.TRUNCATED_BODY
        case _:
            return Reason.CONNECTION_FAILED


def take_apart(url: str) -> Target:
    """The address as it is asked for, and the credentials that stood in it. Raises `LoadError` (invalid_url)."""
    try:
        parts = urlsplit(url.strip())
        origin = (parts.scheme.lower(), (parts.hostname or "").rstrip("."), parts.port)
    except ValueError:
        raise LoadError(Reason.INVALID_URL) from None
    plain = parts._replace(netloc=parts.netloc.rpartition("@")[2], fragment="")
    return Target(url=plain.geturl(), origin=origin, credentials=_credentials(parts))


def _credentials(parts: SplitResult) -> str | None:
    """The value of a Basic Authorization header (RFC 7617), in UTF-8; None where there are none."""
    if parts.username is None:
        return None
    pair = unquote_to_bytes(parts.username) + b":" + unquote_to_bytes(parts.password or "")
    return base64.b64encode(pair).decode("ascii")


def follow(target: Target, location: str | None) -> Target:
    """Where a redirect leads. Raises `LoadError` when that is nowhere, or no web address."""
    if not location:
        raise LoadError(Reason.UNEXPECTED_STATUS, "a redirect without a Location")
    try:
        # http.client reads headers as Latin-1; servers that do not quote mean UTF-8.
        place = parse(urljoin(target.url, location.encode("latin-1").decode("utf-8", "replace")))
    except ValueError:
        raise LoadError(Reason.INVALID_URL, "a redirect to something that is no URL") from None
    if place.kind is not Kind.WEB:
        raise LoadError(Reason.UNSUPPORTED_SCHEME, f"a redirect to {place.scheme}:")
    return take_apart(place.target)


def check_status(status: int, retry_after: float | None) -> None:
    """Raises `LoadError` for every answer but one with a whole picture in it. `retry_after` in seconds."""
    match status:
        case 200 | 203:
            return
        case 404:
            raise LoadError(Reason.NOT_FOUND)
        case 410:
            raise LoadError(Reason.GONE)
        case 401 | 403:
            raise LoadError(Reason.FORBIDDEN, str(status))
        case 408:
            raise LoadError(Reason.READ_TIMEOUT, str(status))
        case 429:
            raise LoadError(Reason.RATE_LIMITED, retry_after=retry_after)
    if 400 <= status < 500:
        raise LoadError(Reason.HTTP_CLIENT_ERROR, str(status))
    if 500 <= status < 600:
        raise LoadError(Reason.HTTP_SERVER_ERROR, str(status), retry_after=retry_after)
    raise LoadError(Reason.UNEXPECTED_STATUS, str(status))


def wait_of(retry_after: str | None, date: str | None) -> float | None:
    """A Retry-After header in seconds: it holds seconds or a date (RFC 9110, 10.2.3). None for nonsense.

    A date is one of the server's clock, so it counts from that of its answer (`date`), where there is one.
    """
    text = (retry_after or "").strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    when = _moment(text)
    return None if when is None else max(0.0, (when - (_moment(date or "") or datetime.now(UTC))).total_seconds())


def _moment(text: str) -> datetime | None:
    try:
        when = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    return when if when.tzinfo is not None else when.replace(tzinfo=UTC)
