from contextlib import closing
from datetime import UTC, datetime
from threading import Event, Thread
from time import monotonic
from typing import Any
from uuid import UUID

import pytest

from daemon.db import reports as reports_module
from daemon.db.figures import Certainty, Figure
from daemon.db.generation import Generations, Instance
from daemon.db.inspection import Newest, inspect
from daemon.db.names import Names
from daemon.db.reports import Reports
from daemon.db.retry import Retries
from daemon.db.schema import SchemaOptions
from daemon.db.similar import Similar
from daemon.db.sweep import SweepOptions, SweepWindow
from daemon.db.whereabouts import Whereabouts
from daemon.errors import DatabaseError, DatabaseUnavailableError, NotFoundError, Reason, TooSlowError
from tests.postgres import DIMENSION, Database, MakeDatabase, wait_until_blocked

MODEL = "vectord:mobilenetv2_1.0_224:1a2b3c4d"
SIGNATURE = f"{MODEL}:g0"


@pytest.fixture
def generations(database: Database) -> Generations:
    made = Generations(database.pool, database.names)
    made.on_start(Instance(name="one", boot_id="boot", signature=SIGNATURE))
    return made


@pytest.fixture
def reports(database: Database) -> Reports:
    return Reports(database.pool, database.names)


def store(database: Database, image_id: int, version: str | None = SIGNATURE, vector: str = "[1,0,0,0]") -> None:
    database.execute("DELETE FROM vectord.job WHERE image_id = %s", (image_id,))
    database.execute(
        "INSERT INTO tb_hsx_img_value (image_id, feature_vector, model_version) VALUES (%s, %s, %s) "
        "ON CONFLICT (image_id) DO UPDATE SET model_version = EXCLUDED.model_version",
        (image_id, vector, version),
    )


def kill(database: Database, image_id: Any, reason: str = "not_found", detail: str = "") -> None:
    database.execute(
        "UPDATE vectord.job SET state = 'dead', reason = %s, last_error = %s, attempts = 5, "
        "failed_at = clock_timestamp() WHERE image_id = %s",
        (reason, detail, image_id),
    )


def test_a_location_that_is_no_text_in_utf_8_is_shown_as_far_as_it_is(make_database: MakeDatabase) -> None:
    database = make_database(encoding="SQL_ASCII")
    database.execute(
        "INSERT INTO ecai.tb_image (id, url) VALUES (1, convert_from(%s, 'SQL_ASCII'))", (b"/caf\xe9.png",)
    )
    kill(database, 1)
    reports = Reports(database.pool, database.names)
    assert [one.location for one in reports.failures()] == ["/caf?.png"]
    assert reports.why(1).location == "/caf?.png"
    assert Whereabouts(database.pool, database.names).of(1) == (1, "/caf\udce9.png")
    newest = inspect(database.pool, database.names, SchemaOptions(dimension=DIMENSION)).newest
    assert newest == Newest(image_id=1, location="/caf\udce9.png")


def test_the_status_of_a_database_that_nobody_used(reports: Reports) -> None:
    status = reports.status()
    assert status.signature is None
    assert status.images == Figure(number=0)
    assert status.backlog.pending == Figure(number=0)
    assert status.backlog.oldest is None
    assert (dict(status.dead), status.workers, dict(status.versions), status.reprocess) == ({}, (), {}, None)
    assert status.sweep.ticked_at is None


def test_the_status_tells_the_jobs_apart(database: Database, reports: Reports, generations: Generations) -> None:
    database.insert(range(1, 11))
    database.execute(
        "UPDATE vectord.job SET lease_token = gen_random_uuid(), lease_until = now() + interval '1 min' "
        "WHERE image_id <= 3"
    )
    database.execute(
        "UPDATE vectord.job SET lease_token = gen_random_uuid(), lease_until = now() - interval '1 min' "
        "WHERE image_id = 4"
    )
    database.execute("UPDATE vectord.job SET not_before = now() + interval '1 hour' WHERE image_id = 5")
    database.execute("UPDATE vectord.job SET enqueued_at = '2026-01-01T00:00:00Z' WHERE image_id = 7")
    kill(database, 8)
    kill(database, 9)
    kill(database, 10, "truncated")
    status = reports.status()
    backlog = status.backlog
    assert (backlog.pending.number, backlog.leased, backlog.due, backlog.waiting) == (7, 3, 3, 1)
    assert backlog.oldest == datetime(2026, 1, 1, tzinfo=UTC)
    assert {reason: figure.number for reason, figure in status.dead.items()} == {"not_found": 2, "truncated": 1}
    assert dict(reports.dead()) == dict(status.dead)
    assert (status.signature, status.images.number) == (SIGNATURE, 10)


