"""Log lines: structlog events, JSON under systemd and coloured on a terminal, one outcome line per image."""

import logging
import os
import sys
from collections.abc import Mapping
from contextlib import suppress
from functools import cache, singledispatchmethod
from typing import Any, TextIO, cast

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from daemon.events import Answered, Event, Extracted, Hindered, Locked, Overtaken, Settled, Worked
from daemon.loader.events import Event as LoaderEvent
from daemon.loader.events import HostLeftAlone, ImageFinished, LoaderEnded, LoaderStarted, LoaderStartFailed
from daemon.records import Dead, Failure, Released, Retry, Stored
from daemon.redact import redact

LISTENING = "listening"
PROBES = frozenset({"/health", "/ready", "/metrics"})
"""Routes that are asked several times a minute for ever."""
INFO = 6
PRIORITIES = {"critical": 2, "error": 3, "warning": 4, "info": INFO, "debug": 7}
"""Source: sd-daemon(3)."""
LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


def configure(*, level: str, form: str, stream: TextIO | None = None) -> None:
    """Sets structlog up for the process, and the standard library's loggers (uvicorn, APScheduler) to follow it.

    `form` is "json", "console", or "auto": the console on a terminal. `stream` is standard error by default.
    """
    out = stream or _standard_error()
    pretty = form == "console" or (form == "auto" and out.isatty())
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        _redacted,
    ]
    last = _console(out) if pretty else _ranked if _is_journal(out) else structlog.processors.JSONRenderer()
    structlog.configure(
        processors=[*shared, last],
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS[level]),
        logger_factory=structlog.WriteLoggerFactory(cast("TextIO", _Steady(out))),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(out)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared, processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, last]
        )
    )
    logging.basicConfig(handlers=[handler], level=max(LEVELS[level], logging.WARNING), force=True)


def _standard_error() -> TextIO:
    """Where somebody put another stream in its place, that one."""
    return _own_error() if sys.stderr is sys.__stderr__ else sys.stderr


@cache
def _own_error() -> TextIO:
    """Standard error under a number of its own. While frameworks are imported, what is written to number 2 is kept away
    (daemon/engine/quiet.py), and lines of other threads would be lost with it.
    """
    own, real = os.dup(sys.stderr.fileno()), sys.stderr
    return os.fdopen(own, "w", buffering=1, encoding=real.encoding, errors=real.errors, closefd=False)


def _console(out: TextIO) -> Processor:
    return structlog.dev.ConsoleRenderer(colors=out.isatty(), exception_formatter=structlog.dev.plain_traceback)


def _is_journal(out: TextIO) -> bool:
    """Whether the stream leads to systemd's journal. Source: systemd.exec(5), JOURNAL_STREAM."""
    try:
        file = os.fstat(out.fileno())
    except (OSError, ValueError):
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{file.st_dev}:{file.st_ino}"


def _ranked(logger: WrappedLogger, method: str, event: EventDict) -> str:
    """JSON with the priority that `journalctl -p` goes by; the journal takes it off the line again."""
    line = structlog.processors.JSONRenderer()(logger, method, event)
    return f"<{PRIORITIES.get(str(event.get('level')), INFO)}>{line if isinstance(line, str) else line.decode()}"


