"""What a caller does while he waits: hang up, or send what he must not."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from fastapi import Request
from starlette.types import Message

from daemon.api import limits
from daemon.api.limits import BodyLimit
from daemon.api.patience import unless_gone
from daemon.api.problems import CallerGoneError, Problem

Receive = Callable[[], Awaitable[Message]]


def request(receive: Receive) -> Request:
    scope: dict[str, Any] = {"type": "http", "method": "POST", "path": "/", "headers": []}
    return Request(scope, receive)


def test_who_hangs_up_is_waited_for_no_longer() -> None:
    cancelled = False

    async def endless() -> None:
        nonlocal cancelled
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled = True
            raise

    async def hang_up() -> Message:
        return {"type": "http.disconnect"}

    async def story() -> None:
        with pytest.raises(CallerGoneError):
            await unless_gone(request(hang_up), endless())
        await asyncio.sleep(0)

    asyncio.run(story())
    assert cancelled


def test_who_sends_too_much_is_told_so_and_not_taken_for_gone() -> None:
    async def too_much() -> Message:
        raise Problem(413, "too_large", "too much")

    with pytest.raises(Problem, match="too much"):
        asyncio.run(unless_gone(request(too_much), asyncio.sleep(60)))


def received(*messages: Message, then: Receive) -> list[Message]:
    """What an application gets of these messages and the one after them, through `BodyLimit`."""
    left, got = list(messages), list[Message]()

    async def receive() -> Message:
        return left.pop(0) if left else await then()

    async def application(_scope: Any, receive: Receive, _send: Any) -> None:
        for _ in range(len(messages) + 1):
            got.append(await receive())

    async def send(_: Message) -> None:
        raise AssertionError("nothing is to be answered")

    scope: dict[str, Any] = {"type": "http", "method": "POST", "path": "/extract/upload", "headers": []}
    asyncio.run(BodyLimit(application, max_upload=100_000)(scope, receive, send))
    return got


def test_a_body_that_stops_coming_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    async def silence() -> Message:
        await asyncio.Event().wait()
        raise AssertionError("it never comes")

    monkeypatch.setattr(limits, "BODY_SECONDS", 0.05)
    with pytest.raises(Problem) as refused:
        received({"type": "http.request", "body": b"half", "more_body": True}, then=silence)
    assert (refused.value.status_code, refused.value.body["reason"]) == (408, "body_timeout")


def test_whoever_has_sent_all_of_it_may_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    async def leaves_late() -> Message:
        await asyncio.sleep(0.2)
        return {"type": "http.disconnect"}

    monkeypatch.setattr(limits, "BODY_SECONDS", 0.05)
    got = received({"type": "http.request", "body": b"whole", "more_body": False}, then=leaves_late)
    assert [message["type"] for message in got] == ["http.request", "http.disconnect"]
