"""What stands around every request: here, what becomes of a body that nobody reads."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from starlette.types import Message, Receive, Scope, Send

from daemon.api import record
from daemon.api.record import Record

CHUNK = bytes(64 * 1024)


async def refuse(scope: Scope, receive: Receive, send: Send) -> None:
    """An application that answers without a look at the body."""
    await send({"type": "http.response.start", "status": 401, "headers": []})
    await send({"type": "http.response.body", "body": b"no"})


def answer(body: AsyncIterator[bytes], *headers: tuple[bytes, bytes]) -> tuple[dict[bytes, bytes], int]:
    """The headers of the answer, and how many chunks of the body had been read when it began."""
    read = 0
    started: list[tuple[dict[bytes, bytes], int]] = []

    async def receive() -> Message:
        nonlocal read
        try:
            chunk = await anext(body)
        except StopAsyncIteration:
            return {"type": "http.request", "body": b"", "more_body": False}
        read += 1
        return {"type": "http.request", "body": chunk, "more_body": True}

    async def send(message: Message) -> None:
        if message["type"] == "http.response.start":
            started.append((dict(message["headers"]), read))

    scope: dict[str, Any] = {"type": "http", "method": "POST", "path": "/", "headers": list(headers)}
    asyncio.run(Record(refuse, emit=lambda _: None)(scope, receive, send))
    return started[0]


async def chunks(number: int) -> AsyncIterator[bytes]:
    for _ in range(number):
        yield CHUNK


async def stalled() -> AsyncIterator[bytes]:
    yield CHUNK
    await asyncio.Event().wait()


def test_a_small_body_is_read_before_the_answer_so_that_its_sender_can_read_that() -> None:
    headers, read = answer(chunks(3), (b"content-length", b"196608"))
    assert b"connection" not in headers
    assert read == 3


def test_a_body_without_end_is_cut_off() -> None:
    headers, read = answer(chunks(10**6), (b"transfer-encoding", b"chunked"))
    assert headers[b"connection"] == b"close"
    assert read <= record.MOST_UNREAD / len(CHUNK) + 1


@pytest.mark.parametrize("header", [(b"content-length", b"99999999"), (b"expect", b"100-continue")])
def test_a_body_that_is_large_or_not_under_way_is_not_read(header: tuple[bytes, bytes]) -> None:
    headers, read = answer(chunks(3), (b"transfer-encoding", b"chunked"), header)
    assert headers[b"connection"] == b"close"
    assert read == 0


def test_a_body_that_does_not_come_is_not_waited_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(record, "UNREAD_SECONDS", 0.01)
    headers, read = answer(stalled(), (b"content-length", b"196608"))
    assert headers[b"connection"] == b"close"
    assert read == 1
