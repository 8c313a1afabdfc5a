"""What the console reads of the database: a look's figures, where a picture lies, a vector, and who waits."""

import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from daemon.db.driver import Cursor
from daemon.db.figures import Certainty, Figure
from daemon.db.generation import Generations, Instance
from daemon.db.glance import COUNT_SECONDS, Glances
from daemon.db.reports import Reports
from daemon.db.similar import Similar
from daemon.db.whereabouts import Place, Whereabouts
from daemon.errors import NotFoundError
from daemon.records import StoredBytes
from tests.clock import HandClock
from tests.postgres import Database, MakeDatabase

SIGNATURE = "vectord:mobilenetv2_1.0_224:1a2b3c4d:g0"
MANY = 20_000


def test_a_look_has_all_figures_and_counts_the_images_now_and_then(database: Database) -> None:
    clock = HandClock()
    glances = Glances(database.pool, database.names, clock)
    Generations(database.pool, database.names).on_start(Instance(name="one", boot_id="boot", signature=SIGNATURE))
    database.execute("INSERT INTO ecai.tb_image (id, url) VALUES (1, 'x'), (2, 'x')")
    database.execute("UPDATE vectord.job SET state = 'dead', reason = 'gone', failed_at = now() WHERE image_id = 2")
    seen = glances.look()
    assert seen.images == Figure(number=2, certainty=Certainty.EXACT)
    assert (seen.backlog.pending.number, seen.backlog.due) == (1, 1)
    assert seen.dead == {"gone": Figure(number=1)}
    assert seen.workers == ()
    database.execute("INSERT INTO ecai.tb_image (id, url) VALUES (3, 'x')")
    clock.now = COUNT_SECONDS - 1
    assert glances.look().images.number == 2
    clock.now = COUNT_SECONDS
    assert glances.look().images.number == 3
    assert glances.look().taken_at > seen.taken_at


def test_a_look_changes_nothing(database: Database) -> None:
    class Writing(Glances):
        """Tries to, in the transaction of its look."""

        def _counted(self, look: Any) -> Figure:
            look.one("now")
            look._cursor.execute("DELETE FROM vectord.job RETURNING 1")
            return Figure(number=0)

    with pytest.raises(Exception, match="read-only transaction"):
        Writing(database.pool, database.names, HandClock()).look()


def test_where_a_picture_lies(database: Database, make_database: MakeDatabase) -> None:
    long = "http://user:secret@example.org/" + "x" * 400
    database.execute("INSERT INTO ecai.tb_image (id, url) VALUES (1, %s), (2, NULL)", (long,))
    whereabouts = Whereabouts(database.pool, database.names)
    assert whereabouts.of("1") == Place(1, long)
    assert whereabouts.of(2) == Place(2, "")
    assert whereabouts.of(3) is None
    with pytest.raises(NotFoundError):
        whereabouts.of("no number")
    stored = make_database(before="CREATE SCHEMA ecai; CREATE TABLE ecai.tb_image (id bigint PRIMARY KEY, url bytea)")
    stored.execute("INSERT INTO ecai.tb_image VALUES (1, 'abc'), (2, NULL)")
    whereabouts = Whereabouts(stored.pool, stored.names)
    assert whereabouts.of(1) == Place(1, StoredBytes(size=3))
    assert whereabouts.of(2) == Place(2, "")


OF_REALS = (
    "CREATE EXTENSION vector; CREATE SCHEMA ecai; "
    "CREATE TABLE ecai.tb_image (id bigint PRIMARY KEY, url varchar(500)); "
    "CREATE TABLE tb_hsx_img_value (image_id bigint PRIMARY KEY REFERENCES ecai.tb_image ON DELETE CASCADE, "
    "feature_vector real[] NOT NULL, vector_dimension integer, model_version varchar(50))"
)


