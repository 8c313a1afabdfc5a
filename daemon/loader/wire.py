"""How parent and child talk: one JSON object in one packet of a SOCK_SEQPACKET socket, at times with an open file.

Packets keep their borders, so neither side can be left waiting for the rest of a message. The parent trusts nothing
that a child says: `read_report` takes a known shape or raises, and nothing is ever unpickled.
"""

import contextlib
import json
import math
import socket
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from daemon.errors import Reason

LONGEST_PACKET = 128 * 1024
LONGEST_DETAIL = 300


class Step(StrEnum):
    """How far a child is with an image, or with itself."""

    READY = "ready"
    """The child is up."""
    FETCHED = "fetched"
    """The bytes are here and wait for their turn."""
    DECODING = "decoding"
    """From here on a death of the child is this image's doing."""
    LOADED = "loaded"
    """The pixels are in their slot."""
    FAILED = "failed"
    LOST = "lost"
    """The child could not go on with it, through no fault of the image."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """From the parent: load this into that slot. Without a location the bytes come as an open file."""

    task: int
    slot: int
    location: str | None
    thumbnail: bool = False
    """A small JPEG goes into the slot instead of pixels."""
    urgent: bool = False
    """Somebody waits for it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """From a child: what became of a task, or how far it is."""

    step: Step
    task: int = -1
    reason: Reason | None = None
    detail: str = ""
    retry_after: float | None = None
    size: int = 0
    """Bytes fetched."""
    seconds: float = 0.0
    """What the step took: the fetch for FETCHED and DECODING, the decoding for LOADED."""
    made: int = 0
    """Bytes of the thumbnail in the slot."""


class Channel:
    """One end of the socket. `send` may be called by several threads, since a packet goes out whole."""

    def __init__(self, end: socket.socket) -> None:
        self.socket = end

    def send(self, message: dict[str, Any], file: int | None = None) -> None:
        """Raises `OSError` when the other side is gone, or on a full buffer of a non-blocking socket."""
        packet = json.dumps(message, separators=(",", ":")).encode()
        if file is None:
            self.socket.send(packet)
        else:
            socket.send_fds(self.socket, [packet], [file])

    def receive(self) -> dict[str, Any] | None:
        """The next message; None at the end. Files that come with it are closed. Raises `ValueError` for rubbish."""
        packet = self.socket.recv(LONGEST_PACKET)
        return _message(packet) if packet else None

    def receive_with_file(self) -> tuple[dict[str, Any], int | None] | None:
        """The next message and the file that came with it, for those who trust the other side; None at the end."""
        packet, files, _, _ = socket.recv_fds(self.socket, LONGEST_PACKET, 1)
        return (_message(packet), files[0] if files else None) if packet else None


def _message(packet: bytes) -> dict[str, Any]:
    try:
        message = json.loads(packet)
    except (ValueError, RecursionError):
        message = None
    if not isinstance(message, dict):
        raise ValueError("not a message")  # noqa: TRY004 - a wrong value, whatever its type
    return message


def make_channels() -> tuple[socket.socket, socket.socket]:
    """Two connected ends."""
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)


def order_message(order: Order) -> dict[str, Any]:
    """The order as a message."""
    return asdict(order)


def read_order(message: dict[str, Any]) -> Order:
    """The order in this message, which comes from the parent and is as it should be."""
    return Order(**message)


def report_message(report: Report) -> dict[str, Any]:
    """The report as a message."""
    message: dict[str, Any] = {"step": report.step.value, "task": report.task}
    if report.reason is not None:
        message |= {"reason": report.reason.label, "detail": report.detail[:LONGEST_DETAIL]}
        message["retry_after"] = report.retry_after
    return message | {"size": report.size, "seconds": report.seconds, "made": report.made}


def read_report(message: dict[str, Any]) -> Report:
    """The report in this message. Raises `ValueError` for anything that is not one."""
    with contextlib.suppress(KeyError, TypeError, ValueError, OverflowError):
        label = message.get("reason")
        wait = message.get("retry_after")
        report = Report(
            step=Step(message["step"]),
            task=int(message["task"]),
            reason=None if label is None else Reason.from_label(str(label)),
            detail=str(message.get("detail", ""))[:LONGEST_DETAIL],
            retry_after=None if wait is None else _amount(wait),
            size=int(_amount(message.get("size", 0))),
            seconds=_amount(message.get("seconds", 0.0)),
            made=int(_amount(message.get("made", 0))),
        )
        if report.step is not Step.FAILED or report.reason is not None:
            return report
    raise ValueError("not a report")


def _amount(value: Any) -> float:
    """Of bytes or seconds. Metrics, for one, take no others."""
    number = float(value)
    if not math.isfinite(number) or number < 0:
        raise ValueError("not a report")
    return number
