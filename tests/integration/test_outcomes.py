"""Writing outcomes: fenced, waiting for nobody, and never half-done."""

from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from daemon.db.outcomes import REFUSED_IN_A_ROW, OutcomeWriter, Written
from daemon.db.row_faults import LOCKED_TRIES
from daemon.db.schema import SchemaOptions, migrate
from daemon.db.settlement import LONGEST_DETAIL
from daemon.errors import DatabaseUnavailableError, Reason
from daemon.records import Claim, Dead, Outcome, Released, Retry, Stored
from tests.postgres import DIMENSION, LAYOUTS, Database, MakeDatabase, queue_of, users_tables, wait_until_blocked

SIGNATURE = "vectord:mobilenetv2_1.0_224:01234567:g0"
VECTORS = (
    "SELECT image_id, feature_vector::real[]::float[], vector_dimension, model_version "
    "FROM tb_hsx_img_value ORDER BY image_id"
)
IMAGES = "SELECT image_id FROM tb_hsx_img_value ORDER BY image_id"
JOBS = "SELECT image_id, state, attempts, reason FROM vectord.job ORDER BY image_id"


def writer_of(database: Database, *, may_lock: bool = True) -> OutcomeWriter:
    column = migrate(database.pool, database.names, SchemaOptions(dimension=DIMENSION)).vector_column
    return OutcomeWriter(database.pool, database.names, vector_column=column, signature=SIGNATURE, may_lock=may_lock)


def claimed(database: Database, ids: Sequence[Any]) -> list[Claim]:
    database.insert(ids)
    return queue_of(database).claim(len(ids))


def stored(claims: Sequence[Claim], seed: int = 0) -> list[Stored]:
    vectors = (
        np.random.default_rng(seed).standard_normal((len(claims), DIMENSION)).astype(np.float16).astype(np.float32)
    )
    return [Stored(claim=claim, vector=vector) for claim, vector in zip(claims, vectors, strict=True)]


def fates(claim: Claim) -> dict[str, Outcome]:
    return {
        "stored": stored([claim])[0],
        "dead": Dead(claim=claim, stage="load", reason=Reason.GONE, detail=""),
        "retry": Retry(claim=claim, stage="load", reason=Reason.READ_TIMEOUT, detail="", delay=9, charged=True),
        "released": Released(claim=claim),
    }


def total(written: Written) -> int:
    return written.stored + written.dead + written.retried + written.released


@pytest.mark.parametrize("vector", [f"vector({DIMENSION})", "vector", f"halfvec({DIMENSION})", "real[]"])
@pytest.mark.parametrize("id_type", LAYOUTS)
def test_vectors_arrive_as_they_were_sent(make_database: MakeDatabase, id_type: str, vector: str) -> None:
    database = make_database(before=users_tables(id_type, vector))
    outcomes = stored(claimed(database, LAYOUTS[id_type]))
    assert writer_of(database).write(outcomes) == Written(stored=len(outcomes))
    expected = {one.claim.image_id: one.vector.tolist() for one in outcomes}
    rows = database.execute(VECTORS)
    assert {row[0]: row[1] for row in rows} == expected
    assert {row[2:] for row in rows} == {(DIMENSION, SIGNATURE)}
    assert database.execute(JOBS) == []


def test_a_vector_that_is_there_is_replaced_and_the_rest_of_its_row_kept(make_database: MakeDatabase) -> None:
    database = make_database(before=users_tables())
    claims = claimed(database, [1])
    database.execute(
        "INSERT INTO tb_hsx_img_value (image_id, feature_vector, model_version, create_time, note) "
        "VALUES (1, '[9,9,9,9]', 'MobileNetV2-GPU', '2020-01-01', 'mine')"
    )
    kept = "SELECT id, create_time, note FROM tb_hsx_img_value"
    before = database.execute(kept)
    (outcome,) = stored(claims)
    assert writer_of(database).write([outcome]).stored == 1
    assert database.execute(kept) == before
    assert database.execute(VECTORS) == [(1, outcome.vector.tolist(), DIMENSION, SIGNATURE)]


