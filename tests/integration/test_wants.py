"""Images that somebody waits for: leased past the queue, by one daemon at a time, and never a stale one."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from threading import Barrier
from typing import Any

import pytest

from daemon.db.wants import Refusal, WantOptions, Wants
from daemon.errors import NotServingError
from daemon.records import Claim, StoredBytes
from daemon.reprocess import Standing
from daemon.service.presence import Presence
from tests.postgres import LAYOUTS, Database, MakeDatabase, queue_of, users_tables

SIGNATURE = "vectord:mobilenetv2_1.0_224:1a2b3c4d:g0"
OTHER = "vectord:mobilenetv2_0.5_224:99999999:g0"
EXPIRE = "UPDATE vectord.job SET lease_until = now() - interval '1 second' WHERE lease_until IS NOT NULL"
JOB = "SELECT state, attempts, worker, revision FROM vectord.job"


def wants_of(database: Database, worker: str = "one", **options: Any) -> Wants:
    given = WantOptions(worker=worker, lease_seconds=60, **options)
    queue = queue_of(database, worker)
    return Wants(database.pool, database.names, lambda: SIGNATURE, given, release=queue.release)


def want(database: Database, image: Any = 1, worker: str = "one", **how: Any) -> Claim | Refusal:
    return wants_of(database, worker).want(image, request="r", **how)


def leased(wanted: Claim | Refusal) -> Claim:
    assert isinstance(wanted, Claim), wanted
    return wanted


def store(database: Database, version: str | None, image: int = 1) -> None:
    database.execute(
        "INSERT INTO tb_hsx_img_value (image_id, feature_vector, model_version) VALUES (%s, '[1,0,0,0]', %s)",
        (image, version),
    )


@pytest.mark.parametrize("id_type", LAYOUTS)
def test_an_id_as_text_leases_the_image_with_a_job_of_its_own(make_database: MakeDatabase, id_type: str) -> None:
    database = make_database(before=users_tables(id_type), trigger=False)
    image = LAYOUTS[id_type][3]
    database.insert([image])
    claim = leased(want(database, str(image)))
    assert (claim.image_id, claim.revision, claim.attempt, claim.request) == (image, 1, 1, "r")
    assert claim.location == f"http://example.test/{image}.jpg"
    assert claim.urgent
    assert database.execute("SELECT image_id, worker FROM vectord.job") == [(image, "one")]
    assert database.execute("SELECT lease_until > now() + interval '50 seconds' FROM vectord.job") == [(True,)]


@pytest.mark.parametrize("image", ["404", "no number", "' OR true --", str(2**80), "", "1.5"])
def test_what_is_not_in_the_table_is_told_so_and_leaves_no_job(database: Database, image: str) -> None:
    database.insert([1])
    before = database.execute(JOB)
    assert want(database, image) is Refusal.NO_SUCH_IMAGE
    assert database.execute(JOB) == before


def test_a_waiting_job_is_leased_as_what_it_is(database: Database) -> None:
    database.insert([1])
    database.execute("UPDATE vectord.job SET revision = 7, attempts = 2, suspect = true, not_before = 'infinity'")
    claim = leased(want(database))
    assert (claim.revision, claim.attempt, claim.suspect) == (7, 3, True)
    assert queue_of(database, "two").claim(9) == []


def test_a_dead_job_gets_another_chance_from_the_start(database: Database) -> None:
    database.insert([1])
    database.execute("UPDATE vectord.job SET state = 'dead', attempts = 5, suspect = true, failed_at = now()")
    claim = leased(want(database))
    assert (claim.attempt, claim.suspect) == (1, False)
    assert database.execute("SELECT state, failed_at FROM vectord.job") == [("pending", None)]


def test_what_a_daemon_works_on_it_keeps_until_its_lease_is_over(database: Database) -> None:
    database.insert([1])
    (theirs,) = queue_of(database, "two").claim(1)
    assert want(database) is Refusal.IN_WORK
    assert want(database, worker="two") is Refusal.IN_WORK
    database.execute(EXPIRE)
    ours = leased(want(database))
    assert ours.token != theirs.token
    assert queue_of(database, "two").renew([theirs]) == 0
    assert queue_of(database).renew([ours]) == 1


def test_what_a_daemon_works_on_is_not_even_locked(database: Database) -> None:
    # What is locked at the moment in which its vector comes is passed over, and done again when the lease is over.
    locker = "SELECT xmax::text FROM vectord.job"
    database.insert([1])
    queue_of(database, "two").claim(1)
    before = database.execute(locker)
    assert want(database) is Refusal.IN_WORK
    assert database.execute(locker) == before


def test_of_many_who_want_it_at_once_one_gets_it(untriggered: Database) -> None:
    untriggered.insert([1])
    start = Barrier(6)

    def ask(number: int) -> Claim | Refusal:
        wants = wants_of(untriggered, f"daemon {number % 2}")
        start.wait(60)
        return wants.want(1, request=str(number))

    with ThreadPoolExecutor(6) as threads:
        answers = list(threads.map(ask, range(6)))
    assert len([one for one in answers if isinstance(one, Claim)]) == 1
    assert answers.count(Refusal.IN_WORK) == 5


def test_a_job_that_another_session_holds_is_not_waited_for(database: Database) -> None:
    database.insert([1])
    with closing(database.connect()) as session:
        session.cursor().execute("UPDATE ecai.tb_image SET url = 'http://example.test/new'")
        assert want(database) is Refusal.IN_WORK
        session.commit()
    assert leased(want(database)).location == "http://example.test/new"


@pytest.mark.parametrize(
    ("version", "replace", "counts"),
    [
        (SIGNATURE, False, True),
        (OTHER, False, False),
        ("MobileNetV2-GPU", False, True),
        ("MobileNetV2-GPU", True, False),
        (None, False, True),
        (None, True, False),
    ],
)
def test_a_vector_that_counts_is_not_made_again(
    untriggered: Database, version: str | None, *, replace: bool, counts: bool
) -> None:
    untriggered.insert([1])
    store(untriggered, version)
    wanted = wants_of(untriggered, replace_foreign=replace).want(1, request="r")
    assert (wanted is Refusal.HAS_VECTOR) is counts
    assert len(untriggered.execute(JOB)) == (0 if counts else 1)


def test_a_superseded_daemon_leases_nothing(untriggered: Database) -> None:
    """Else it would put its old vector in the place of the present one."""
    presence = Presence(SIGNATURE, renew=lambda _: None, suspend=lambda _: None)
    queue, given = queue_of(untriggered), WantOptions(worker="one", lease_seconds=60)
    wants = Wants(untriggered.pool, untriggered.names, presence.storing, given, release=queue.release)
    untriggered.insert([1, 2])
    store(untriggered, OTHER)
    presence.hear(Standing.SUPERSEDED, OTHER)
    for image in (1, 2):
        with pytest.raises(NotServingError, match="another daemon's model counts"):
            wants.want(image, request="r")
    assert untriggered.execute(JOB) == []
    presence.hear(Standing.PRESENT, SIGNATURE)
    leased(wants.want(1, request="r"))


def test_a_vector_that_came_between_two_looks_is_seen(untriggered: Database) -> None:
    """Another daemon stores the vector and takes the job away after the first look, and before the lease."""
    untriggered.insert([1])
    untriggered.execute(
        "CREATE FUNCTION meanwhile() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        "INSERT INTO tb_hsx_img_value (image_id, feature_vector, model_version) "
        f"VALUES (NEW.image_id, '[1,0,0,0]', '{SIGNATURE}'); RETURN NEW; END $$;"
        "CREATE TRIGGER meanwhile BEFORE INSERT ON vectord.job FOR EACH ROW EXECUTE FUNCTION meanwhile()"
    )
    assert want(untriggered) is Refusal.HAS_VECTOR
    assert untriggered.execute(JOB) == []


def test_an_image_that_goes_between_two_looks_leaves_no_job(untriggered: Database) -> None:
    untriggered.insert([1])
    untriggered.execute(
        "CREATE FUNCTION meanwhile() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        "DELETE FROM ecai.tb_image WHERE id = NEW.image_id; RETURN NEW; END $$;"
        "CREATE TRIGGER meanwhile BEFORE INSERT ON vectord.job FOR EACH ROW EXECUTE FUNCTION meanwhile()"
    )
    assert want(untriggered) is Refusal.NO_SUCH_IMAGE
    assert untriggered.execute(JOB) == []


def test_another_location_may_be_given_and_a_released_one_is_as_if_never_leased(database: Database) -> None:
    database.insert([1])
    wants = wants_of(database)
    claim = leased(wants.want(1, request="r", location="http://other.test/x"))
    assert claim.location == "http://other.test/x"
    assert wants.release([claim]) == 1
    assert database.execute(JOB) == [("pending", 0, None, 1)]
    assert queue_of(database).claim(1)[0].location == "http://example.test/1.jpg"


def test_a_picture_in_the_row_is_wanted_by_its_size(make_database: MakeDatabase) -> None:
    database = make_database(before=users_tables(location="bytea"))
    database.execute("INSERT INTO ecai.tb_image VALUES (1, %s)", (b"123456",))
    claim = leased(wants_of(database, stored_bytes=True).want(1, request="r"))
    assert claim.location == StoredBytes(size=6)
