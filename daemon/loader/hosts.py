"""How hard each host may be pressed: a limit, a circuit breaker, and what the host itself asked for. Pure.

A host that fails several times in a row is left alone for a while; then one image probes it, and its answer decides.
A host that answers 429 is left alone for as long as it says, and gets fewer images at a time afterwards. When all that
used to answer falls silent at once, the network is taken to be down, and every host is left alone together.

What a failure costs: an image that found out by its own attempt that a host is away pays for it. It does not where the
network seems down, or where the host is known to have answered within a day and has been left alone since, or asks to
wait, or could not even be asked twice in a row: then the fault is not the image's.
"""

import math
from collections import OrderedDict
from dataclasses import dataclass
from enum import Enum, auto

from daemon.errors import Reason

THRESHOLD = 5
"""Failures in a row that close a host."""
SILENT_HOSTS = 5
"""So many hosts that used to answer, failing in a row without one good answer, are a network that is down."""
LONGEST_PAUSE_FACTOR = 6.0
"""In first pauses. An image whose host never answers is dead only after some probes, so they must not be too rare."""
LONGEST_ASKED = 3600.0
"""Seconds. A server that asks for more is asked again sooner."""
REMEMBERED = 86_400.0
"""Seconds for which a host that once answered is given credit."""
UNKNOWN_HOSTS = 20
"""So many hosts failing in a row, none of them ever heard, look like a network that is down, too..."""
MOST_EXCUSED = 3
"""...but a host that has never answered is given that benefit so often at most."""
SPACING = 0.01
"""In first pauses, between the return of two images of a host that is left alone, lest they all return at once."""
LONGEST_SPREAD = 60.0
"""In first pauses, between the return of the first and the last of them."""
KEPT = 10_000
"""Hosts remembered at most."""

UNREACHABLE = frozenset(
    {
        Reason.DNS_FAILURE,
        Reason.CONNECTION_REFUSED,
        Reason.CONNECTION_FAILED,
        Reason.CONNECT_TIMEOUT,
        Reason.READ_TIMEOUT,
        Reason.TOTAL_TIMEOUT,
    }
)
BEFORE_ASKING = frozenset({Reason.DNS_FAILURE, Reason.CONNECTION_REFUSED, Reason.CONNECT_TIMEOUT, Reason.TLS_FAILURE})
"""What happens before a host hears which image is wanted."""
HOST_FAULTS = UNREACHABLE | {Reason.TLS_FAILURE, Reason.HTTP_SERVER_ERROR}
NO_VERDICT = frozenset(
    {
        Reason.EMPTY_LOCATION,
        Reason.INVALID_URL,
        Reason.UNSUPPORTED_SCHEME,
        Reason.BLOCKED_ADDRESS,
        Reason.BLOCKED_PORT,
        Reason.LOADER_LOST,
    }
)
"""Reasons that say nothing about the host: it was not asked."""


class Answer(Enum):
    """What a fetch says about the host."""

    GOOD = auto()
    BAD = auto()
    WAIT = auto()
    SILENT = auto()


def answer_of(reason: Reason | None) -> Answer:
    """What this end of a fetch (None: it went well) says about its host."""
    if reason is None:
        return Answer.GOOD
    if reason is Reason.RATE_LIMITED:
        return Answer.WAIT
    if reason in HOST_FAULTS:
        return Answer.BAD
    return Answer.SILENT if reason in NO_VERDICT else Answer.GOOD


@dataclass(slots=True)
class Breaker:
    """Closed after several failures in a row, for a pause that doubles; one probe at a time opens it again."""

    failures: int = 0
    trips: int = 0
    until: float = 0.0

    def good(self) -> None:
        self.failures, self.trips, self.until = 0, 0, 0.0

    def bad(self, now: float, pause: float) -> None:
        self.failures += 1
        if now >= self.until and self.failures >= THRESHOLD:
            self.until = now + pause * min(2.0**self.trips, LONGEST_PAUSE_FACTOR)
            self.trips += 1

    @property
    def probing(self) -> bool:
        return self.trips > 0


@dataclass(slots=True)
class _Host:
    limit: float
    breaker: Breaker
    in_hand: int = 0
    asked_until: float = 0.0
    slowed: bool = False
    """It asked to wait and has not answered well since."""
    answered: float = -math.inf
    excused: int = 0
    turned_away: int = 0
    """Images sent back since its pause began."""

    def allowance(self) -> int:
        return 1 if self.is_tried() else int(self.limit)

    def is_tried(self) -> bool:
        """Whether one image at a time tries it."""
        return self.breaker.probing or self.slowed


