import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.errors import Reason
from daemon.loader.hosts import KEPT, MOST_EXCUSED, SILENT_HOSTS, SPACING, THRESHOLD, UNKNOWN_HOSTS, HostBook

HOST = "https://photos.example:443"
PAUSE = 5.0


@pytest.fixture
def book() -> HostBook:
    return HostBook(per_host=4, pause=PAUSE)


def fetch(
    book: HostBook, reason: Reason | None, now: float, host: str = HOST, retry_after: float | None = None
) -> bool:
    book.begin(host)
    return book.end(host, reason, now, retry_after)


def shut(book: HostBook, now: float = 0.0, host: str = HOST) -> None:
    for _ in range(THRESHOLD):
        fetch(book, Reason.CONNECTION_REFUSED, now, host)


def test_a_host_gets_so_many_at_a_time(book: HostBook) -> None:
    for _ in range(4):
        assert book.room(HOST, 0)
        book.begin(HOST)
    assert not book.room(HOST, 0)
    assert book.room("https://other.example:443", 0)
    book.end(HOST, None, 0)
    assert book.room(HOST, 0)


def test_files_have_no_host(book: HostBook) -> None:
    for _ in range(100):
        assert book.room("", 0)
        book.begin("")
        assert book.end("", Reason.NOT_FOUND, 0)
    assert not book.is_left_alone("", 0)


def test_failures_in_a_row_close_a_host_for_a_while(book: HostBook) -> None:
    shut(book)
    assert book.is_left_alone(HOST, PAUSE - 0.1)
    assert not book.room(HOST, PAUSE - 0.1)
    assert not book.is_left_alone(HOST, PAUSE)
    assert book.room(HOST, PAUSE)


@pytest.mark.parametrize("reason", [Reason.NOT_FOUND, Reason.FORBIDDEN, Reason.NOT_AN_IMAGE, Reason.TRUNCATED_BODY])
def test_an_answer_is_no_fault_of_the_host(book: HostBook, reason: Reason) -> None:
    for _ in range(10 * THRESHOLD):
        assert fetch(book, reason, 0)
    assert book.room(HOST, 0)


@pytest.mark.parametrize("reason", [Reason.BLOCKED_ADDRESS, Reason.INVALID_URL, Reason.LOADER_LOST])
def test_what_never_asked_the_host_says_nothing_of_it(book: HostBook, reason: Reason) -> None:
    for _ in range(THRESHOLD - 1):
        fetch(book, Reason.CONNECT_TIMEOUT, 0)
    assert fetch(book, reason, 0)
    fetch(book, Reason.CONNECT_TIMEOUT, 0)
    assert book.is_left_alone(HOST, 0.1)


def test_one_good_answer_clears_the_count(book: HostBook) -> None:
    for _ in range(THRESHOLD - 1):
        fetch(book, Reason.HTTP_SERVER_ERROR, 0)
    fetch(book, None, 0)
    for _ in range(THRESHOLD - 1):
        fetch(book, Reason.HTTP_SERVER_ERROR, 0)
    assert not book.is_left_alone(HOST, 0)


def test_one_image_probes_a_host_after_its_pause(book: HostBook) -> None:
    shut(book)
    assert book.room(HOST, PAUSE)
    book.begin(HOST)
    assert not book.room(HOST, PAUSE)
    book.end(HOST, None, PAUSE)
    for _ in range(4):
        assert book.room(HOST, PAUSE)
        book.begin(HOST)


def test_pauses_double_up_to_a_bound(book: HostBook) -> None:
    shut(book)
    now, pauses = 0.0, []
    for _ in range(8):
        now += next(step for step in (PAUSE * factor for factor in range(1, 100)) if book.room(HOST, now + step))
        pauses.append(now)
        fetch(book, Reason.CONNECT_TIMEOUT, now)
    steps = [later - earlier for earlier, later in zip([0.0, *pauses], pauses, strict=False)]
    assert steps == [PAUSE * factor for factor in (1, 2, 4, 6, 6, 6, 6, 6)]