@pytest.mark.parametrize("kind", ["vector(4)", "halfvec(4)", "real[]"])
def test_a_vector_of_any_type_of_column(make_database: MakeDatabase, kind: str) -> None:
    made = make_database(
        before="CREATE EXTENSION vector; CREATE SCHEMA ecai; "
        "CREATE TABLE ecai.tb_image (id bigint PRIMARY KEY, url varchar(500)); "
        "CREATE TABLE tb_hsx_img_value (image_id bigint PRIMARY KEY REFERENCES ecai.tb_image ON DELETE CASCADE, "
        f"feature_vector {kind} NOT NULL, vector_dimension integer, model_version varchar(50))",
        index="none",
    )
    made.execute("INSERT INTO ecai.tb_image VALUES (1, 'x'), (2, 'x')")
    text = "{0.5,0,-0.25,0.125}" if kind == "real[]" else "[0.5,0,-0.25,0.125]"
    made.execute("INSERT INTO tb_hsx_img_value VALUES (1, %s, 4, 'MobileNetV2')", (text,))
    similar = Similar(made.pool, made.names)
    seen = similar.vector_of("1")
    assert (seen.values, seen.version) == ((0.5, 0.0, -0.25, 0.125), "MobileNetV2")
    for nothing in ("2", "3", "x"):
        with pytest.raises(NotFoundError):
            similar.vector_of(nothing)


def test_a_foreign_vector_with_holes(make_database: MakeDatabase) -> None:
    made = make_database(before=OF_REALS, index="none")
    made.execute("INSERT INTO ecai.tb_image VALUES (1, 'x')")
    made.execute("INSERT INTO tb_hsx_img_value VALUES (1, '{0.5,NULL,NaN,Infinity}', 4, 'other')")
    half, *others = Similar(made.pool, made.names).vector_of("1").values
    assert half == 0.5
    assert not any(map(math.isfinite, others))


def test_no_image_is_its_own_neighbour_however_its_id_is_spelt(make_database: MakeDatabase) -> None:
    made = make_database(before=OF_REALS, index="none")
    made.execute("INSERT INTO ecai.tb_image SELECT n, 'x' FROM generate_series(1, 3) n")
    made.execute("INSERT INTO tb_hsx_img_value SELECT n, ARRAY[1, n], 2, 'other' FROM generate_series(1, 3) n")
    similar = Similar(made.pool, made.names)
    for spelt in ("1", "01", " 1", "+1"):
        assert [one.image_id for one in similar.to_image(spelt, 2)] == [2, 3], spelt


def test_who_waits_is_found_by_the_index_whatever_the_queue(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    database.execute("ALTER TABLE ecai.tb_image DISABLE TRIGGER USER")
    database.execute(f"INSERT INTO ecai.tb_image (id, url) SELECT n, 'x' FROM generate_series(1, {MANY}) n")
    database.execute(
        "INSERT INTO vectord.job (image_id, priority, attempts, not_before, reason, lease_until) "
        "SELECT n, n % 2, 1, now() + (n - 10000) * interval '1 second', 'read_timeout', "
        f"CASE WHEN n % 50 = 0 THEN now() + interval '1 minute' END FROM generate_series(1, {MANY}) n"
    )
    database.execute("ANALYZE vectord.job")
    statements: list[Any] = []
    transaction = database.pool.transaction

    @contextmanager
    def noting() -> Iterator[Cursor]:
        with transaction() as cursor:
            yield cursor
            statements.append(cursor.query)

    monkeypatch.setattr(database.pool, "transaction", noting)
    seen = Reports(database.pool, database.names).waiting(10)
    monkeypatch.undo()
    assert len(seen) == 10
    assert [one.next_try for one in seen] == sorted(one.next_try for one in seen)
    (plan,) = database.execute("EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) " + statements[0].decode())[0]
    assert "Seq Scan" not in json.dumps(plan)
    # Those in work lie before the others in the index: 200 of each priority are passed over.
    assert plan[0]["Plan"]["Shared Hit Blocks"] + plan[0]["Plan"]["Shared Read Blocks"] < 1_000
