"""channel: in order, bounded takes, an end that everyone sees."""

from threading import Thread

from daemon.pipeline.channel import Channel


def test_items_come_out_in_order_and_no_more_than_asked() -> None:
    channel: Channel[int] = Channel()
    for number in range(5):
        channel.put(number)
    assert channel.take(3) == [0, 1, 2]
    assert channel.take(3) == [3, 4]


def test_a_take_that_waits_too_long_comes_back_empty() -> None:
    assert Channel[int]().take(1, timeout=0.01) == []


def test_a_take_waits_for_the_first_item() -> None:
    channel: Channel[int] = Channel()
    taken: list[list[int]] = []
    thread = Thread(target=lambda: taken.append(channel.take(2)))
    thread.start()
    channel.put(1)
    thread.join(60)
    assert taken == [[1]]


def test_closing_wakes_whoever_waits() -> None:
    channel: Channel[int] = Channel()
    taken: list[list[int]] = []
    thread = Thread(target=lambda: taken.append(channel.take(1)))
    thread.start()
    channel.close()
    thread.join(60)
    assert taken == [[]]


def test_what_lies_in_a_closed_channel_is_still_taken() -> None:
    channel: Channel[int] = Channel()
    channel.put(1)
    channel.close()
    assert not channel.finished
    assert channel.take(9) == [1]
    assert channel.finished