def test_the_status_shows_versions_and_foreign_vectors(database: Database, reports: Reports) -> None:
    database.insert(range(1, 6))
    for image_id, version in enumerate([SIGNATURE, SIGNATURE, "MobileNetV2", None], start=1):
        store(database, image_id, version)
    status = reports.status()
    assert {version: figure.number for version, figure in status.versions.items()} == {
        SIGNATURE: 2,
        "MobileNetV2": 1,
        None: 1,
    }
    assert reports.foreign() == Figure(number=2)


def test_a_large_table_is_estimated_from_a_sample(
    database: Database, reports: Reports, monkeypatch: pytest.MonkeyPatch
) -> None:
    database.execute("ALTER TABLE ecai.tb_image DISABLE TRIGGER USER")
    database.insert(range(1, 50_001))
    monkeypatch.setattr(reports_module, "SAMPLED_PAGES", 100)
    images = reports.status().images
    assert images.certainty is Certainty.ESTIMATE
    assert 30_000 < images.number < 75_000


def test_writes_are_counted_by_the_server(database: Database, reports: Reports) -> None:
    database.insert([1, 2])
    store(database, 1)
    store(database, 2)
    deadline = monotonic() + 20
    while reports.status().writes < 2 and monotonic() < deadline:
        pass
    assert reports.status().writes == 2


def test_partitioned_tables_are_measured_by_their_parts(make_database: MakeDatabase) -> None:
    names = Names(source_table="public.picture", target_table="public.vector_of")
    made = make_database(
        names,
        "CREATE TABLE picture (id bigint PRIMARY KEY, url text) PARTITION BY RANGE (id);"
        "CREATE TABLE picture_1 PARTITION OF picture FOR VALUES FROM (0) TO (10);"
        "CREATE TABLE picture_2 PARTITION OF picture FOR VALUES FROM (10) TO (1000)",
        trigger=False,
    )
    made.insert(range(1, 21))
    assert SweepWindow(made.pool, names, SweepOptions(window=15)).step(SIGNATURE).queued == 15
    status = Reports(made.pool, names).status()
    assert (status.images, status.sweep.cursor) == (Figure(number=20), 15)


def test_the_status_shows_daemons_and_the_sweep(database: Database, reports: Reports) -> None:
    database.execute(
        "INSERT INTO vectord.worker (worker, host, pid, signature, seen_at, ended_at) VALUES "
        "('a', 'one', 1, 'x', now(), NULL), ('b', 'two', 2, 'x', now() - interval '1 hour', NULL), "
        "('c', 'two', 3, 'x', now() - interval '1 second', now())"
    )
    database.insert(range(1, 21))
    SweepWindow(database.pool, database.names, SweepOptions(window=10)).step(SIGNATURE)
    status = reports.status()
    seen = [(worker.worker, worker.alive, worker.ended_at is not None) for worker in status.workers]
    assert seen == [("a", True, False), ("c", False, True), ("b", False, False)]
    assert (status.sweep.cursor, status.sweep.looked, status.sweep.cycle) == (10, 10, 0)
    assert status.sweep.ticked_at is not None


def test_the_progress_of_a_reprocess(database: Database, reports: Reports, generations: Generations) -> None:
    database.insert(range(1, 101))
    for image_id in range(1, 101):
        store(database, image_id)
    assert reports.status().reprocess is not None
    generations.raise_now("the operator said so")
    signature = f"{MODEL}:g1"
    sweep = SweepWindow(database.pool, database.names, SweepOptions(window=60))
    sweep.step(signature)
    progress = reports.status().reprocess
    assert progress is not None
    assert (progress.generation, progress.cause) == (1, "the operator said so")
    assert (progress.done, progress.total, progress.seconds_left) == (0, 100, None)
    for image_id in range(1, 21):
        store(database, image_id, signature)
    progress = reports.status().reprocess
    assert progress is not None
    assert (progress.done, progress.share) == (20, 0.2)
    assert progress.seconds_left is not None
    assert progress.seconds_left > 0
    sweep.step(signature)
    for image_id in range(21, 101):
        store(database, image_id, signature)
    sweep.step(signature)
    progress = reports.status().reprocess
    assert progress is not None
    assert progress.ended_at is not None
    assert (progress.done, progress.share, progress.seconds_left) == (100, 1.0, 0.0)


