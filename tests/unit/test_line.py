"""The line before the pipeline: so many at a time, so many who wait, and nobody's place is lost."""

import asyncio
from threading import Event

import pytest

from daemon.api import line as module
from daemon.api.line import Desk, Line
from daemon.api.problems import Problem

TIMEOUT = 60.0


def test_first_come_first_served_and_the_last_are_sent_away() -> None:
    async def story() -> None:
        line, order = Line(places=1, waiting=2), list[int]()

        async def come(number: int) -> None:
            await line.enter()
            order.append(number)
            line.leave()

        await line.enter()
        waiting = [asyncio.create_task(come(number)) for number in range(2)]
        await asyncio.sleep(0)
        assert (line.taken, line.waiting) == (1, 2)
        with pytest.raises(Problem) as refused:
            await line.enter()
        assert (refused.value.status_code, refused.value.headers) == (429, {"Retry-After": "1"})
        line.leave()
        await asyncio.gather(*waiting)
        assert order == [0, 1]
        await asyncio.sleep(0)
        assert (line.taken, line.waiting) == (0, 0)

    asyncio.run(story())


@pytest.mark.parametrize("when", ["before its turn", "as its turn comes", "at its turn"])
def test_who_gives_up_waiting_takes_no_place_along(when: str) -> None:
    async def story() -> None:
        line = Line(places=1, waiting=5)
        await line.enter()
        waiter = asyncio.create_task(line.enter())
        await asyncio.sleep(0)
        if when == "at its turn":
            line.leave()
            # The place has been passed on, and the waiter does not know yet.
            await asyncio.sleep(0)
        elif when == "as its turn comes":
            line.leave()
        waiter.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiter
        if when == "before its turn":
            line.leave()
        async with asyncio.timeout(10):
            await line.enter()
        assert (line.taken, line.waiting) == (1, 0)

    asyncio.run(story())


def test_who_gives_up_waiting_leaves_room_in_the_line() -> None:
    async def story() -> None:
        line = Line(places=1, waiting=1)
        await line.enter()
        waiter = asyncio.create_task(line.enter())
        await asyncio.sleep(0)
        waiter.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiter
        assert line.waiting == 0
        next_one = asyncio.create_task(line.enter())
        await asyncio.sleep(0)
        line.leave()
        async with asyncio.timeout(10):
            await next_one

    asyncio.run(story())


def test_a_place_may_be_given_up_from_any_thread_and_after_the_end() -> None:
    line = Line(places=1, waiting=1)

    async def story() -> None:
        await line.enter()
        waiter = asyncio.create_task(line.enter())
        await asyncio.sleep(0)
        await asyncio.to_thread(line.leave)
        async with asyncio.timeout(10):
            await waiter

    asyncio.run(story())
    line.leave()


def test_so_many_ask_the_database_and_the_next_is_sent_away(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story() -> None:
        desk, answer = Desk(), Event()
        first = asyncio.create_task(desk.ask(lambda: answer.wait(TIMEOUT)))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        with pytest.raises(Problem, match="1 callers wait for the database") as refused:
            await desk.ask(bool)
        assert refused.value.status_code == 429
        assert await desk.look(lambda: "a look") == "a look"
        answer.set()
        assert await first
        assert await desk.ask(lambda: "another") == "another"

    monkeypatch.setattr(module, "MOST_ASKING", 1)
    asyncio.run(story())


def test_a_question_keeps_its_seat_when_nobody_waits_for_the_answer_any_more(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story() -> None:
        desk, put, answer = Desk(), Event(), Event()

        def question() -> None:
            put.set()
            answer.wait(TIMEOUT)

        caller = asyncio.create_task(desk.ask(question))
        await asyncio.to_thread(put.wait, TIMEOUT)
        caller.cancel()
        with pytest.raises(asyncio.CancelledError):
            await caller
        with pytest.raises(Problem, match="wait for the database"):
            await desk.ask(bool)
        answer.set()
        await asyncio.wait(asyncio.all_tasks() - {asyncio.current_task()}, timeout=TIMEOUT)
        assert await desk.ask(lambda: "another") == "another"

    monkeypatch.setattr(module, "MOST_ASKING", 1)
    asyncio.run(story())