@pytest.mark.parametrize(
    "overtake",
    [
        "UPDATE ecai.tb_image SET url = 'http://example.test/new' WHERE id = 2",
        "DELETE FROM ecai.tb_image WHERE id = 2",
        "DELETE FROM ecai.tb_image WHERE id = 2; INSERT INTO ecai.tb_image (id, url) VALUES (2, 'http://example.test/2.jpg')",
        "UPDATE vectord.job SET lease_token = gen_random_uuid() WHERE image_id = 2",
        "UPDATE vectord.job SET lease_token = NULL, lease_until = NULL WHERE image_id = 2",
        "UPDATE ecai.tb_image SET id = 20 WHERE id = 2",
        "UPDATE vectord.job SET state = 'dead', lease_token = NULL WHERE image_id = 2",
    ],
)
@pytest.mark.parametrize("fate", ["stored", "dead", "retry", "released"])
def test_an_overtaken_claim_writes_nothing(database: Database, overtake: str, fate: str) -> None:
    claims = claimed(database, [1, 2, 3])
    database.execute(overtake)
    before = database.execute("SELECT * FROM vectord.job WHERE image_id IN (2, 20)")
    written = writer_of(database).write([*stored([claims[0], claims[2]]), fates(claims[1])[fate]])
    assert written == Written(stored=2, overtaken=(claims[1],))
    assert database.execute(IMAGES) == [(1,), (3,)]
    assert database.execute("SELECT * FROM vectord.job WHERE image_id IN (2, 20)") == before


def test_a_claim_taken_over_is_stored_by_who_has_it_now(database: Database) -> None:
    first = claimed(database, [1])
    database.execute("UPDATE vectord.job SET lease_until = now() - interval '1 second'")
    second = queue_of(database, "two").claim(1)
    writer = writer_of(database)
    assert writer.write(stored(first)).overtaken == tuple(first)
    assert writer.write(stored(second)).stored == 1


@pytest.mark.parametrize("fate", ["stored", "dead", "retry", "released"])
@pytest.mark.parametrize("stale_fate", ["stored", "dead"])
def test_an_overtaken_claim_beside_the_one_that_holds(database: Database, stale_fate: str, fate: str) -> None:
    """The image changed while it was in work, and both ends come at once."""
    (stale,) = claimed(database, [1])
    database.execute("UPDATE ecai.tb_image SET url = 'http://example.test/new' WHERE id = 1")
    (fresh,) = queue_of(database).claim(1)
    written = writer_of(database).write([fates(stale)[stale_fate], fates(fresh)[fate]])
    counts = {"stored": written.stored, "dead": written.dead, "retry": written.retried, "released": written.released}
    assert counts == dict.fromkeys(counts, 0) | {fate: 1}
    assert written.overtaken == (stale,)
    assert database.execute(IMAGES) == ([(1,)] if fate == "stored" else [])


def test_an_expired_lease_that_nobody_took_still_holds(database: Database) -> None:
    claims = claimed(database, [1])
    database.execute("UPDATE vectord.job SET lease_until = now() - interval '1 hour'")
    assert writer_of(database).write(stored(claims)).stored == 1


def test_an_image_deleted_behind_our_back_leaves_neither_vector_nor_job(database: Database) -> None:
    claims = claimed(database, [1, 2])
    database.execute("ALTER TABLE ecai.tb_image DISABLE TRIGGER USER; DELETE FROM ecai.tb_image WHERE id = 1")
    assert writer_of(database).write(stored(claims)) == Written(stored=1, overtaken=(claims[0],))
    assert database.execute(IMAGES) == [(2,)]
    assert database.execute(JOBS) == []


@pytest.mark.parametrize("ends", ["commit", "rollback"])
def test_a_deletion_under_way_is_not_waited_for(database: Database, ends: str) -> None:
    claims = claimed(database, [1, 2])
    writer = writer_of(database)
    with closing(database.connect()) as session:
        # The trigger is out of the way, so that it is the image that is locked and not its job too.
        database.execute("ALTER TABLE ecai.tb_image DISABLE TRIGGER USER")
        session.cursor().execute("DELETE FROM ecai.tb_image WHERE id = 1")
        assert writer.write(stored(claims)) == Written(stored=1, overtaken=(claims[0],))
        # Nobody's fault, so it goes back uncharged.
        assert database.execute(JOBS) == [(1, "pending", 0, None)]
        getattr(session, ends)()
    database.execute("UPDATE vectord.job SET not_before = now()")
    again = queue_of(database).claim(1)
    assert len(again) == (1 if ends == "rollback" else 0)
    assert writer.write(stored(again)).stored == len(again)
    assert database.execute(IMAGES) == ([(1,), (2,)] if ends == "rollback" else [(2,)])
    assert database.execute(JOBS) == []