def test_the_first_failures_are_paid_for(book: HostBook) -> None:
    assert all(fetch(book, Reason.CONNECTION_REFUSED, 0) for _ in range(THRESHOLD))


def test_what_comes_late_from_a_closed_host_is_not_paid_for(book: HostBook) -> None:
    for _ in range(THRESHOLD + 2):
        book.begin(HOST)
    charged = [book.end(HOST, Reason.READ_TIMEOUT, 0.0) for _ in range(THRESHOLD + 2)]
    assert charged == [True] * THRESHOLD + [False] * 2


def test_probing_a_host_that_never_answered_is_paid_for(book: HostBook) -> None:
    shut(book)
    assert fetch(book, Reason.CONNECTION_REFUSED, PAUSE)


def test_probing_a_host_that_used_to_answer_is_free_for_a_day(book: HostBook) -> None:
    fetch(book, None, 0)
    shut(book, 1)
    assert not fetch(book, Reason.CONNECTION_REFUSED, 1 + PAUSE)
    assert fetch(book, Reason.CONNECTION_REFUSED, 86_500)


def test_a_lone_image_does_not_pay_for_a_host_that_used_to_answer(book: HostBook) -> None:
    fetch(book, None, 0)
    assert fetch(book, Reason.CONNECTION_REFUSED, 1)
    assert not any(fetch(book, Reason.CONNECTION_REFUSED, 100.0 * number) for number in range(1, 20))


@pytest.mark.parametrize("reason", [Reason.TOTAL_TIMEOUT, Reason.HTTP_SERVER_ERROR, Reason.CONNECTION_FAILED])
def test_it_pays_for_what_may_be_its_own_fault(book: HostBook, reason: Reason) -> None:
    fetch(book, None, 0)
    assert all(fetch(book, reason, 100.0 * number) for number in range(1, THRESHOLD + 1))


def test_an_image_that_no_host_answers_for_pays_each_time_that_others_get_theirs(book: HostBook) -> None:
    for number in range(10):
        fetch(book, None, number)
        assert fetch(book, Reason.CONNECTION_REFUSED, number)


def test_who_is_asked_to_wait_by_a_host_that_answers_does_not_pay(book: HostBook) -> None:
    fetch(book, None, 0)
    assert not any(fetch(book, Reason.RATE_LIMITED, 100.0 * number, retry_after=30) for number in range(1, 20))
    assert book.is_left_alone(HOST, 1929)


def test_hosts_that_one_image_at_a_time_tries_are_failing_too(book: HostBook) -> None:
    shut(book)
    fetch(book, None, 0, "http://other.example:80")
    assert (book.left_alone(PAUSE - 1), book.failing(PAUSE - 1)) == (1, 1)
    assert (book.left_alone(PAUSE + 1), book.failing(PAUSE + 1)) == (0, 1)
    fetch(book, None, PAUSE + 1)
    assert book.failing(PAUSE + 1) == 0


def test_images_of_a_closed_host_come_back_one_after_the_other(book: HostBook) -> None:
    shut(book)
    waits = [book.turn_away(HOST, 1.0) for _ in range(3)]
    assert waits == pytest.approx([PAUSE - 1 + PAUSE * number * SPACING for number in (1, 2, 3)])


def test_retry_after_is_obeyed_and_halves_the_pace(book: HostBook) -> None:
    assert fetch(book, Reason.RATE_LIMITED, 0, retry_after=30)
    assert book.is_left_alone(HOST, 29)
    assert book.turn_away(HOST, 29) == pytest.approx(1 + PAUSE * SPACING)
    book.begin(HOST)
    assert not book.room(HOST, 31)
    book.end(HOST, None, 31)
    book.begin(HOST)
    book.begin(HOST)
    assert not book.room(HOST, 31)


def test_the_pace_recovers(book: HostBook) -> None:
    fetch(book, Reason.RATE_LIMITED, 0, retry_after=1)
    for _ in range(10):
        fetch(book, None, 2)
    for _ in range(4):
        assert book.room(HOST, 2)
        book.begin(HOST)


