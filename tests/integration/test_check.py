"""The doctor on real things: all well where all is well, and each thing told when that very thing is broken."""

import json
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg2.extensions
import pytest

from daemon import options
from daemon.config import Settings
from daemon.db.names import Names
from daemon.db.pool import Pool
from daemon.db.schema import migrate
from daemon.doctor.examination import examine
from daemon.doctor.findings import Finding, Level
from tests.bouncer import bouncer
from tests.pictures import picture, serving
from tests.postgres import Server
from tests.whole import ROOT, Tables, call, daemon_process, settings, stop

Configure = Callable[..., Settings]


@pytest.fixture
def configure(empty_database: str, small_weights: Path, tmp_path: Path) -> Configure:
    """Settings for an installation in which all is well, but for the sections given."""

    def made(dsn: str = empty_database, **sections: dict[str, Any]) -> Settings:
        model = {"weights": str(small_weights)} | sections.pop("model", {})
        return settings(dsn, tmp_path / "state", model={"alpha": 0.35, "input_size": 96} | model, **sections)

    return made


@pytest.fixture
def tables(empty_database: str, configure: Configure) -> Tables:
    """The tables of that installation, all of them made."""
    wanted = configure()
    with closing(Pool(empty_database, size=1)) as pool:
        migrate(pool, options.names(wanted), options.schema_options(wanted))
    return Tables(empty_database)


def found(given: Settings, check: str) -> list[Finding]:
    """The findings of this check. Those of all the others are ok, or follow from it."""
    return [finding for finding in examine(given) if finding.check == check]


def the(given: Settings, check: str) -> tuple[Level, str]:
    """The one finding of this check, its remedy included."""
    (finding,) = found(given, check)
    return finding.level, f"{finding.says} → {finding.remedy}"


def test_where_all_is_well_every_finding_is_ok(configure: Configure, tables: Tables) -> None:
    with serving() as web:
        tables.insert({1: "http://example.test/", 7: web.add("/7.jpg", picture(7))})
        findings = list(examine(configure()))
    assert [finding for finding in findings if finding.level is not Level.OK] == []
    assert {finding.check for finding in findings} >= {
        "configuration", "database", "connections", "clock", "pgvector", "columns", "rights", "schema", "triggers",
        "index", "listen", "weights", "model", "foreign vectors", "engine", "disk", "open files", "shared memory",
        "memory", "loader", "newest image", "http.port", "token",
    }  # fmt: skip
    assert "7, at http://127.0.0.1" in next(finding.says for finding in findings if finding.check == "newest image")


def test_it_changes_nothing(configure: Configure, tables: Tables) -> None:
    tables.insert({1: "http://example.test/"})
    seen = (
        "SELECT array_agg((oid, xmin)::text ORDER BY oid) FROM pg_class WHERE relkind <> 'i'",
        "SELECT array_agg((oid, xmin)::text ORDER BY oid) FROM pg_trigger",
        "SELECT array_agg((j, xmin)::text) FROM vectord.job j",
        "SELECT array_agg((s, xmin)::text) FROM vectord.setting s",
        "SELECT last_value FROM vectord.bell",
        "SELECT count(*) FROM vectord.worker",
    )
    before = [tables.execute(sql) for sql in seen]
    list(examine(configure()))
    assert [tables.execute(sql) for sql in seen] == before


def test_an_empty_database_is_for_the_first_start(configure: Configure) -> None:
    findings = list(examine(configure()))
    assert {(finding.check, finding.level) for finding in findings if finding.level is not Level.OK} == {
        ("pgvector", Level.WARNING),
        ("tables", Level.WARNING),
        ("schema", Level.WARNING),
    }
    assert "ecai.tb_image" in str(found(configure(), "tables"))


def test_a_database_that_is_away(configure: Configure, tmp_path: Path) -> None:
    away = configure("postgresql://bob:hunter2@127.0.0.1:1/x?connect_timeout=1")
    level, told = the(away, "database")
    assert level is Level.PROBLEM
    assert "refused" in told
    assert "database.dsn" in told
    assert "\n" not in told
    assert "hunter2" not in str(list(examine(away)))
    assert found(away, "newest image") == []


def test_a_database_that_may_only_be_read(configure: Configure, tables: Tables, empty_database: str) -> None:
    name = psycopg2.extensions.parse_dsn(empty_database)["dbname"]
    tables.execute(f'ALTER DATABASE "{name}" SET default_transaction_read_only = on')
    level, told = the(configure(), "database")
    assert level is Level.PROBLEM
    assert "read-only" in told