@pytest.mark.parametrize("ends", ["commit", "rollback"])
def test_an_update_under_way_is_not_waited_for(database: Database, ends: str) -> None:
    claims = claimed(database, [1, 2])
    writer = writer_of(database)
    with closing(database.connect()) as session:
        session.cursor().execute("UPDATE ecai.tb_image SET url = 'http://example.test/new' WHERE id = 1")
        assert writer.write(stored(claims)) == Written(stored=1, locked=(claims[0],))
        getattr(session, ends)()
    # Committed, it is a new revision and due; rolled back, the claim still holds.
    again = writer.write(stored(claims[:1]))
    assert again == (Written(overtaken=(claims[0],)) if ends == "commit" else Written(stored=1))
    assert [claim.revision for claim in queue_of(database).claim(1)] == ([2] if ends == "commit" else [])


@pytest.mark.parametrize("fate", ["stored", "dead", "retry", "released"])
def test_a_job_that_somebody_has_locked_is_told_from_an_overtaken_one(database: Database, fate: str) -> None:
    claims = claimed(database, [1, 2, 3])
    database.execute("UPDATE ecai.tb_image SET url = 'http://example.test/new' WHERE id = 3")
    outcomes = [fates(claim)[fate] for claim in claims]
    writer = writer_of(database)
    with closing(database.connect()) as session:
        session.cursor().execute("SELECT FROM vectord.job WHERE image_id = 2 FOR UPDATE")
        written = writer.write(outcomes)
        assert (written.locked, written.overtaken) == ((claims[1],), (claims[2],))
        assert writer.write(outcomes[1:2]) == Written(locked=(claims[1],))
        session.rollback()
    assert total(writer.write(outcomes[1:2])) == 1
    assert database.execute("SELECT count(*) FROM vectord.job WHERE lease_token NOTNULL") == [(0,)]


def test_a_job_and_its_vector_that_somebody_has_locked(database: Database) -> None:
    claims = claimed(database, [1, 2])
    with closing(database.connect()) as session:
        session.cursor().execute("INSERT INTO tb_hsx_img_value (image_id, feature_vector) VALUES (1, '[1,2,3,4]')")
        with closing(database.connect()) as other:
            other.cursor().execute("SELECT FROM vectord.job WHERE image_id = 1 FOR UPDATE")
            assert writer_of(database).write(stored(claims)) == Written(stored=1, locked=(claims[0],))
            other.rollback()
        assert writer_of(database).write(stored(claims[:1])) == Written(overtaken=(claims[0],))
    assert database.execute(JOBS) == [(1, "pending", 0, None)]


def test_an_update_of_another_column_under_way_is_no_hindrance(database: Database) -> None:
    claims = claimed(database, [1])
    with closing(database.connect()) as session:
        session.cursor().execute("UPDATE ecai.tb_image SET md5 = 'x' WHERE id = 1")
        assert writer_of(database).write(stored(claims)).stored == 1


def test_a_vector_that_somebody_has_locked_is_not_waited_for(database: Database) -> None:
    claims = claimed(database, [1, 2])
    database.execute("INSERT INTO tb_hsx_img_value (image_id, feature_vector) VALUES (1, '[1,2,3,4]')")
    with closing(database.connect()) as session:
        session.cursor().execute("UPDATE tb_hsx_img_value SET model_version = 'theirs' WHERE image_id = 1")
        assert writer_of(database).write(stored(claims)) == Written(stored=1, overtaken=(claims[0],))
        session.commit()
    assert database.execute(JOBS) == [(1, "pending", 0, None)]
    assert database.execute("SELECT not_before > now(), lease_token FROM vectord.job") == [(True, None)]


def test_a_vector_that_somebody_is_inserting_costs_its_neighbours_nothing(database: Database) -> None:
    claims = claimed(database, range(1, 6))
    with closing(database.connect()) as session:
        session.cursor().execute("INSERT INTO tb_hsx_img_value (image_id, feature_vector) VALUES (4, '[1,2,3,4]')")
        assert writer_of(database).write(stored(claims)) == Written(stored=4, overtaken=(claims[3],))
    assert database.execute(IMAGES) == [(1,), (2,), (3,), (5,)]
    assert database.execute(JOBS) == [(4, "pending", 0, None)]