class HostBook:
    """All hosts, and the network as a whole. Times are seconds of one monotonic clock."""

    def __init__(self, *, per_host: int, pause: float) -> None:
        self._per_host = per_host
        self._pause = pause
        self._hosts: OrderedDict[str, _Host] = OrderedDict()
        self._network = Breaker()
        self._in_hand = 0
        self._silent_known: set[str] = set()
        self._silent_unknown: set[str] = set()

    def room(self, host: str, now: float) -> bool:
        """Whether one more image of this host may be fetched now. Files (no host) always may."""
        if not host:
            return True
        if self._network.probing and (now < self._network.until or self._in_hand):
            return False
        entry = self._entry(host)
        return now >= self._closed_until(entry) and entry.in_hand < entry.allowance()

    def is_left_alone(self, host: str, now: float) -> bool:
        """Whether images of this host should not even wait for it."""
        return bool(host) and now < self._closed_until(self._entry(host))

    def turn_away(self, host: str, now: float) -> float:
        """Seconds after which an image of a host that is left alone should come again; each one a little later."""
        entry = self._entry(host)
        entry.turned_away += 1
        pause = max(self._closed_until(entry) - now, 0.0) or self._pause
        return pause + self._pause * min(entry.turned_away * SPACING, LONGEST_SPREAD)

    def left_alone(self, now: float) -> int:
        """How many hosts are left alone now. May be asked from any thread, as `failing` may."""
        return sum(now < self._closed_until(entry) for entry in list(self._hosts.values()))

    def failing(self, now: float) -> int:
        """Those, and the hosts that get one image at a time until one of them comes."""
        network = self._network.probing
        return sum(network or now < self._closed_until(one) or one.is_tried() for one in list(self._hosts.values()))

    def begin(self, host: str) -> None:
        """An image of this host is being fetched."""
        if host:
            self._entry(host).in_hand += 1
            self._in_hand += 1

    def end(self, host: str, reason: Reason | None, now: float, retry_after: float | None = None) -> bool:
        """The fetch is over, with this reason or well. Tells whether the failure, if any, is the image's to pay."""
        if not host:
            return True
        entry = self._entry(host)
        entry.in_hand -= 1
        self._in_hand -= 1
        answer = answer_of(reason)
        closed_until = self._closed_until(entry)
        if answer is Answer.GOOD:
            self._good(entry, now)
            return True
        if answer is Answer.SILENT:
            return True
        excused = now < closed_until or self._excused(host, entry, reason, now)
        self._slow_down(entry, answer, now, retry_after)
        if answer is Answer.BAD:
            entry.breaker.bad(now, self._pause)
        if self._closed_until(entry) > closed_until:
            entry.turned_away = 0
        entry.excused += excused
        return not excused

    def _entry(self, host: str) -> _Host:
        entry = self._hosts.get(host)
        if entry is None:
            entry = self._hosts[host] = _Host(limit=float(self._per_host), breaker=Breaker())
            self._forget()
        self._hosts.move_to_end(host)
        return entry

    def _forget(self) -> None:
        """Drop the host that was quiet the longest, once there are too many."""
        if len(self._hosts) > KEPT:
            oldest = next((name for name, entry in self._hosts.items() if entry.in_hand == 0), None)
            if oldest is not None:
                del self._hosts[oldest]

    def _closed_until(self, entry: _Host) -> float:
        return max(entry.breaker.until, entry.asked_until, self._network.until)

    def _good(self, entry: _Host, now: float) -> None:
        entry.answered, entry.excused, entry.turned_away, entry.slowed = now, 0, 0, False
        entry.breaker.good()
        entry.limit = min(float(self._per_host), entry.limit + 1 / entry.limit)
        self._network.good()
        self._silent_known.clear()
        self._silent_unknown.clear()

    def _slow_down(self, entry: _Host, answer: Answer, now: float, retry_after: float | None) -> None:
        """Do as the host asks. Without a figure, a 429 means the usual pause."""
        if answer is not Answer.WAIT and retry_after is None:
            return
        wait = min(retry_after if retry_after is not None else self._pause, LONGEST_ASKED)
        if now >= entry.asked_until:
            entry.limit = max(1.0, entry.limit / 2)
        entry.asked_until = max(entry.asked_until, now + wait)
        entry.slowed = True

    def _excused(self, host: str, entry: _Host, reason: Reason | None, now: float) -> bool:
        """Whether this failure says more about the installation than about the image; keeps count for that."""
        known = now - entry.answered < REMEMBERED
        if reason is Reason.RATE_LIMITED:
            return known
        if reason in UNREACHABLE:
            (self._silent_known if known else self._silent_unknown).add(host)
        if len(self._silent_known) >= SILENT_HOSTS or len(self._silent_unknown) >= UNKNOWN_HOSTS:
            self._network.failures = max(self._network.failures, THRESHOLD)
            self._network.bad(now, self._pause)
            return known or entry.excused < MOST_EXCUSED
        away = reason in BEFORE_ASKING and entry.breaker.failures > 0
        return known and (away or entry.breaker.probing)