def test_failures_newest_first_without_credentials(database: Database, reports: Reports) -> None:
    database.insert(range(1, 6), "http://user:secret@example.test/{}.jpg")
    for image_id, reason in enumerate(["not_found", "truncated", "not_found", "too_large"], start=1):
        kill(database, image_id, reason, "GET http://user:secret@example.test/ failed")
    found = reports.failures()
    assert [(one.image_id, one.reason) for one in found] == [
        (4, "too_large"),
        (3, "not_found"),
        (2, "truncated"),
        (1, "not_found"),
    ]
    assert [one.image_id for one in reports.failures(Reason.NOT_FOUND)] == [3, 1]
    assert [one.image_id for one in reports.failures(limit=2)] == [4, 3]
    assert found[0].explanation == Reason.TOO_LARGE.explanation
    assert found[0].attempts == 5
    assert "secret" not in repr(found)
    assert found[0].location.endswith("example.test/4.jpg")


def test_why_tells_all_of_an_image(database: Database, reports: Reports, generations: Generations) -> None:
    database.insert([1, 2], "http://user:secret@example.test/{}.jpg")
    store(database, 2, f"{MODEL}:g9")
    kill(database, 1, detail="http://a:secret@b/")
    one, two, three = (reports.why(image_id) for image_id in ("1", 2, 3))
    assert (one.exists, one.vector, one.signature) == (True, None, SIGNATURE)
    assert one.job is not None
    assert (one.job.state, one.job.reason, one.job.attempts) == ("dead", "not_found", 5)
    assert "secret" not in repr(one)
    assert "not_found" in one.verdict
    assert two.vector is not None
    assert (two.vector.version, two.vector.present, two.job) == (f"{MODEL}:g9", False, None)
    assert two.vector.created is not None
    assert (three.exists, three.location) == (False, None)
    with pytest.raises(NotFoundError, match="abc"):
        reports.why("abc")


def test_why_of_ids_and_locations_of_other_types(make_database: MakeDatabase) -> None:
    names = Names(
        source_table="public.picture",
        source_id="key",
        source_location="bytes",
        target_table="public.vector_of",
        target_id="key",
        target_vector="vec",
        target_dimension="",
        target_version="made_by",
    )
    made = make_database(
        names,
        "CREATE TABLE picture (key uuid PRIMARY KEY, bytes bytea);"
        "CREATE TABLE vector_of (key uuid UNIQUE, vec real[], made_by varchar(50))",
    )
    image_id = UUID(int=7)
    made.execute("INSERT INTO picture VALUES (%s, '\\xdeadbeef')", (image_id,))
    made.execute("INSERT INTO vector_of VALUES (%s, '{1,0,0,0}', 'MobileNetV2')", (image_id,))
    why = Reports(made.pool, names).why(image_id)
    assert (why.location, why.exists) == ("4 bytes in the row", True)
    assert why.vector is not None
    assert (why.vector.version, why.vector.created, why.vector.updated) == ("MobileNetV2", None, None)
    kill(made, image_id)
    assert Reports(made.pool, names).failures()[0].location == "4 bytes in the row"
    assert Retries(made.pool, names).one(image_id) == 1


@pytest.fixture
def retries(database: Database) -> Retries:
    return Retries(database.pool, database.names)


def pending(database: Database) -> list[int]:
    return [
        row[0]
        for row in database.execute(
            "SELECT image_id FROM vectord.job WHERE state = 'pending' AND attempts = 0 ORDER BY 1"
        )
    ]


def test_one_image_is_tried_again(database: Database, retries: Retries) -> None:
    database.insert([1, 2, 3])
    kill(database, 1)
    database.execute("UPDATE vectord.job SET attempts = 2, not_before = now() + interval '1 hour' WHERE image_id = 2")
    database.execute("UPDATE vectord.job SET attempts = 1, lease_until = now() + interval '1 min' WHERE image_id = 3")
    assert [retries.one(image_id) for image_id in (1, "2", 3, 4)] == [1, 1, 0, 0]
    assert pending(database) == [1, 2]
    assert database.execute("SELECT count(*) FROM vectord.job WHERE not_before > now()") == [(0,)]


def test_a_retry_does_not_wait_for_a_transaction_that_stays_open(database: Database, retries: Retries) -> None:
    database.insert([1])
    kill(database, 1)
    with closing(database.connect()) as session:
        session.cursor().execute("UPDATE ecai.tb_image SET url = 'http://example.test/new'")
        with pytest.raises(DatabaseUnavailableError, match="has written image 1; try again"):
            retries.one(1)
        session.rollback()
    assert retries.one(1) == 1