@pytest.fixture
def role(server: Server) -> Iterator[str]:
    """A role that may log in, and nothing else. Dropped after what it was given rights on."""
    server.execute("CREATE ROLE checked LOGIN")
    yield "checked"
    server.execute("DROP ROLE checked")


def test_each_right_that_is_lacking_is_told_with_its_grant(
    server: Server, role: str, configure: Configure, small_weights: Path
) -> None:
    with server.database() as owner:
        name = psycopg2.extensions.parse_dsn(owner)["dbname"]
        as_owner, as_role = configure(owner), configure(server.dsn_of(name, user=role))
        assert {finding.check for finding in examine(as_role) if finding.level is Level.PROBLEM} == {
            "tables",
            "schema",
        }
        with closing(Pool(owner, size=1)) as pool:
            migrate(pool, Names(), options.schema_options(as_owner))
        lacking = found(as_role, "rights")
        assert Level.PROBLEM in {finding.level for finding in lacking}
        assert any("INSERT on table public.tb_hsx_img_value" in finding.says for finding in lacking)
        # What it says to run is what is missing, and no more.
        for finding in lacking:
            Tables(owner).execute(finding.remedy)
        assert the(as_role, "rights")[0] is Level.OK
        Tables(owner).execute(f"REVOKE UPDATE (id) ON ecai.tb_image FROM {role}")
        assert the(as_role, "rights")[0] is Level.WARNING


def test_row_security_that_holds_for_the_role_is_told(
    server: Server, role: str, configure: Configure, empty_database: str, tables: Tables
) -> None:
    name = psycopg2.extensions.parse_dsn(empty_database)["dbname"]
    as_role = configure(server.dsn_of(name, user=role))
    for table in ("ecai.tb_image", "public.tb_hsx_img_value"):
        assert table not in str(found(as_role, "row security"))
        tables.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
        finding = found(as_role, "row security")[-1]
        assert finding.level is Level.WARNING
        assert table in finding.says
        assert f"ALTER ROLE {role} BYPASSRLS;" in finding.remedy
    # Whoever owns them sees it all.
    assert found(configure(), "row security") == []


def test_rights_on_the_images_are_told_before_there_is_a_table_of_vectors(
    server: Server, role: str, configure: Configure
) -> None:
    with server.database() as owner:
        name = psycopg2.extensions.parse_dsn(owner)["dbname"]
        as_role, application = configure(server.dsn_of(name, user=role)), Tables(owner)
        application.execute(
            "CREATE EXTENSION vector; CREATE SCHEMA ecai; CREATE TABLE ecai.tb_image (id bigint PRIMARY KEY, url text)"
        )
        application.execute(
            f"GRANT CREATE ON DATABASE {name} TO {role}; GRANT CREATE ON SCHEMA public TO {role}; "
            f"GRANT USAGE ON SCHEMA ecai TO {role}"
        )
        lacking = [finding for finding in found(as_role, "rights") if finding.level is Level.PROBLEM]
        assert [finding.says for finding in lacking] == [
            "the role lacks SELECT on table ecai.tb_image",
            "the role lacks REFERENCES on table ecai.tb_image",
        ]
        level, told = the(as_role, "newest image")
        assert (level, "permission denied" in told) == (Level.WARNING, True)
        # What it says to run is what is missing: the start makes the rest.
        for finding in lacking:
            application.execute(finding.remedy)
        assert {finding.level for finding in found(as_role, "rights")} == {Level.WARNING}
        assert "there is none yet" in the(as_role, "newest image")[1]
        with closing(Pool(as_role.database.dsn.get_secret_value(), size=1)) as pool:
            migrate(pool, Names(), options.schema_options(as_role))


def test_images_without_what_vectors_have_to_refer_to(configure: Configure, tables: Tables) -> None:
    tables.execute("DROP TABLE tb_hsx_img_value; ALTER TABLE ecai.tb_image RENAME url TO address")
    level, told = the(configure(), "columns")
    assert (level, "source.location_column" in told) == (Level.PROBLEM, True)


