"""What each connection goes through: to checked addresses only, and never past the deadline.

The name is resolved once, all its addresses are checked, and the connection goes to one of exactly those: a second
answer of the DNS changes nothing, and every redirect comes through here again. Each single read waits at most for the
read timeout and for what is left of the total, so that dripping headers and bodies end in time like silence does.
"""

import socket
import ssl
import threading
from collections.abc import Callable
from typing import Any

from daemon.clock import Clock
from daemon.errors import Reason
from daemon.loader.guard import Rules, check_addresses, check_port
from daemon.loader.options import FetchOptions
from daemon.loader.problem import LoadError

SockAddress = tuple[Any, ...]
Resolved = list[tuple[int, SockAddress]]
"""Address family and socket address of each address of a host."""
Resolve = Callable[[str, int], Resolved]

OVERHEAD, HEADERS = 4, 1 << 20
"""What may arrive for one fetch: so many times `fetch.max_bytes`, since chunks have frames, and so many bytes more."""


def resolve(host: str, port: int) -> Resolved:
    """The host's addresses, as the system gives them. Raises `OSError` (gaierror) and `UnicodeError`."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [(family, address) for family, _, _, _, address in found]


class Gate:
    """What one thread's connections go through: the rules, and the deadline of the fetch that it is at."""

    def __init__(self, options: FetchOptions, rules: Rules, clock: Clock, resolver: Resolve = resolve) -> None:
        self._options = options
        self._rules = rules
        self._clock = clock
        self._resolver = resolver
        self._deadline = 0.0
        self._room = 0
        self.opened = 0
        """Connections made for this request; none means that a kept one was used."""

    def start(self) -> None:
        """A fetch begins."""
        self._deadline = self._clock.monotonic() + self._options.total_timeout
        self._room = OVERHEAD * self._options.max_bytes + HEADERS

    def ask(self) -> None:
        """A request of it begins."""
        self.opened = 0

    def took(self, size: int) -> int:
        """So many bytes have come. Raises `LoadError` (too_large) when nobody should read on, whatever was announced:
        http.client and urllib3 take some announcements for "all that comes", and hold it.
        """
        self._room -= size
        if self._room < 0:
            raise LoadError(Reason.TOO_LARGE, f"limit {self._options.max_bytes}")
        return size

    def left(self) -> float:
        """Seconds left. Raises `LoadError` (total_timeout) when there are none."""
        left = self._deadline - self._clock.monotonic()
        if left <= 0:
            raise LoadError(Reason.TOTAL_TIMEOUT, f"limit {self._options.total_timeout:g} s")
        return left

    def patience(self) -> float:
        """Seconds that one read may wait."""
        return min(self._options.read_timeout, self.left())

    def connect(self, host: str, port: int) -> socket.socket:
        """A connection to one of the host's checked addresses. Raises `LoadError`."""
        check_port(port, self._rules)
        ends = self._clock.monotonic() + min(self._options.connect_timeout, self.left())
        addresses = self._look_up(host, port, ends - self._clock.monotonic())
        check_addresses(host, [str(address[0]) for _, address in addresses], self._rules)
        self.opened += 1
        problem: OSError = TimeoutError()
        for tried, (family, address) in enumerate(addresses):
            share = (ends - self._clock.monotonic()) / (len(addresses) - tried)
            if share <= 0:
                break
            try:
                return self._connect(family, address, share)
            except OSError as error:
                problem = error
        raise _connect_problem(problem)

    def _connect(self, family: int, address: SockAddress, timeout: float) -> socket.socket:
        end = GuardedSocket(family, socket.SOCK_STREAM)
        end.gate = self
        try:
            end.settimeout(timeout)
            end.connect(address)
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            end.settimeout(min(self._options.connect_timeout, self.left()))  # For the TLS handshake, if there is one.
        except BaseException:
            end.close()
            raise
        return end

    def _look_up(self, host: str, port: int, timeout: float) -> Resolved:
        """The system's resolver knows no deadline, so it is asked in a thread that can be left behind."""
        answer: list[Resolved | Exception] = []

        def ask() -> None:
            try:
                answer.append(self._resolver(host, port))
            except Exception as error:  # noqa: BLE001 - told in the thread that waits
                answer.append(error)

        thread = threading.Thread(target=ask, name="resolve", daemon=True)
        thread.start()
        thread.join(timeout)
        match answer:
            case []:
                raise LoadError(Reason.DNS_FAILURE, f"no answer within {timeout:.1f} s")
            case [UnicodeError()]:
                raise LoadError(Reason.INVALID_URL, "the host is no name")
            case [Exception()] | [[]]:
                raise LoadError(Reason.DNS_FAILURE, "the name does not resolve")
            case [list() as found]:
                return found
        raise AssertionError(answer)


def _connect_problem(error: OSError) -> LoadError:
    match error:
        case ConnectionRefusedError():
            return LoadError(Reason.CONNECTION_REFUSED)
        case TimeoutError():
            return LoadError(Reason.CONNECT_TIMEOUT)
        case _:
            return LoadError(Reason.CONNECTION_FAILED, error.strerror or type(error).__name__)


class GuardedSocket(socket.socket):
    """A socket whose every read respects the deadline and the limit."""

    gate: Gate

    def recv_into(self, *args: Any, **kwargs: Any) -> int:
        self.settimeout(self.gate.patience())
        return self.gate.took(super().recv_into(*args, **kwargs))


class GuardedTLSSocket(ssl.SSLSocket):
    """The same under TLS."""

    gate: Gate

    def recv_into(self, *args: Any, **kwargs: Any) -> int:
        self.settimeout(self.gate.patience())
        return self.gate.took(super().recv_into(*args, **kwargs))