class _Steady:
    """A stream that never fails: a log that cannot be written, for a full disk or a reader gone, stops no work."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> None:
        with suppress(OSError, ValueError):
            self._stream.write(text)

    def flush(self) -> None:
        with suppress(OSError, ValueError):
            self._stream.flush()


def _redacted(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    return {key: value if key.startswith("_") else _clean(value) for key, value in event.items()}


def _clean(value: Any) -> Any:
    """Whatever it is, its text is what would be written."""
    match value:
        case None | bool() | int() | float():
            return value
        case str():
            return redact(value)
        case Mapping():
            return {key: _clean(one) for key, one in value.items()}
        case list() | tuple() | set() | frozenset():
            return [_clean(one) for one in value]
        case _:
            return redact(str(value))


def tell_hearing(hearing: str, error: str) -> None:
    """Whether LISTEN works: said once for each change, not for each try."""
    log = structlog.get_logger("vectord")
    tell = log.info if hearing == LISTENING else log.warning
    tell("listener.changed", hearing=str(hearing), error=error, key="database.listen_dsn")


class EventLog:
    """Writes a line per event that someone would want to read."""

    def __init__(self) -> None:
        self._log = structlog.get_logger("vectord")

    @singledispatchmethod
    def __call__(self, event: Event | LoaderEvent) -> None:
        raise TypeError(f"no log line for {type(event).__name__}")

    @__call__.register
    def _(self, event: Worked) -> None:
        self._log.debug("stage.worked", stage=event.stage, items=event.items, seconds=round(event.seconds, 4))

    @__call__.register
    def _(self, event: Settled) -> None:
        claim = event.outcome.claim
        line: dict[str, Any] = {"image_id": str(claim.image_id), "attempt": claim.attempt}
        if claim.request:
            line["request"] = claim.request
        match event.outcome:
            case Stored():
                self._log.debug("image.settled", status="stored", **line, seconds=event.seconds)
            case Released():
                self._log.debug("image.settled", status="released", **line)
            case Retry() as retry:
                line |= {"stage": retry.stage, "reason": str(retry.reason), "detail": retry.detail}
                self._log.info("image.settled", status="retry", **line, delay=round(retry.delay, 1))
            case Dead() as dead:
                line |= {"stage": dead.stage, "reason": str(dead.reason), "detail": dead.detail}
                self._log.info("image.settled", status="dead", **line)

    @__call__.register
    def _(self, event: Extracted) -> None:
        request = event.result.claim.request
        match event.result:
            case Failure() as failure:
                self._log.info(
                    "picture.refused",
                    request=request,
                    stage=failure.stage,
                    reason=str(failure.reason),
                    detail=failure.detail,
                )
            case _:
                self._log.debug("picture.extracted", request=request, status=type(event.result).__name__.lower())

    @__call__.register
    def _(self, event: Answered) -> None:
        tell = self._log.debug if event.route in PROBES else self._log.info
        tell(
            "http.answered",
            method=event.method,
            route=event.route,
            status=event.status,
            seconds=round(event.seconds, 4),
            request=event.request,
        )

    @__call__.register
    def _(self, event: Overtaken) -> None:
        self._log.info("store.overtaken", count=event.count)

    @__call__.register
    def _(self, event: Locked) -> None:
        self._log.info("store.locked", count=event.count)

    @__call__.register
    def _(self, event: Hindered) -> None:
        self._log.warning(
            "stage.hindered",
            stage=event.stage,
            error=str(event.error),
            kind=type(event.error).__name__,
            pause=round(event.pause, 1),
        )

    @__call__.register
    def _(self, event: ImageFinished) -> None:
        self._log.debug(
            "image.loaded",
            reason=str(event.reason) if event.reason else None,
            bytes=event.size,
            fetch_seconds=round(event.fetch_seconds, 4),
            decode_seconds=round(event.decode_seconds, 4),
        )

    @__call__.register
    def _(self, event: LoaderStarted) -> None:
        self._log.debug("loader.started", loader=event.pid, seconds=round(event.seconds, 2))

    @__call__.register
    def _(self, event: LoaderEnded) -> None:
        tell = self._log.debug if event.expected else self._log.warning
        tell("loader.ended", loader=event.pid, cause=event.cause, images=event.images, last_words=event.last_words)

    @__call__.register
    def _(self, event: LoaderStartFailed) -> None:
        # The whole of it at first; they go on for as long as nobody has mended it.
        words = event.last_words if event.failures == 1 else event.cause
        self._log.error("loader.start_failed", failures=event.failures, pause=event.pause, last_words=words)

    @__call__.register
    def _(self, event: HostLeftAlone) -> None:
        self._log.info("host.left_alone", host=event.host, seconds=round(event.seconds, 1))
