"""What callers are told when something is wrong: JSON with a stable `reason`, and no secret of the house."""

from collections.abc import Mapping
from typing import Any

import structlog
from fastapi import FastAPI, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException as StarletteHTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from daemon.api.models import ProblemAnswer
from daemon.errors import (
    DatabaseError,
    DatabaseUnavailableError,
    FailureClass,
    ImpossibleIdError,
    NotFoundError,
    NotServingError,
    Reason,
    TooSlowError,
    VectordError,
    gist,
)
from daemon.policy import LONGEST_DELAY

RETRY_SECONDS = 5
"""What Retry-After says where nobody knows better."""

STATUSES: Mapping[FailureClass, int] = {
    FailureClass.PERMANENT: 422,
    FailureClass.CRASH: 422,
    # Whoever serves the picture failed, not this daemon, so it is no 5xx.
    FailureClass.TRANSIENT: 424,
    FailureClass.SYSTEM: 503,
}
"""The status for a picture that came to no vector, by its reason's class."""

OF_OTHERS = frozenset({Reason.HOST_UNAVAILABLE})
"""Of class system, since no image is to blame, but not this daemon's fault either."""

MEANINGS: Mapping[int, str] = {
    400: "The body cannot be read.",
    401: "No token, or a wrong one.",
    403: "A page of another origin calls; `http.cors_origins` lists those that may.",
    404: "It is not there.",
    408: "The body did not come.",
    413: "The request is too large.",
    421: "The Host header names another host.",
    422: "The request is wrong, or the picture comes to no vector: `reason` tells why.",
    424: "Whoever serves the picture failed; trying again later may help.",
    429: "Too many requests wait already.",
    503: "The daemon starts or stops, another daemon's model counts, or PostgreSQL is away.",
}
ANYWHERE = (401, 403, 408, 413, 421, 422, 503)
"""What any route but the probes may answer."""
HEADERS: Mapping[int, str] = {401: "WWW-Authenticate", 424: "Retry-After", 429: "Retry-After", 503: "Retry-After"}

SAYINGS: Mapping[int, str] = {404: "no_such_path", 405: "method_not_allowed"}
_log = structlog.get_logger("vectord.http")


class Problem(HTTPException):
    """An answer other than the one that was hoped for. FastAPI lets no other exception out of the reading of a body."""

    def __init__(self, status: int, reason: str, message: str, *, retry_after: int | None = None, **facts: str) -> None:
        headers = {} if retry_after is None else {"Retry-After": str(retry_after)}
        super().__init__(status, message, headers)
        self.body: dict[str, object] = {"reason": reason, "message": message, **facts}

    def response(self) -> JSONResponse:
        return JSONResponse(self.body, self.status_code, headers=self.headers)


def stopping() -> Problem:
    """For whoever comes while the daemon ends."""
    return Problem(503, "not_serving", "the daemon is stopping", retry_after=RETRY_SECONDS)


class CallerGoneError(Exception):
    """Nobody waits for the answer any more."""


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """A route's `responses`: the problems that it may answer with."""
    return {status: _documented(status) for status in statuses}


def _documented(status: int) -> dict[str, Any]:
    schema = {"schema": {"type": "integer" if HEADERS.get(status) == "Retry-After" else "string"}}
    headers = {"headers": {HEADERS[status]: schema}} if status in HEADERS else {}
    return {"model": ProblemAnswer, "description": MEANINGS[status], **headers}


def refused(reason: Reason, retry_after: float | None = None) -> Problem:
    """For a picture that came to no vector. Never the failure's detail: it may quote what was fetched, or addresses."""
    status = 424 if reason in OF_OTHERS else STATUSES[reason.failure_class]
    later = status != 422
    # Whoever serves the picture may name any time; the queue waits for no longer either.
    wait = max(1, round(min(retry_after or RETRY_SECONDS, LONGEST_DELAY))) if later else None
    return Problem(status, reason.label, reason.explanation, retry_after=wait)


class Defects:
    """The innermost middleware: a defect of ours is an answer like any other to those around it, and in the log it
    bears the request's number.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        begun = False

        async def send_noted(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            await self._app(scope, receive, send_noted)
        except Exception as error:  # Whatever it is: it was not foreseen.
            _log.error("http.defect", exc_info=error)
            if begun:
                raise
            await _unknown()(scope, receive, send)


def add_handlers(app: FastAPI) -> None:
    """Every error that leaves a route becomes one of ours. To be called before any other middleware is added."""
    app.add_middleware(Defects)
    app.exception_handler(Problem)(_problem)
    app.exception_handler(VectordError)(_fault)
    app.exception_handler(RequestValidationError)(_invalid)
    app.exception_handler(StarletteHTTPException)(_http)
    for gone in (CallerGoneError, ClientDisconnect):
        app.exception_handler(gone)(_gone)


async def _problem(_: Request, error: Exception) -> JSONResponse:
    return error.response() if isinstance(error, Problem) else _unknown()


async def _fault(_: Request, error: Exception) -> JSONResponse:
    """The daemon's own troubles. What they say is for its log: it names hosts, roles and files."""
    match error:
        case ImpossibleIdError():
            return Problem(404, "no_such_image", "not in the table of images").response()
        case NotFoundError():
            return Problem(404, "not_found", str(error)).response()
        case NotServingError():
            return Problem(503, "not_serving", str(error), retry_after=RETRY_SECONDS).response()
        case TooSlowError():
            _log.warning("http.database", error=str(error))
            problem = Problem(503, "too_slow", gist(error), retry_after=RETRY_SECONDS)
        case DatabaseUnavailableError():
            _log.warning("http.database", error=str(error))
            problem = Problem(503, "database_unavailable", gist(error), retry_after=RETRY_SECONDS)
        case DatabaseError():
            _log.error("http.database", error=str(error))
            problem = Problem(503, "database_failed", gist(error), retry_after=RETRY_SECONDS)
        case _:
            _log.error("http.failed", error=str(error))
            problem = Problem(503, "not_serving", gist(error), retry_after=RETRY_SECONDS)
    return problem.response()


async def _invalid(_: Request, error: Exception) -> JSONResponse:
    details = error.errors() if isinstance(error, RequestValidationError) else []
    # Not the input: it may be large, or a secret in the wrong place.
    where = [{"where": ".".join(map(str, detail["loc"])), "message": detail["msg"]} for detail in details]
    message = "; ".join(f"{one['where']}: {one['message']}" for one in where)
    return JSONResponse({"reason": "invalid_request", "message": message, "errors": where}, 422)


async def _http(request: Request, error: Exception) -> JSONResponse:
    if isinstance(error.__cause__, ClientDisconnect):  # FastAPI takes it for a body that cannot be read.
        return await _gone(request, error)
    status = error.status_code if isinstance(error, StarletteHTTPException) else 500
    body = {"reason": SAYINGS.get(status, "invalid_request"), "message": str(getattr(error, "detail", ""))}
    return JSONResponse(body, status, headers=getattr(error, "headers", None))


async def _gone(_: Request, _error: Exception) -> JSONResponse:
    return JSONResponse({"reason": "caller_gone"}, 499)


def _unknown() -> JSONResponse:
    return JSONResponse({"reason": "internal_error", "message": "the daemon's log says more"}, 500)
