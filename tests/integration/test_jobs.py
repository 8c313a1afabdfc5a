"""The queue: who gets which job, until when, and what a claim is worth."""

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from daemon.db import jobs
from daemon.db.jobs import JobQueue
from daemon.db.names import Names
from daemon.errors import DatabaseUnavailableError, Reason
from daemon.records import Claim, Dead, StoredBytes
from tests.postgres import LAYOUTS, Database, MakeDatabase, users_tables, wait_until_blocked

EXPIRE = "UPDATE vectord.job SET lease_until = now() - interval '1 second' WHERE lease_until IS NOT NULL"
STATES = "SELECT state, attempts, reason FROM vectord.job ORDER BY image_id"


def queue_of(database: Database, worker: str = "one", *, max_attempts: int = 5, stored_bytes: bool = False) -> JobQueue:
    return JobQueue(
        database.pool,
        database.names,
        worker=worker,
        lease_seconds=60,
        max_attempts=max_attempts,
        stored_bytes=stored_bytes,
        signature="signature",
    )


def ids(claims: list[Claim]) -> list[object]:
    return [claim.image_id for claim in claims]


@pytest.mark.parametrize("id_type", LAYOUTS)
def test_a_claim_says_all_that_the_work_needs(make_database: MakeDatabase, id_type: str) -> None:
    database = make_database(before=users_tables(id_type))
    wanted = LAYOUTS[id_type]
    before = datetime.now(UTC)
    database.insert(wanted, "http://example.test/{}")
    queue = queue_of(database)
    claims = queue.claim(100)
    assert sorted(ids(claims)) == sorted(wanted)  # type: ignore[type-var] # of one type within a layout
    for claim in claims:
        assert claim.location == f"http://example.test/{claim.image_id}"
        assert (claim.revision, claim.attempt, claim.suspect) == (1, 1, False)
        assert claim.enqueued_at is not None
        assert abs(claim.enqueued_at - before) < timedelta(minutes=1)
    assert queue.renew(claims) == len(wanted)
    assert queue.release(claims) == len(wanted)
    database.execute("DELETE FROM ecai.tb_image WHERE id = %s", (wanted[0],))
    assert len(queue.claim(100)) == len(wanted) - 1


def test_an_image_without_location_is_claimed_with_an_empty_one(database: Database) -> None:
    database.execute("INSERT INTO ecai.tb_image (id) VALUES (1)")
    assert queue_of(database).claim(1)[0].location == ""


@pytest.mark.parametrize(
    ("encoding", "kept", "told"),
    [
        ("SQL_ASCII", b"/caf\xe9.png", "/caf\udce9.png"),
        ("SQL_ASCII", "/café.png".encode(), "/café.png"),
        ("WIN1252", b"/caf\xe9.png", "/café.png"),
        ("WIN1252", b"/\x81.png", "/\udc81.png"),
        ("EUC_CN", "/中文.png".encode("gb2312"), "/中文.png"),
    ],
)
def test_a_location_that_is_no_text_in_utf_8_keeps_no_others_from_being_claimed(
    make_database: MakeDatabase, encoding: str, kept: bytes, told: str
) -> None:
    database = make_database(encoding=encoding)
    database.insert([1, 2], "/plain.png")
    database.execute("INSERT INTO ecai.tb_image (id, url) VALUES (3, convert_from(%s, getdatabaseencoding()))", (kept,))
    assert {claim.image_id: claim.location for claim in queue_of(database).claim(10)} == {
        1: "/plain.png",
        2: "/plain.png",
        3: told,
    }


def test_a_picture_in_the_row_is_claimed_by_its_size_and_read_later(make_database: MakeDatabase) -> None:
    database = make_database(before=users_tables(location="bytea"))
    database.execute("INSERT INTO ecai.tb_image VALUES (1, %s), (2, NULL)", (b"\x00\xffpicture",))
    queue = queue_of(database, stored_bytes=True)
    claims = queue.claim(2)
    assert [claim.location for claim in claims] == [StoredBytes(size=9), StoredBytes(size=0)]
    assert [queue.read_stored(claim) for claim in claims] == [b"\x00\xffpicture", b""]
    database.execute("DELETE FROM ecai.tb_image")
    assert queue.read_stored(claims[0]) == b""


