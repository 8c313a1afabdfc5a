"""Lets a real loader, with its limits and its guard, load a picture made for it, and the newest image."""

import queue
import struct
import zlib
from dataclasses import dataclass, replace
from typing import Self
from uuid import uuid4

from daemon.db.inspection import Newest
from daemon.doctor.findings import Finding, ok, problem, warning
from daemon.errors import Reason
from daemon.loader.events import Event, LoaderStartFailed
from daemon.loader.options import LoaderOptions
from daemon.loader.pool import LoaderPool
from daemon.records import Claim, Delivered, Failure, Loaded, StoredBytes

START_SECONDS = 20.0
"""For a loader to come up: tenths of a second, on a machine that does anything else as well."""
REMEDIES = {
    Reason.BLOCKED_ADDRESS: "if the images lie there, add its network to fetch.allow_networks or its name to "
    "fetch.allow_hosts",
    Reason.BLOCKED_PORT: "if the images lie there, add the port to fetch.allow_ports",
    Reason.BLOCKED_PATH: "if the images lie there, add their folder to fetch.file_roots",
    Reason.ROOT_UNAVAILABLE: "mount what holds the images; they wait until it is there",
    Reason.DNS_FAILURE: "see that this machine can resolve the name, in the daemon's sandbox as well",
    Reason.TLS_FAILURE: "for a server with a certificate of your own, name its authority in fetch.ca_file",
    Reason.FORBIDDEN: "a file has to be readable for the daemon's user; a server has to let it in",
}
CA_FILE = "fetch.ca_file"
LOOK = "see docs/reasons.md; the other images may well do"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tried:
    """What came of one picture: its reason and detail where it failed. `silent`: nothing came at all."""

    reason: Reason | None = None
    detail: str = ""
    silent: bool = False


class Trial:
    """One loader of its own, as long as this lasts."""

    def __init__(self, options: LoaderOptions) -> None:
        self._options = replace(options, processes=1, threads=1, slots=2, urgent_slots=0)
        self._results: queue.SimpleQueue[Delivered | LoaderStartFailed] = queue.SimpleQueue()
        self._pool = LoaderPool(options=self._options, deliver=self._results.put, emit=self._hear)

    def __enter__(self) -> Self:
        self._pool.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.close()

    def made(self) -> Tried:
        """A picture made for it."""
        return self._load("", small_png())

    def newest(self, image: Newest) -> Tried:
        """The newest image, wherever it lies."""
        if not image.location:
            return Tried(reason=Reason.EMPTY_LOCATION)
        if isinstance(image.location, bytes):
            return self._load(StoredBytes(size=len(image.location)), image.location)
        return self._load(image.location, None)

    def _load(self, location: str | StoredBytes, data: bytes | None) -> Tried:
        claim = Claim(image_id=0, revision=0, token=uuid4(), location=location)
        self._pool.submit(claim, data=data)
        seconds = START_SECONDS + self._options.fetch.total_timeout + self._options.timeout_seconds
        try:
            result = self._results.get(timeout=seconds)
        except queue.Empty:
            return Tried(silent=True, detail=f"nothing within {seconds:.0f} s, {self._pool.status()}")
        if isinstance(result, Failure):
            return Tried(reason=result.reason, detail=result.detail)
        if isinstance(result, Loaded):
            self._pool.release(result.slot)
            return Tried()
        return Tried(silent=True, detail=result.cause if isinstance(result, LoaderStartFailed) else "it was lost")

    def _hear(self, event: Event) -> None:
        if isinstance(event, LoaderStartFailed):
            self._results.put(event)


def judge_made(tried: Tried, options: LoaderOptions) -> Finding:
    """A loader that cannot load this cannot load anything."""
    limits = f"{options.memory_mb} MiB, {options.timeout_seconds:g} s"
    if tried.silent:
        remedy = f"correct {CA_FILE}" if CA_FILE in tried.detail else "see the limits above, and the sandbox's"
        return problem("loader", f"no loader comes up: {tried.detail}", remedy)
    if tried.reason is None:
        return ok("loader", f"one came up within its limits ({limits}) and decoded a picture")
    told = (
        f"a loader could not decode a picture made for it: {tried.reason}, {tried.detail or tried.reason.explanation}"
    )
    return problem("loader", told, f"give it more than {limits}: loader.memory_mb, loader.timeout_seconds")


def judge_unread(error: str) -> Finding:
    """No image could be looked at. What that means for the daemon, the rights say."""
    return warning("newest image", f"it could not be read: {error}", "grant the rights above")


def judge_newest(image: Newest | None, tried: Tried | None) -> Finding:
    """One image does not stop the daemon, whatever is the matter with it."""
    if image is None or tried is None:
        return ok("newest image", "there is none yet")
    told = f"{image.image_id}, {_where(image)}"
    if tried.reason is None and not tried.silent:
        return ok("newest image", f"{told}: loads")
    why = f"{tried.reason}, {tried.detail or tried.reason.explanation}" if tried.reason else tried.detail
    remedy = REMEDIES.get(tried.reason, LOOK) if tried.reason else LOOK
    return warning("newest image", f"{told}: {why}", remedy)


def _where(image: Newest) -> str:
    if isinstance(image.location, bytes):
        return f"{len(image.location)} bytes in the table"
    return f"at {image.location}" if image.location else "without a location"


def small_png() -> bytes:
    """A grey picture. Source of its form: PNG specification, third edition, chapter 11."""
    side = 64
    rows = b"".join(b"\0" + bytes(range(0, 2 * side, 2)) for _ in range(side))
    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in chunks
    )