def test_all_of_a_reason_or_all_are_tried_again_in_small_transactions(
    database: Database, retries: Retries, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("daemon.db.retry.AT_ONCE", 10)
    database.insert(range(1, 101))
    database.execute(
        "UPDATE vectord.job SET state = 'dead', attempts = 1, failed_at = now(), "
        "reason = CASE WHEN image_id <= 35 THEN 'not_found' ELSE 'too_large' END"
    )
    assert retries.reason(Reason.NOT_FOUND) == 35
    assert pending(database) == list(range(1, 36))
    assert retries.reason(Reason.TRUNCATED) == 0
    assert retries.all() == 65


def test_a_retry_tells_the_daemons(database: Database, retries: Retries) -> None:
    database.insert([1])
    kill(database, 1)
    with closing(database.connect()) as other, other.cursor() as cursor:
        other.autocommit = True
        cursor.execute("LISTEN vectord")
        retries.all()
        cursor.execute("SELECT 1")
        assert len(other.notifies) == 1


def test_what_dies_while_all_are_retried_is_not_retried_for_ever(database: Database, retries: Retries) -> None:
    database.insert(range(1, 201))
    database.execute("UPDATE vectord.job SET state = 'dead', failed_at = now(), reason = 'not_found'")
    stop = Event()

    def keep_killing() -> None:
        while not stop.is_set():
            database.execute(
                "UPDATE vectord.job SET state = 'dead', failed_at = clock_timestamp(), reason = 'not_found' "
                "WHERE state = 'pending'"
            )

    killer = Thread(target=keep_killing)
    killer.start()
    try:
        assert retries.reason(Reason.NOT_FOUND) == 200
    finally:
        stop.set()
        killer.join()


VECTORS = {1: "[1,0,0,0]", 2: "[0.9,0.1,0,0]", 3: "[0,1,0,0]", 4: "[-1,0,0,0]"}


@pytest.mark.parametrize("kind", ["vector(4)", "halfvec(4)", "real[]"])
def test_the_nearest_are_found_in_columns_of_every_type(make_database: MakeDatabase, kind: str) -> None:
    names = Names(target_table="public.vector_of")
    made = make_database(
        names,
        "CREATE EXTENSION vector;"
        f"CREATE TABLE vector_of (image_id bigint UNIQUE, feature_vector {kind}, vector_dimension int, "
        "model_version varchar(50))",
    )
    for image_id, vector in VECTORS.items():
        text = vector if kind != "real[]" else "{" + vector[1:-1] + "}"
        made.execute("INSERT INTO vector_of VALUES (%s, %s, 4, 'x')", (image_id, text))
    similar = Similar(made.pool, names)
    found = similar.to_image("1", 3)
    assert [one.image_id for one in found] == [2, 3, 4]
    assert [round(one.similarity, 2) for one in found] == [0.99, 0.0, -1.0]
    assert [one.image_id for one in similar.to_vector([0.0, 2.0, 0.0, 0.0], 1)] == [3]
    with pytest.raises(NotFoundError, match="no vector"):
        similar.to_image(99)
    with pytest.raises(DatabaseError, match="dimensions"):
        similar.to_vector([1.0])


def test_the_nearest_come_from_the_index(database: Database) -> None:
    database.execute("ALTER TABLE ecai.tb_image DISABLE TRIGGER USER")
    database.insert(range(1, 3001))
    database.execute(
        "INSERT INTO tb_hsx_img_value (image_id, feature_vector) "
        "SELECT id, ARRAY[random(), random(), random(), random()]::real[]::vector FROM ecai.tb_image"
    )
    database.execute("ANALYZE tb_hsx_img_value")
    similar = Similar(database.pool, database.names)
    assert len(similar.to_image(1, 100)) == 100
    # A session reports what it did at its end.
    database.pool.close()
    deadline = monotonic() + 20
    while not index_scans(database) and monotonic() < deadline:
        pass
    assert index_scans(database) == 1


def test_a_search_that_takes_too_long_is_given_up(database: Database) -> None:
    patient, hasty = Similar(database.pool, database.names), Similar(database.pool, database.names, seconds=0.2)
    with closing(database.connect()) as session:
        session.cursor().execute("LOCK TABLE tb_hsx_img_value IN ACCESS EXCLUSIVE MODE")
        for search in (lambda: hasty.to_image(1), lambda: hasty.to_vector([1.0] * 4), lambda: hasty.vector_of(1)):
            with pytest.raises(TooSlowError, match=r"0\.2 s"):
                search()
        with database.in_thread(lambda: patient.to_vector([1.0] * 4)) as searching:
            wait_until_blocked(database, by=session)
            session.rollback()
    assert searching.result() == []


def index_scans(database: Database) -> int:
    ((scans,),) = database.execute(
        "SELECT sum(s.idx_scan) FROM pg_stat_user_indexes s JOIN pg_index i USING (indexrelid) "
        "JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_am a ON a.oid = c.relam WHERE a.amname = 'hnsw'"
    )
    return int(scans)