def test_new_images_come_before_the_backlog_and_the_longest_due_first(database: Database) -> None:
    database.insert(range(1, 7))
    database.execute("UPDATE vectord.job SET priority = 1 WHERE image_id <= 3")
    database.execute("UPDATE vectord.job SET not_before = now() - interval '1 hour' WHERE image_id IN (2, 5)")
    database.execute("UPDATE vectord.job SET not_before = now() + interval '1 hour' WHERE image_id = 6")
    queue = queue_of(database)
    assert set(ids(queue.claim(1))) == {5}
    mixed = queue.claim(2)
    assert ids(mixed) == [4, 2]
    assert [claim.backfill for claim in mixed] == [False, True]
    assert set(ids(queue.claim(9))) == {1, 3}
    assert queue.claim(9) == []


def test_no_job_is_claimed_twice_by_many_daemons(database: Database) -> None:
    database.insert(range(600))

    def drain(number: int) -> list[object]:
        queue = queue_of(database, f"worker {number}")
        found: list[object] = []
        while claims := queue.claim(7 + number):
            found += ids(claims)
        return found

    with ThreadPoolExecutor(6) as threads:
        claimed = [one for found in threads.map(drain, range(6)) for one in found]
    # A daemon may find nothing for a moment because the others hold what is left.
    claimed += ids(queue_of(database).claim(600))
    assert sorted(claimed) == list(range(600))  # type: ignore[type-var] # they are integers


def test_a_claim_waits_for_nobody(database: Database) -> None:
    database.insert([1, 2, 3])
    with closing(database.connect()) as session:
        session.cursor().execute("UPDATE ecai.tb_image SET url = 'http://example.test/new' WHERE id = 2")
        queue = queue_of(database)
        assert set(ids(queue.claim(9))) == {1, 3}
        # What is due and locked is looked for again soon, but not at once.
        assert queue.claim(9) == []
        assert queue.seconds_until_due() == jobs.LOOK_AGAIN_SECONDS
        session.commit()
    assert [(claim.revision, claim.location) for claim in queue.claim(9)] == [(2, "http://example.test/new")]


def test_a_location_is_never_older_than_its_revision(database: Database) -> None:
    """The location is read after the job is locked. Read in one statement with it, it is now and then the old one."""
    database.insert([1], "0")
    stop = threading.Event()

    def change() -> None:
        with closing(database.connect()) as session, session.cursor() as cursor:
            number = 0
            while not stop.is_set():
                number += 1
                cursor.execute("UPDATE ecai.tb_image SET url = %s", (str(number),))
                session.commit()

    queue, seen = queue_of(database), 0
    with ThreadPoolExecutor(1) as threads:
        changing = threads.submit(change)
        try:
            while seen < 300:
                for claim in queue.claim(1):
                    # Revision 1 came with location 0.
                    assert int(str(claim.location)) >= claim.revision - 1
                    seen += 1
        finally:
            stop.set()
        changing.result()


def test_an_expired_lease_is_taken_over_and_its_attempt_stays_counted(database: Database) -> None:
    database.insert([1])
    one, two = queue_of(database, "one"), queue_of(database, "two")
    (first,) = one.claim(1)
    assert two.claim(1) == []
    database.execute(EXPIRE)
    (second,) = two.claim(1)
    assert (second.attempt, second.revision) == (2, 1)
    assert second.token != first.token
    assert one.renew([first]) == 0
    assert one.release([first]) == 0
    assert two.renew([second]) == 1
    assert database.execute("SELECT worker, lease_until > now() + interval '50 seconds' FROM vectord.job") == [
        ("two", True)
    ]


