from hypothesis import given
from hypothesis import strategies as st

from daemon.loader.intake import Intake
from daemon.loader.tasks import Task
from tests.loading import claim


def task(number: int, host: str = "", *, urgent: bool = False, backfill: bool = False) -> Task:
    return Task(number=number, claim=claim(f"{number}", request="r" * urgent, backfill=backfill), host=host)


def taken(intake: Intake, *closed: str) -> list[int]:
    numbers = []
    while (found := intake.take(lambda host: host not in closed)) is not None:
        numbers.append(found.number)
    return numbers


def test_first_come_first_served_over_all_hosts() -> None:
    intake = Intake()
    for number, host in enumerate(["a", "b", "a", "c", "b"]):
        intake.put(task(number, host))
    assert taken(intake) == [0, 1, 2, 3, 4]
    assert len(intake) == 0


def test_a_host_without_room_holds_up_nobody() -> None:
    intake = Intake()
    for number, host in enumerate(["slow", "slow", "fast", "slow", "fast"]):
        intake.put(task(number, host))
    assert taken(intake, "slow") == [2, 4]
    assert taken(intake) == [0, 1, 3]


def test_what_somebody_has_just_written_goes_before_what_the_sweep_found() -> None:
    intake = Intake()
    for number, host in enumerate(["a", "b", "a"]):
        intake.put(task(number, host, backfill=True))
    intake.put(task(3, "b"))
    intake.put(task(4, "a"))
    intake.put(task(5, "a", urgent=True))
    assert taken(intake) == [5, 3, 4, 0, 1, 2]


def test_urgent_tasks_go_first() -> None:
    intake = Intake()
    intake.put(task(0))
    intake.put(task(1, "a"))
    intake.put(task(2, "a", urgent=True))
    assert taken(intake) == [2, 0, 1]


def test_a_task_that_comes_back_keeps_its_place() -> None:
    intake = Intake()
    for number in (3, 4):
        intake.put(task(number))
    intake.put(task(1))
    assert taken(intake) == [1, 3, 4]


def test_tasks_of_some_hosts_are_taken_out() -> None:
    intake = Intake()
    for number, host in enumerate(["a", "b", "a", "a"]):
        intake.put(task(number, host))
    assert [found.number for found in intake.remove(lambda host: host == "a", keep=1)] == [2, 3]
    assert taken(intake) == [0, 1]


@given(st.lists(st.tuples(st.sampled_from("abc"), st.booleans()), max_size=30), st.sets(st.sampled_from("abc")))
def test_nothing_is_lost(story: list[tuple[str, bool]], closed: set[str]) -> None:
    intake = Intake()
    for number, (host, urgent) in enumerate(story):
        intake.put(task(number, host, urgent=urgent))
    first = taken(intake, *closed)
    assert all(story[number][0] not in closed for number in first)
    assert sorted(first + taken(intake)) == list(range(len(story)))


def test_a_task_that_nobody_waits_for_is_taken_out() -> None:
    intake = Intake()
    tasks = [task(number, "ab"[number % 2], urgent=True) for number in range(3)]
    for one in tasks:
        intake.put(one)
    assert intake.discard(tasks[1].claim.token) is tasks[1]
    assert intake.discard(tasks[1].claim.token) is None
    assert taken(intake) == [0, 2]


def test_only_urgent_ones_where_only_those_are_asked_for() -> None:
    intake = Intake()
    for one in (task(0), task(1, urgent=True), task(2, backfill=True)):
        intake.put(one)
    found = intake.take(lambda _: True, urgent=True)
    assert found is not None
    assert found.number == 1
    assert intake.take(lambda _: True, urgent=True) is None
    assert taken(intake) == [0, 2]