def test_a_writer_does_not_bear_with_others_for_as_long_as_a_lease(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody inserts the vectors of half a batch, and does not come to an end."""
    monkeypatch.setattr("daemon.db.outcomes.LOCK_TIMEOUT", "50ms")
    claims = claimed(database, range(1, 65))
    outcomes: list[Outcome] = [*stored(claims[:63]), Released(claim=claims[63])]
    writer, tries = writer_of(database), 0
    once = writer._write

    def counted(outcomes: Sequence[Outcome]) -> Written:
        nonlocal tries
        tries += 1
        return once(outcomes)

    monkeypatch.setattr(writer, "_write", counted)
    with closing(database.connect()) as session:
        session.cursor().execute(
            "INSERT INTO tb_hsx_img_value (image_id, feature_vector) "
            "SELECT n, '[1,2,3,4]' FROM generate_series(1, 64, 2) n"
        )
        written = writer.write(outcomes)
        assert tries < 2 * LOCKED_TRIES
        assert written.released == 1
        assert written.stored + len(written.overtaken) == 63
        assert set(range(1, 64, 2)) <= {claim.image_id for claim in written.overtaken}
        session.rollback()
    assert database.execute("SELECT DISTINCT state, attempts, lease_token IS NULL FROM vectord.job") == [
        ("pending", 0, True)
    ]


def test_of_a_deadlock_the_store_is_the_victim(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its own patience is shorter than PostgreSQL's, so here it is longer, for a deadlock to come about at all."""
    monkeypatch.setattr("daemon.db.outcomes.LOCK_TIMEOUT", "60s")
    writer, outcomes = writer_of(database), stored(claimed(database, [1, 2]))
    insert = "INSERT INTO tb_hsx_img_value (image_id, feature_vector) VALUES (%s, '[1,2,3,4]')"
    with closing(database.connect()) as user, user.cursor() as cursor:
        # Whoever has waited so long looks whether it is a deadlock, and is its victim then.
        cursor.execute("SET deadlock_timeout = '60s'")
        cursor.execute(insert, (2,))
        with database.in_thread(lambda: writer.write(outcomes)) as writing:
            wait_until_blocked(database, by=user)
            cursor.execute(insert, (1,))
            with pytest.raises(DatabaseUnavailableError, match="40P01"):
                writing.result(60)
        user.rollback()
    assert writer.write(outcomes) == Written(stored=2)


def test_a_table_that_is_locked_is_a_fault_of_the_database(database: Database) -> None:
    claims = claimed(database, [1, 2, 3])
    writer = writer_of(database)
    with closing(database.connect()) as session:
        session.cursor().execute("LOCK TABLE tb_hsx_img_value")
        with pytest.raises(DatabaseUnavailableError, match="lock timeout"):
            writer.write(stored(claims))
    assert writer.write(stored(claims)).stored == 3


def test_a_deletion_that_ends_in_mid_store_is_no_error(database: Database) -> None:
    """Without the right to lock images the foreign key waits for the deletion, and then objects."""
    claims = claimed(database, [1, 2])
    writer = writer_of(database, may_lock=False)
    database.execute("ALTER TABLE ecai.tb_image DISABLE TRIGGER USER")
    with closing(database.connect()) as session:
        session.cursor().execute("DELETE FROM ecai.tb_image WHERE id = 1")
        with database.in_thread(lambda: writer.write(stored(claims))) as writing:
            wait_until_blocked(database, by=session)
            session.commit()
            assert writing.result(60) == Written(stored=1, overtaken=(claims[0],))
    assert database.execute(IMAGES) == [(2,)]
    assert database.execute(JOBS) == []


def test_a_row_that_the_table_refuses_costs_its_neighbours_nothing(database: Database) -> None:
    claims = claimed(database, range(1, 8))
    database.execute("ALTER TABLE tb_hsx_img_value ADD CONSTRAINT not_three CHECK (image_id <> 3)")
    written = writer_of(database).write(stored(claims))
    (dead,) = written.refused
    assert written == Written(stored=6, dead=1, refused=(dead,))
    assert (dead.claim, dead.stage, dead.reason) == (claims[2], "store", Reason.VECTOR_REFUSED)
    assert database.execute(JOBS) == [(3, "dead", 1, "vector_refused")]
    assert "not_three" in database.execute("SELECT last_error FROM vectord.job")[0][0]


@pytest.mark.parametrize(
    ("change", "undo"),
    [
        ("ADD COLUMN tenant integer NOT NULL", "DROP COLUMN tenant"),
        ("ALTER COLUMN feature_vector TYPE vector(3)", f"ALTER COLUMN feature_vector TYPE vector({DIMENSION})"),
        ("ADD CONSTRAINT closed CHECK (false)", "DROP CONSTRAINT closed"),
    ],
)
def test_a_table_that_refuses_every_row_costs_no_image_its_life(database: Database, change: str, undo: str) -> None:
    claims, writer = claimed(database, range(1, 33)), writer_of(database)
    database.execute(f"ALTER TABLE tb_hsx_img_value {change}")
    written = writer.write(stored(claims))
    assert (written.stored, written.dead, written.retried) == (0, 0, 32)
    assert {one.reason for one in written.refused} == {Reason.TARGET_REFUSES}
    waiting = "SELECT count(*) FROM vectord.job WHERE state = 'pending' AND attempts = 0 AND not_before > now()"
    assert database.execute(waiting) == [(32,)]
    database.execute(f"ALTER TABLE tb_hsx_img_value {undo}")
    database.execute("UPDATE vectord.job SET not_before = now()")
    assert writer.write(stored(queue_of(database).claim(99))).stored == 32


def test_a_table_that_refuses_one_row_after_the_other_is_to_blame_in_the_end(database: Database) -> None:
    writer = writer_of(database)
    database.execute("ALTER TABLE tb_hsx_img_value ADD CONSTRAINT odd CHECK (image_id % 2 = 0)")
    claims = claimed(database, range(1, 2 * REFUSED_IN_A_ROW))
    fates = [writer.write(stored([claim])) for claim in claims if claim.image_id % 2]  # type: ignore[operator] # bigint
    assert [fate.dead for fate in fates] == [1] * (REFUSED_IN_A_ROW - 1) + [0]
    assert writer.write(stored(claims[1:2])).stored == 1
    assert writer.write(stored(claimed(database, [101]))).dead == 1


def test_a_row_that_is_refused_at_the_end_of_the_transaction_costs_its_neighbours_nothing(database: Database) -> None:
    claims = claimed(database, range(1, 8))
    database.execute(
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'not this one'; END $$; "
        "CREATE CONSTRAINT TRIGGER late AFTER INSERT ON tb_hsx_img_value DEFERRABLE INITIALLY DEFERRED "
        "FOR EACH ROW WHEN (NEW.image_id = 3) EXECUTE FUNCTION refuse()"
    )
    written = writer_of(database).write(stored(claims))
    assert (written.stored, [dead.claim for dead in written.refused]) == (6, [claims[2]])
    assert database.execute(JOBS) == [(3, "dead", 1, "vector_refused")]
    assert "not this one" in database.execute("SELECT last_error FROM vectord.job")[0][0]


def test_failures_are_written_as_decided(database: Database) -> None:
    claims = claimed(database, range(1, 7))
    outcomes: list[Outcome] = [
        Dead(claim=claims[0], stage="load", reason=Reason.NOT_FOUND, detail="no such file"),
        Retry(claim=claims[1], stage="load", reason=Reason.READ_TIMEOUT, detail="slow", delay=100.0, charged=True),
        Retry(claim=claims[2], stage="embed", reason=Reason.ENGINE_FAILED, detail="", delay=10.0, charged=False),
        Retry(claim=claims[3], stage="load", reason=Reason.DECODER_CRASH, detail="", delay=0.0, charged=True),
        Released(claim=claims[4]),
        *stored(claims[5:]),
    ]
    assert writer_of(database).write(outcomes) == Written(stored=1, dead=1, retried=3, released=1)
    assert database.execute(JOBS) == [
        (1, "dead", 1, "not_found"),
        (2, "pending", 1, "read_timeout"),
        (3, "pending", 0, "engine_failed"),
        (4, "pending", 1, "decoder_crash"),
        (5, "pending", 0, None),
    ]
    waits = (
        "SELECT image_id, round(extract(epoch FROM not_before - now())::numeric, -1) "
        "FROM vectord.job WHERE state = 'pending'"
    )
    assert {row[0]: int(row[1]) for row in database.execute(waits)} == {2: 100, 3: 10, 4: 0, 5: 0}
    assert database.execute("SELECT last_error, failed_at IS NULL FROM vectord.job WHERE image_id IN (1, 5)") == [
        ("no such file", False),
        (None, True),
    ]
    assert database.execute("SELECT count(*) FROM vectord.job WHERE lease_token IS NOT NULL OR worker IS NOT NULL") == [
        (0,)
    ]


def test_a_suspect_stays_one_until_its_image_changes(database: Database) -> None:
    writer, queue = writer_of(database), queue_of(database)
    (claim,) = claimed(database, [1])
    writer.write([Retry(claim=claim, stage="load", reason=Reason.DECODER_CRASH, detail="", delay=0.0, charged=True)])
    (claim,) = queue.claim(1)
    assert claim.suspect
    writer.write([Retry(claim=claim, stage="load", reason=Reason.READ_TIMEOUT, detail="", delay=0.0, charged=True)])
    (claim,) = queue.claim(1)
    assert claim.suspect
    database.execute("UPDATE ecai.tb_image SET url = 'http://example.test/new'")
    (claim,) = queue.claim(1)
    assert not claim.suspect


def test_a_dead_job_leaves_the_old_vector_where_it_is(database: Database) -> None:
    writer = writer_of(database)
    writer.write(stored(claimed(database, [1])))
    before = database.execute(VECTORS)
    database.execute("UPDATE ecai.tb_image SET url = 'http://example.test/new'")
    (claim,) = queue_of(database).claim(1)
    assert writer.write([Dead(claim=claim, stage="load", reason=Reason.GONE, detail="")]).dead == 1
    assert database.execute(VECTORS) == before


def test_any_detail_can_be_written(database: Database) -> None:
    (claim,) = claimed(database, [1])
    detail = "NUL \x00, half a pair \ud83d, a quote ' and %s " + "x" * 3 * LONGEST_DETAIL
    writer_of(database).write([Dead(claim=claim, stage="load", reason=Reason.INVALID_URL, detail=detail)])
    ((written,),) = database.execute("SELECT last_error FROM vectord.job")
    assert written.startswith("NUL , half a pair ?, a quote ' and %s xxx")
    assert len(written) <= LONGEST_DETAIL


def test_nothing_is_written_for_nothing(database: Database) -> None:
    assert writer_of(database).write([]) == Written()


def test_writing_again_what_was_written_is_harmless(database: Database) -> None:
    """As after a connection that broke at the commit, when nobody knows whether it happened."""
    claims = claimed(database, [1, 2])
    outcomes, writer = stored(claims), writer_of(database)
    writer.write(outcomes)
    before = database.execute(VECTORS)
    assert writer.write(outcomes) == Written(overtaken=tuple(claims))
    assert database.execute(VECTORS) == before


def test_a_broken_transaction_leaves_nothing_behind(database: Database) -> None:
    claims = claimed(database, [1, 2])
    writer = writer_of(database)
    outcomes: list[Outcome] = [*stored(claims[:1]), Dead(claim=claims[1], stage="load", reason=Reason.GONE, detail="")]
    database.execute(
        "CREATE FUNCTION cut() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        "PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NEW; END $$;"
        "CREATE TRIGGER cut BEFORE UPDATE ON vectord.job FOR EACH ROW WHEN (NEW.state = 'dead') EXECUTE FUNCTION cut()"
    )
    with pytest.raises(DatabaseUnavailableError):
        writer.write(outcomes)
    assert database.execute(IMAGES) == []
    database.execute("DROP TRIGGER cut ON vectord.job")
    assert writer.write(outcomes) == Written(stored=1, dead=1)


def test_sessions_may_be_shared_with_writers_of_other_tables(make_database: MakeDatabase) -> None:
    """As behind PgBouncer in transaction mode: the staging table of one writer is there when the other comes."""
    database = make_database(before=users_tables())
    other_names = replace(database.names, schema="other", target_table="public.other")
    with closing(type(database.pool)(database.dsn, size=1)) as single:
        layout = migrate(single, other_names, SchemaOptions(dimension=2))
        other = Database(database.dsn, other_names, single)
        ours = Database(database.dsn, database.names, single)
        claims = claimed(ours, [1, 2])
        others = queue_of(other).claim(2)
        writer = OutcomeWriter(single, other_names, vector_column=layout.vector_column, signature="s")
        wide = writer_of(ours)
        for first, second in zip(claims, others, strict=True):
            assert wide.write(stored([first])).stored == 1
            assert writer.write([Stored(claim=second, vector=np.ones(2, dtype=np.float32))]).stored == 1
        assert ours.execute("SELECT count(*) FROM other") == [(2,)]