def test_a_lease_that_ran_out_unnoticed_can_still_be_renewed(database: Database) -> None:
    database.insert([1])
    queue = queue_of(database)
    claims = queue.claim(1)
    database.execute(EXPIRE)
    assert queue.renew(claims) == 1
    assert queue_of(database, "two").claim(1) == []


def test_an_image_that_outlives_every_daemon_ends_dead(database: Database) -> None:
    database.insert([1])
    told: list[Dead] = []
    queue = queue_of(database, max_attempts=3)
    queue.tell = told.append
    for attempt in (1, 2, 3, 4, 5, 6):
        assert [claim.attempt for claim in queue.claim(9)] == [attempt]
        database.execute(EXPIRE)
    assert queue.claim(9) == []
    assert database.execute(STATES) == [("dead", 6, "daemon_lost")]
    assert database.execute("SELECT failed_at, lease_token FROM vectord.job")[0][1] is None
    assert queue.seconds_until_due() is None
    assert [(dead.claim.image_id, dead.claim.attempt, dead.reason) for dead in told] == [(1, 6, Reason.DAEMON_LOST)]


def test_images_that_many_daemons_died_over_are_tried_one_at_a_time(database: Database) -> None:
    database.insert(range(1, 11))
    queue = queue_of(database, max_attempts=3)
    for _ in range(3):
        assert len(queue.claim(20)) == 10
        database.execute(EXPIRE)
    database.insert([11, 12])
    first = queue.claim(20)
    assert sorted(claim.attempt for claim in first) == [1, 1, 4]
    # The others keep their leases for a while, each for another, and wait for nobody in particular.
    assert queue.claim(20) == []
    waits = "SELECT count(DISTINCT lease_until), min(lease_until) > now(), max(lease_until) < now() + '61 s' "
    assert database.execute(f"{waits} FROM vectord.job WHERE attempts = 3") == [(9, True, True)]
    # The daemon dies again: one of ten was in work.
    database.execute(EXPIRE)
    assert sorted(claim.attempt for claim in queue.claim(20)) == [2, 2, 4]
    assert database.execute("SELECT attempts, count(*) FROM vectord.job GROUP BY 1 ORDER BY 1") == [
        (2, 2), (3, 8), (4, 2),
    ]  # fmt: skip


def test_only_lost_leases_end_so(database: Database) -> None:
    database.insert([1])
    # Somebody lowered max_attempts while this waited for its next try.
    database.execute("UPDATE vectord.job SET attempts = 9, reason = 'read_timeout'")
    assert [claim.attempt for claim in queue_of(database, max_attempts=3).claim(1)] == [10]


def test_jobs_whose_image_is_gone_are_removed(database: Database) -> None:
    database.insert([1, 2, 3])
    database.execute("ALTER TABLE ecai.tb_image DISABLE TRIGGER USER")
    database.execute("DELETE FROM ecai.tb_image WHERE id <> 2")
    assert ids(queue_of(database).claim(9)) == [2]
    assert database.execute("SELECT image_id FROM vectord.job") == [(2,)]


def test_what_is_released_waits_for_whoever_has_locked_it(database: Database) -> None:
    database.insert([1, 2])
    queue = queue_of(database)
    claims = queue.claim(9)
    patient = queue._queries["release"].replace("500ms", "60s")
    queue._queries = {**queue._queries, "release": patient}
    with closing(database.connect()) as session, session.cursor() as cursor, ThreadPoolExecutor(1) as threads:
        cursor.execute("SELECT FROM vectord.job WHERE image_id = 1 FOR UPDATE")
        released = threads.submit(queue.release, claims)
        wait_until_blocked(database, by=session)
        session.commit()
        assert released.result() == 2


def test_what_is_released_does_not_wait_for_ever(database: Database) -> None:
    database.insert([1])
    queue = queue_of(database)
    claims = queue.claim(9)
    with closing(database.connect()) as session, session.cursor() as cursor:
        cursor.execute("SELECT FROM vectord.job WHERE image_id = 1 FOR UPDATE")
        with pytest.raises(DatabaseUnavailableError, match="55P03"):
            queue.release(claims)