def test_more_429_while_waiting_are_not_paid_for(book: HostBook) -> None:
    book.begin(HOST)
    assert fetch(book, Reason.RATE_LIMITED, 0, retry_after=30)
    assert not book.end(HOST, Reason.RATE_LIMITED, 1, 30)


def test_a_429_without_a_figure_pauses_as_usual(book: HostBook) -> None:
    fetch(book, Reason.RATE_LIMITED, 0)
    assert book.is_left_alone(HOST, PAUSE - 0.1)
    assert not book.is_left_alone(HOST, PAUSE)


def test_nobody_is_waited_for_longer_than_an_hour(book: HostBook) -> None:
    fetch(book, Reason.RATE_LIMITED, 0, retry_after=1e12)
    assert book.room(HOST, 3600)


def test_when_known_hosts_fall_silent_the_network_is_down(book: HostBook) -> None:
    hosts = [f"http://{number}.example:80" for number in range(SILENT_HOSTS + 3)]
    for host in hosts:
        fetch(book, None, 0, host)
    charged = [fetch(book, Reason.CONNECT_TIMEOUT, 1, host) for host in hosts]
    assert charged == [True] * (SILENT_HOSTS - 1) + [False] * 4
    assert not book.room("http://never-seen.example:80", 1)
    assert book.is_left_alone("http://never-seen.example:80", 1)
    assert book.room("", 1)


def test_one_image_probes_the_network(book: HostBook) -> None:
    hosts = [f"http://{number}.example:80" for number in range(SILENT_HOSTS)]
    for host in hosts:
        fetch(book, None, 0, host)
    for host in hosts:
        fetch(book, Reason.DNS_FAILURE, 1, host)
    later = 1 + PAUSE
    assert book.room(hosts[0], later)
    book.begin(hosts[0])
    assert not book.room(hosts[1], later)
    book.end(hosts[0], None, later)
    assert all(book.room(host, later) for host in hosts)


def test_many_unknown_hosts_that_fail_look_like_a_network_that_is_down(book: HostBook) -> None:
    hosts = [f"http://{number}.example:80" for number in range(UNKNOWN_HOSTS + 1)]
    charged = [fetch(book, Reason.DNS_FAILURE, 0, host) for host in hosts]
    assert charged == [True] * (UNKNOWN_HOSTS - 1) + [False] * 2


def test_a_host_that_never_answers_pays_in_the_end(book: HostBook) -> None:
    hosts = [f"http://{number}.example:80" for number in range(UNKNOWN_HOSTS)]
    for host in hosts:
        fetch(book, Reason.DNS_FAILURE, 0, host)
    probes = [fetch(book, Reason.DNS_FAILURE, number * 100.0, hosts[0]) for number in range(1, MOST_EXCUSED + 3)]
    assert probes == [False] * MOST_EXCUSED + [True] * 2


def test_one_known_host_that_is_down_keeps_nobody_else_waiting(book: HostBook) -> None:
    fetch(book, None, 0)
    for step in range(20):
        fetch(book, Reason.CONNECT_TIMEOUT, step * 100)
    assert book.is_left_alone(HOST, 1901)
    assert book.room("http://other.example:80", 1901)


def test_a_few_dead_hosts_are_no_network_failure(book: HostBook) -> None:
    for number in range(3):
        shut(book, host=f"http://{number}.example:80")
    assert book.room(HOST, 0)


def test_memory_of_hosts_is_bounded(book: HostBook) -> None:
    for number in range(KEPT + 100):
        fetch(book, None, 0, f"http://{number}.example:80")
    assert len(book._hosts) == KEPT


@given(st.lists(st.tuples(st.sampled_from([None, *Reason]), st.floats(0, 100), st.integers(0, 3))))
def test_every_host_is_asked_again_in_the_end(story: list[tuple[Reason | None, float, int]]) -> None:
    book, now = HostBook(per_host=2, pause=1), 0.0
    for reason, step, number in story:
        now += step
        fetch(book, reason, now, f"http://{number}.example:80", retry_after=step)
    assert book.room(HOST, now + 3601)
    assert all(book.room(f"http://{number}.example:80", now + 3601) for number in range(4))