@pytest.mark.parametrize(
    ("breaks", "told"),
    [
        ("ALTER TABLE ecai.tb_image DISABLE TRIGGER vectord_vectord_insert", "disabled: vectord_vectord_insert"),
        ("DROP TRIGGER vectord_vectord_update ON ecai.tb_image", "missing: vectord_vectord_update"),
        ("UPDATE vectord.setting SET value = 'old' WHERE key = 'triggers'", "another version"),
    ],
)
def test_triggers_that_are_not_as_they_should_be(configure: Configure, tables: Tables, breaks: str, told: str) -> None:
    tables.execute(breaks)
    level, says = the(configure(), "triggers")
    assert (level, told in says) == (Level.WARNING, True), says
    with closing(Pool(configure().database.dsn.get_secret_value(), size=1)) as pool:
        migrate(pool, Names(), options.schema_options(configure()))
    assert the(configure(), "triggers")[0] is Level.OK


def test_triggers_that_nobody_wants(configure: Configure, tables: Tables) -> None:
    assert the(configure(queue={"trigger": False}), "triggers")[0] is Level.WARNING


def test_a_vector_column_of_another_dimension(configure: Configure, tables: Tables) -> None:
    level, told = the(configure(model={"alpha": 1.4}), "columns")
    assert level is Level.PROBLEM
    assert "takes 1280 dimensions, but the model makes 1792" in told


def test_a_column_that_is_named_otherwise(configure: Configure, tables: Tables) -> None:
    tables.execute("ALTER TABLE ecai.tb_image RENAME url TO address")
    level, told = the(configure(), "columns")
    assert level is Level.PROBLEM
    assert "source.location_column" in told


def test_without_pgvector(configure: Configure, tables: Tables) -> None:
    tables.execute("DROP EXTENSION vector CASCADE")
    level, told = the(configure(), "pgvector")
    assert level is Level.WARNING
    assert "python -m daemon init" in told
    assert the(configure(), "columns")[0] is Level.PROBLEM


@pytest.mark.parametrize(
    ("breaks", "level"),
    [
        ("UPDATE vectord.setting SET value = '99' WHERE key = 'schema_version'", Level.PROBLEM),
        ("UPDATE vectord.setting SET value = '0' WHERE key = 'schema_version'", Level.WARNING),
        ("DROP SCHEMA vectord CASCADE", Level.WARNING),
    ],
)
def test_a_schema_of_another_version(configure: Configure, tables: Tables, breaks: str, level: Level) -> None:
    tables.execute(breaks)
    assert the(configure(), "schema")[0] is level


def test_own_ids_of_another_type_than_the_images(configure: Configure, tables: Tables) -> None:
    tables.execute(
        "ALTER TABLE tb_hsx_img_value ALTER image_id TYPE integer; ALTER TABLE ecai.tb_image ALTER id TYPE integer"
    )
    level, told = the(configure(), "schema")
    assert (level, "ecai.tb_image.id is integer, and vectord's own ids are bigint" in told) == (Level.PROBLEM, True)
    assert "DROP SCHEMA" in told


def test_an_index_that_is_missing_or_not_valid(configure: Configure, tables: Tables) -> None:
    tables.execute("UPDATE pg_index SET indisvalid = false WHERE indexrelid::regclass::text LIKE '%%hnsw%%'")
    level, told = the(configure(), "index")
    assert (level, "not valid" in told) == (Level.WARNING, True)
    tables.execute("DROP INDEX tb_hsx_img_value_feature_vector_hnsw")
    level, told = the(configure(), "index")
    assert (level, "index --build" in told) == (Level.WARNING, True)
    assert the(configure(target={"index": "none"}), "index")[0] is Level.OK


def test_through_pgbouncer_nothing_is_heard(configure: Configure, empty_database: str, tables: Tables) -> None:
    with bouncer(empty_database) as dsn:
        level, told = the(configure(dsn), "listen")
        assert level is Level.WARNING
        assert "PgBouncer in transaction mode" in told
        assert "database.listen_dsn" in told
        direct = configure(dsn, database={"dsn": dsn, "listen_dsn": empty_database})
        assert the(direct, "listen")[0] is Level.OK
        assert the(direct, "database")[0] is Level.OK
    assert the(configure(queue={"notify": False}), "listen")[0] is Level.OK