def test_released_is_as_if_never_claimed(database: Database) -> None:
    database.insert([1, 2])
    database.execute("UPDATE vectord.job SET attempts = 2, suspect = true, reason = 'decoder_crash' WHERE image_id = 1")
    queue = queue_of(database)
    claims = queue.claim(9)
    stale = replace(claims[1], token=uuid4())
    assert queue.release([claims[0], stale]) == 1
    assert queue.release([]) == 0
    assert database.execute(STATES) == [("pending", 2, "decoder_crash"), ("pending", 1, None)]
    assert queue.seconds_until_due() == 0
    (again,) = queue.claim(9)
    assert (again.attempt, again.suspect) == (3, True)


def test_when_to_look_again(database: Database) -> None:
    queue = queue_of(database)
    assert queue.seconds_until_due() is None
    database.insert([1, 2])
    assert queue.seconds_until_due() == 0
    database.execute(
        "UPDATE vectord.job SET priority = 1, not_before = now() + interval '30 seconds' WHERE image_id = 1"
    )
    database.execute("UPDATE vectord.job SET not_before = now() + interval '90 seconds' WHERE image_id = 2")
    seconds = queue.seconds_until_due()
    assert seconds is not None
    assert 25 < seconds <= 30
    # A lease that somebody holds is due when it ends.
    database.execute("UPDATE vectord.job SET lease_until = now() + interval '10 seconds' WHERE image_id = 2")
    seconds = queue.seconds_until_due()
    assert seconds is not None
    assert 5 < seconds <= 10


def test_a_heartbeat_says_that_the_daemon_lives(database: Database) -> None:
    queue = queue_of(database)
    assert queue.renew([]) == 0
    database.execute("UPDATE vectord.worker SET seen_at = now() - interval '1 hour'")
    queue.renew([])
    assert database.execute(
        "SELECT worker, signature, pid > 0, seen_at > now() - interval '1 minute' FROM vectord.worker"
    ) == [("one", "signature", True, True)]


def test_who_leaves_says_so(database: Database) -> None:
    queue, other = queue_of(database), queue_of(database, worker="other")
    queue.renew([])
    other.renew([])
    queue.leave()
    assert database.execute("SELECT worker, ended_at IS NULL FROM vectord.worker ORDER BY worker") == [
        ("one", False),
        ("other", True),
    ]


def test_a_heartbeat_waits_for_nobody(database: Database) -> None:
    database.insert([1, 2])
    queue = queue_of(database)
    claims = queue.claim(9)
    with closing(database.connect()) as session:
        session.cursor().execute("UPDATE ecai.tb_image SET url = 'x' WHERE id = 1")
        assert queue.renew(claims) == 1


def test_a_claim_gives_way_to_a_migration_of_the_users(database: Database) -> None:
    """It has the jobs and wants the images; the migration has the images and wants the jobs, and is not the victim."""
    database.insert([1, 2, 3])
    queue = queue_of(database)
    with closing(database.connect()) as session, ThreadPoolExecutor(1) as pool:
        cursor = session.cursor()
        cursor.execute("ALTER TABLE ecai.tb_image ADD COLUMN tenant integer")
        claimed = pool.submit(queue.claim, 10)
        wait_until_blocked(database, by=session)
        # By now the claim has looked for a deadlock, if it ever does: who closes the circle is the one to find it.
        with pytest.raises(DatabaseUnavailableError, match="lock timeout"):
            claimed.result(60)
        cursor.execute("UPDATE ecai.tb_image SET url = url || '?2'")
        session.commit()
    assert len(queue.claim(10)) == 3


def test_names_of_other_tables(make_database: MakeDatabase) -> None:
    names = Names(schema="other", source_table="public.pictures", source_id="nr", source_location="address")
    database = make_database(names)
    database.insert([1])
    assert [claim.location for claim in queue_of(database).claim(1)] == ["http://example.test/1.jpg"]
