"""Those who wait for a claim: what they are told, what goes on to store, and what is counted as a caller's."""

from dataclasses import replace

import numpy as np
import pytest

from daemon.errors import NotServingError, Reason
from daemon.events import Extracted
from daemon.pipeline.callers import Answers, Callers
from daemon.pipeline.channel import Channel
from daemon.pipeline.inflight import Inflight
from daemon.records import Answer, Asked, Claim, Embedded, Failure, Released, Result, Thumbnail
from tests.stages import Heard, make_claim


class Loaders:
    """Takes what it is handed, unless there is no room for the bytes. No place is free but for those who wait."""

    def __init__(self) -> None:
        self.full = False
        self.submitted: list[Claim] = []

    def free(self, *, urgent: bool = False) -> int:
        return int(urgent)

    def submit(self, claim: Claim, *, data: bytes | None = None, thumbnail: bool = False) -> None:
        if self.full:
            raise OSError("no room for the bytes")
        self.submitted.append(claim)

    def withdraw(self, claim: Claim) -> None: ...


class House:
    """Callers with all that is around them."""

    def __init__(self) -> None:
        self.heard, self.loaders, self.inflight = Heard(), Loaders(), Inflight(8)
        self.results: Channel[Result] = Channel()
        self.answers = Answers(self.results, self.heard)
        self.callers = Callers(self.loaders, self.inflight, self.answers)


@pytest.fixture
def house() -> House:
    return House()


def embedded(claim: Claim) -> Embedded:
    return Embedded(claim=claim, vector=np.ones(2, np.float32))


def answer(house: House, asked: Asked, item: Answer) -> None:
    house.answers.put(item)
    assert asked.result.result(0) is item
    assert len(house.answers) == len(house.results) == 0


def test_whatever_came_of_a_callers_picture_is_counted_as_extracted(house: House) -> None:
    for make in (embedded, lambda claim: Failure(claim=claim, stage="load", reason=Reason.NOT_FOUND)):
        asked = house.callers.ask("r", data=b"picture")
        answer(house, asked, make(asked.claim))
    assert [type(event.result) for event in house.heard.events if isinstance(event, Extracted)] == [Embedded, Failure]


def test_a_thumbnail_is_no_extraction_and_neither_is_its_failure(house: House) -> None:
    asked = house.callers.look("r", 7, "http://x/7")
    answer(house, asked, Thumbnail(claim=asked.claim, jpeg=b""))
    asked = house.callers.look("r", 7, "http://x/7")
    answer(house, asked, Failure(claim=asked.claim, stage="load", reason=Reason.NOT_FOUND))
    assert house.heard.events == []


def test_only_what_nobody_asked_for_goes_on_to_store_and_never_a_thumbnail(house: House) -> None:
    house.answers.put(Thumbnail(claim=make_claim(1), jpeg=b""))
    house.answers.put(result := embedded(make_claim(2)))
    house.results.close()
    assert house.results.take(9) == [result]


def test_the_lease_of_an_image_that_somebody_waits_for_is_renewed_like_any_other(house: House) -> None:
    claim = make_claim(1, request="r")
    house.callers.work_on(claim)
    assert house.inflight.claims() == house.loaders.submitted == [claim]


def test_who_was_not_begun_is_not_waited_for(house: House) -> None:
    house.loaders.full = True
    with pytest.raises(OSError, match="no room"):
        house.callers.ask("r", data=b"picture")
    assert len(house.answers) == 0


def test_the_end_is_told_to_all_who_wait_and_what_comes_later_is_theirs_no_more(house: House) -> None:
    asked, told = house.callers.ask("r"), house.callers.work_on(claim := make_claim(1, request="r"))
    house.callers.refuse()
    house.callers.close()
    assert asked.result.result(0) == Released(claim=asked.claim)
    assert (told.result(0).outcome, told.result(0).took_effect) == (Released(claim=claim), False)
    assert len(house.answers) == 0
    with pytest.raises(NotServingError, match="stopping"):
        house.callers.work_on(replace(claim, image_id=2))
    assert len(house.answers) == 0