@pytest.mark.parametrize("content", [None, b"no weights", b"\x89HDF\r\n\x1a\n" + bytes(100)])
def test_weights_that_are_none(configure: Configure, tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "weights.h5"
    if content is not None:
        file.write_bytes(content)
    level, told = the(configure(model={"weights": str(file)}), "weights")
    assert level is Level.PROBLEM
    assert str(file) in told
    assert "model.weights" in told


def test_weights_of_another_width_and_weights_to_be_fetched(configure: Configure) -> None:
    level, told = the(configure(model={"alpha": 1.0}), "weights")
    assert (level, "it fits model.alpha = 0.35" in told) == (Level.PROBLEM, True)
    level, told = the(configure(model={"weights": "imagenet"}), "weights")
    assert (level, "0.35_96_no_top.h5" in told) == (Level.WARNING, True)
    assert the(configure(model={"weights": "untrained"}), "weights")[0] is Level.PROBLEM


def test_kept_weights_that_are_damaged_stop_nothing_and_are_not_fetched_now(
    configure: Configure, tmp_path: Path
) -> None:
    kept = tmp_path / "state/weights/mobilenet_v2_weights_tf_dim_ordering_tf_kernels_0.35_96_no_top.h5"
    kept.parent.mkdir(parents=True)
    kept.touch()
    level, told = the(configure(model={"weights": "imagenet"}), "weights")
    assert (level, "the next start fetches https://" in told) == (Level.WARNING, True)
    assert [path.name for path in kept.parent.iterdir()] == [kept.name]


def test_vectors_of_others_and_of_another_model(configure: Configure, tables: Tables) -> None:
    tables.insert({1: "http://example.test/1"})
    tables.execute(
        "INSERT INTO tb_hsx_img_value (image_id, feature_vector, model_version) "
        "SELECT 1, array_fill(0.5, ARRAY[1280])::vector, 'MobileNetV2'"
    )
    assert the(configure(), "foreign vectors")[0] is Level.WARNING
    assert the(configure(reprocess={"foreign": "replace"}), "foreign vectors")[0] is Level.OK
    tables.execute(
        "INSERT INTO vectord.setting (key, value) VALUES ('model', 'vectord:mobilenetv2_1.0_224:00000000') "
        "ON CONFLICT (key) DO UPDATE SET value = EXCLUDED.value"
    )
    level, told = the(configure(), "model")
    assert (level, "goes by vectord:mobilenetv2_1.0_224:00000000" in told) == (Level.WARNING, True)


def test_the_newest_image_goes_through_the_guard(configure: Configure, tables: Tables) -> None:
    with serving() as web:
        tables.insert({1: web.add("/1.jpg", picture(1)), 2: web.base.replace("://", "://user:secret@") + "/none.jpg"})
        level, told = the(configure(), "newest image")
        assert (level, "not_found" in told, "secret" in told) == (Level.WARNING, True, False)
        tables.execute("DELETE FROM ecai.tb_image WHERE id = 2")
        assert the(configure(), "newest image")[0] is Level.OK
        level, told = the(configure(fetch={"allow_networks": [], "allow_ports": [0]}), "newest image")
    assert level is Level.WARNING
    assert "blocked_address" in told
    assert "fetch.allow_networks" in told


def test_the_newest_image_in_the_table_itself(configure: Configure, tables: Tables) -> None:
    tables.execute("ALTER TABLE ecai.tb_image DROP url; ALTER TABLE ecai.tb_image ADD url bytea")
    tables.execute("INSERT INTO ecai.tb_image (id, url) VALUES (1, %s)", (picture(1),))
    level, told = the(configure(), "newest image")
    assert (level, "bytes in the table" in told) == (Level.OK, True)
    tables.execute("INSERT INTO ecai.tb_image (id, url) VALUES (2, NULL)")
    level, told = the(configure(), "newest image")
    assert (level, "empty_location" in told) == (Level.WARNING, True)


def test_a_loader_that_does_not_come_up(configure: Configure, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOADER_TEST_PLUGIN", "there_is_no_such_module")
    level, told = the(configure(), "loader")
    assert (level, "there_is_no_such_module" in told) == (Level.PROBLEM, True)
    assert "Traceback" not in told


def test_certificates_that_are_not_there(configure: Configure) -> None:
    finding = next(one for one in examine(configure(fetch={"ca_file": "/nowhere.pem"})) if one.check == "loader")
    assert (finding.level, finding.remedy) == (Level.PROBLEM, "correct fetch.ca_file")
    assert "Traceback" not in finding.says


def test_a_loader_that_cannot_decode(configure: Configure) -> None:
    level, told = the(configure(loader={"processes": 1, "max_pixels": 100}), "loader")
    assert (level, "too_many_pixels" in told) == (Level.PROBLEM, True)


def test_an_engine_that_cannot_be(configure: Configure) -> None:
    level, told = the(configure(engine={"backend": "openvino", "device": "gpu"}), "engine")
    assert (level, "engine.device" in told) == (Level.PROBLEM, True)


def test_a_state_folder_that_cannot_be_written(configure: Configure, empty_database: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    database = {"dsn": empty_database, "state_dir": tmp_path / "file" / "state"}
    level, told = the(configure(database=database), "disk")
    assert (level, "database.state_dir" in told) == (Level.PROBLEM, True)


def test_a_port_that_another_program_has_and_a_token_that_is_not_there(configure: Configure, tmp_path: Path) -> None:
    here = ("127.0.0.1", 0)
    with closing(socket.create_server(here)) as one, closing(socket.create_server(here)) as other:
        port, metrics_port = (taken.getsockname()[1] for taken in (one, other))
        given = configure(http={"port": port, "metrics_port": metrics_port, "token_file": str(tmp_path / "none")})
        findings = {finding.check: finding for finding in examine(given)}
    for key in ("http.port", "http.metrics_port", "token"):
        assert findings[key].level is Level.PROBLEM
    assert "another program" in findings["http.port"].says
    assert the(configure(http={"host": "0.0.0.0", "port": 0}), "token")[0] is Level.PROBLEM


def test_beside_a_daemon_that_runs(small: dict[str, str]) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as probe:
        port = str(probe.getsockname()[1])
    environment = small | {"VECTORD_HTTP__PORT": port}
    with daemon_process(environment) as process:
        done = call(environment, "check")
        assert (done.returncode, done.stderr) == (0, "")
        assert f"a vectord answers on 127.0.0.1:{port}: idle" in done.stdout
        assert all(line.startswith(("ok ", "warning ")) for line in done.stdout.splitlines())
        assert stop(process, signal.SIGTERM) == 0


def test_a_port_that_another_installations_daemon_has(small: dict[str, str], server: Server, tmp_path: Path) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as probe:
        port = str(probe.getsockname()[1])
    one = small | {"VECTORD_HTTP__PORT": port}
    with server.database() as dsn, daemon_process(one) as process:
        other = one | {"VECTORD_DATABASE__DSN": dsn}
        fresh = one | {"VECTORD_DATABASE__DSN": "", "VECTORD_DATABASE__STATE_DIR": str(tmp_path)}
        assert call(other, "init").returncode == 0
        for environment in (other, fresh):
            done = call(environment, "check")
            assert done.returncode == 1
            problems = [line for line in done.stdout.splitlines() if line.startswith("problem ")]
            assert [line.split()[1] for line in problems] == ["http.port:"]
            assert "another installation's vectord has it" in problems[0]
            assert "VECTORD_HTTP__PORT" in problems[0]
        assert call(one, "check").returncode == 0
        assert stop(process, signal.SIGTERM) == 0


def test_the_exit_status_and_json(environment: dict[str, str]) -> None:
    done = call(environment | {"VECTORD_MODEL__ALPHA": "7", "VECTORD_QUEUE__LEESE": "1"}, "check", "--json")
    assert done.returncode == 2
    told = json.loads(done.stdout)["findings"]
    assert {finding["level"] for finding in told} == {"problem"}
    assert [finding["says"].split()[0].rstrip(":") for finding in told] == ["queue.leese", "model.alpha"]
    away = {"VECTORD_DATABASE__DSN": "postgresql://bob:hunter2@127.0.0.1:1/x", "VECTORD_HTTP__PORT": "0"}
    done = call(environment | away, "check")
    assert done.returncode == 1
    assert "problem  database: " in done.stdout
    assert "hunter2" not in done.stdout + done.stderr


def test_too_few_open_files(environment: dict[str, str]) -> None:
    few = ["sh", "-c", 'ulimit -n 128 && exec "$@"', "sh", sys.executable, "-m", "daemon", "check", "--json"]
    away = {"VECTORD_DATABASE__DSN": "host=127.0.0.1 port=1", "VECTORD_HTTP__PORT": "0"}
    done = subprocess.run(
        few, env=environment | away, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    levels = {finding["check"]: finding["level"] for finding in json.loads(done.stdout)["findings"]}
    assert levels["open files"] == "problem"
