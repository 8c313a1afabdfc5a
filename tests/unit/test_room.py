"""Room for uploads, by their bytes."""

from daemon.api.limits import LARGEST_UPLOADS, SMALL_UPLOADS, Room

LARGEST = 32_000


def fill(room: Room, size: int) -> int:
    """How many of this size find room."""
    number = 0
    while room.take(size):
        number += 1
    return number


def test_there_is_room_for_so_many_of_the_largest_and_for_more_of_smaller_ones() -> None:
    assert fill(Room(LARGEST), LARGEST) == LARGEST_UPLOADS
    assert fill(Room(LARGEST), LARGEST // 4) == LARGEST_UPLOADS * 4


def test_however_small_they_are_their_number_has_a_bound() -> None:
    assert fill(Room(LARGEST), 1) == LARGEST_UPLOADS * SMALL_UPLOADS


def test_room_that_was_given_back_may_be_taken_again() -> None:
    room = Room(LARGEST)
    for size in (1, LARGEST):
        taken = fill(room, size)
        assert not room.take(size)
        for _ in range(taken):
            room.give_back(size)
        assert fill(room, size) == taken
        for _ in range(taken):
            room.give_back(size)
