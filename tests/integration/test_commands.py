"""The commands as somebody types them: processes, signals, exit statuses, and what stands on the screen."""

import json
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from daemon import VERSION
from tests.pictures import picture, serving
from tests.whole import ROOT, Tables, call, daemon_process, end, stop, wait_for_line

SHARED = ROOT.parent / "shared"
WEIGHTS = SHARED / "weights" / "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_224_no_top.h5"
FLOWERS = SHARED / "photos" / "flowers"


def reference(files: list[Path]) -> np.ndarray:
    """What plain Pillow and plain Keras make of the files: the definition of a right vector."""
    from daemon.engine.quiet import import_keras  # noqa: PLC0415 - takes seconds, and only this needs it

    keras = import_keras()
    model = keras.applications.MobileNetV2(
        alpha=1.0, include_top=False, pooling="avg", input_shape=(224, 224, 3), weights=str(WEIGHTS)
    )
    pixels = [
        np.asarray(Image.open(file).convert("RGB").resize((224, 224), Image.Resampling.BILINEAR), np.float32)
        for file in files
    ]
    vectors = model.predict(keras.applications.mobilenet_v2.preprocess_input(np.stack(pixels)), verbose=0)
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))


@pytest.mark.skipif(not WEIGHTS.is_file(), reason="../shared/weights is not there")
@pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning")
def test_run_makes_exactly_the_vectors_of_plain_keras(empty_database: str, environment: dict[str, str]) -> None:
    files = sorted(FLOWERS.glob("*/*.jpg"))[::10]
    environment |= {
        "VECTORD_DATABASE__DSN": empty_database,
        "VECTORD_MODEL__WEIGHTS": str(WEIGHTS),
        "VECTORD_FETCH__FILE_ROOTS": json.dumps([str(FLOWERS)]),
        "VECTORD_HTTP__PORT": "0",
    }
    tables = Tables(empty_database)
    with daemon_process(environment) as process:
        tables.insert(dict(enumerate(map(str, files))))
        tables.wait(lambda: len(tables.vectors()) == len(files), f"{len(files)} vectors")
        assert stop(process, signal.SIGTERM) == 0
    made = np.array([json.loads(vector) for _, vector in sorted(tables.vectors().items())])
    cosines = (made * reference(files)).sum(axis=1)
    assert len(cosines) == 20
    assert cosines.min() >= 0.9999


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_under_load_ends_it_with_nothing_lost(
    small: dict[str, str], empty_database: str, number: signal.Signals
) -> None:
    tables = Tables(empty_database)
    with serving() as web:
        images = {n: web.add(f"/{n}.jpg", picture(n)) for n in range(150)}
        with daemon_process(small) as process:
            with web.holding_all():
                tables.insert(images)
                tables.wait_for_work()
                process.send_signal(number)
                wait_for_line(process, "daemon.stopping")
            assert end(process) == 0
        # Whatever was in work was stored or given back: nothing is leased, no attempt charged without a failure.
        leased = (
            "SELECT to_jsonb(j) FROM vectord.job j WHERE lease_until IS NOT NULL OR (attempts > 0 AND reason IS NULL)"
        )
        assert tables.execute(leased) == []
        assert len(tables.vectors()) + len(tables.jobs()) == 150


def test_after_kill_9_another_daemon_takes_over(small: dict[str, str], empty_database: str) -> None:
    tables = Tables(empty_database)
    with serving() as web:
        images = {n: web.add(f"/{n}.jpg", picture(n)) for n in range(150)}
        with daemon_process(small) as process:
            with web.holding_all():
                tables.insert(images)
                tables.wait_for_work()
                assert stop(process, signal.SIGKILL) == -signal.SIGKILL
            assert not tables.nothing_leased_to(process.pid)
        with daemon_process(small) as process:
            tables.wait(lambda: len(tables.vectors()) == 150, "150 vectors")
            tables.wait(lambda: tables.jobs() == {}, "an empty queue")
            assert stop(process, signal.SIGTERM) == 0


def test_run_without_weights_says_how_to_supply_them(environment: dict[str, str], empty_database: str) -> None:
    environment |= {"VECTORD_DATABASE__DSN": empty_database, "VECTORD_MODEL__WEIGHTS": "/nowhere/weights.h5"}
    done = call(environment | {"VECTORD_HTTP__PORT": "0"}, "run")
    assert done.returncode == 1
    assert "model.weights" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("command", "status"), [("run", 2), ("status", 2), ("init", 2), ("init --print-sql", 2), ("check", 1)]
)
@pytest.mark.parametrize("key", ["dsn", "listen_dsn"])
def test_a_dsn_that_cannot_be_read_is_told_without_any_of_it(
    environment: dict[str, str], empty_database: str, command: str, status: int, key: str
) -> None:
    environment |= {"VECTORD_DATABASE__DSN": empty_database, "VECTORD_MODEL__WEIGHTS": "random"}
    environment[f"VECTORD_DATABASE__{key.upper()}"] = "postgresql://vectord:top%secret@db/images"
    done = call(environment, *command.split())
    assert done.returncode == status
    told = " ".join((done.stdout + done.stderr).split())
    assert f"database.{key} is neither a URL" in told
    assert "secret" not in told


def test_a_parameter_that_libpq_refuses_is_not_waited_for(environment: dict[str, str]) -> None:
    environment |= {"VECTORD_DATABASE__DSN": "host=127.0.0.1 sslmode=perhaps", "VECTORD_MODEL__WEIGHTS": "random"}
    done = call(environment | {"VECTORD_HTTP__PORT": "0"}, "run")
    assert done.returncode == 1
    assert "invalid sslmode value" in done.stderr


def test_the_version_is_told(environment: dict[str, str]) -> None:
    assert call(environment, "--version").stdout == f"vectord {VERSION}\n"


def test_a_wrong_configuration_is_exit_status_2(environment: dict[str, str]) -> None:
    done = call(environment | {"VECTORD_MODEL__ALPHA": "7", "VECTORD_QUEUE__LEESE": "1"}, "run")
    assert done.returncode == 2
    assert "model.alpha" in done.stderr
    assert "queue.leese" in done.stderr
    assert "Traceback" not in done.stderr


def test_run_waits_for_a_database_that_is_away_and_ends_when_asked(small: dict[str, str]) -> None:
    environment = small | {"VECTORD_DATABASE__DSN": "host=127.0.0.1 port=1 user=nobody"}
    with subprocess.Popen(
        [sys.executable, "-m", "daemon", "run"], env=environment, cwd=ROOT, stderr=subprocess.PIPE, text=True
    ) as process:
        assert "database.dsn" in str(wait_for_line(process, "database.unavailable"))
        assert stop(process, signal.SIGTERM) == 0


def test_init_leaves_existing_tables_as_they_are_but_for_the_trigger(
    environment: dict[str, str], empty_database: str
) -> None:
    tables = Tables(empty_database)
    tables.execute(
        "CREATE SCHEMA ecai; CREATE TABLE ecai.tb_image (id bigint PRIMARY KEY, url varchar(500), extra text);"
        "INSERT INTO ecai.tb_image VALUES (1, 'http://x/1.jpg', 'kept')"
    )
    columns = "SELECT attname, atttypid, atttypmod FROM pg_attribute WHERE attrelid = 'ecai.tb_image'::regclass"
    before = tables.execute(columns)
    for _ in range(2):
        done = call(environment | {"VECTORD_DATABASE__DSN": empty_database}, "init")
        assert (done.returncode, done.stderr) == (0, "")
    assert tables.execute(columns) == before
    assert tables.execute("SELECT * FROM ecai.tb_image") == [(1, "http://x/1.jpg", "kept")]
    triggers = "SELECT count(*) FROM pg_trigger WHERE tgrelid = 'ecai.tb_image'::regclass AND NOT tgisinternal"
    assert tables.execute(triggers)[0][0] > 0
    assert tables.execute("SELECT count(*) FROM tb_hsx_img_value") == [(0,)]


def test_what_a_dba_would_run_is_printed_and_nothing_done(environment: dict[str, str], empty_database: str) -> None:
    done = call(environment | {"VECTORD_DATABASE__DSN": empty_database}, "init", "--print-sql")
    assert done.returncode == 0
    assert "(see --id-type): there is no ecai.tb_image yet" in done.stdout.splitlines()[0]
    tables = Tables(empty_database)
    assert tables.execute("SELECT to_regclass('vectord.job')") == [(None,)]
    tables.execute(done.stdout.replace("BEGIN;", "", 1).replace("COMMIT;", "", 1))
    assert tables.execute("SELECT count(*) FROM vectord.job") == [(0,)]


def test_without_a_database_the_type_of_the_ids_can_be_said(environment: dict[str, str]) -> None:
    away = environment | {"VECTORD_DATABASE__DSN": "host=127.0.0.1 port=1"}
    done = call(away, "init", "--print-sql")
    assert done.returncode == 0
    assert done.stdout.startswith("-- The ids of ecai.tb_image are taken to be bigint (see --id-type): ")
    assert "Connection refused" in done.stdout.splitlines()[0]
    done = call(away, "init", "--print-sql", "--id-type", "uuid", "--role", "weak")
    assert re.search(r"image_id +uuid PRIMARY KEY", done.stdout)
    assert 'TO "weak"' in done.stdout
    done = call(away, "init", "--id-type", "uuid")
    assert (done.returncode, "--print-sql" in done.stderr) == (2, True)


def test_the_demo_draws_its_pictures_and_shows_what_came_of_them(environment: dict[str, str]) -> None:
    small_model = {"VECTORD_MODEL__ALPHA": "0.35", "VECTORD_MODEL__INPUT_SIZE": "96"}
    done = call(environment | small_model, "demo", "--count", "18", "--weights", "untrained", "--json")
    assert done.returncode == 0, done.stderr
    shown = json.loads(done.stdout.splitlines()[-1])
    assert (shown["images"], shown["vectors"], shown["failed"]) == (18, 18, 0)
    assert {"seconds", "images_per_second", "signature"} <= set(shown)
    assert shown["trained"] is False
    assert "untrained" in done.stdout
    assert "18 of 18 images have their vector" in done.stdout


def test_the_demo_fails_when_an_image_gets_no_vector(environment: dict[str, str], tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number in range(3):
        (folder / f"{number}.jpg").write_bytes(picture(number))
    (folder / "broken.jpg").write_bytes(b"no picture")
    small_model = {"VECTORD_MODEL__ALPHA": "0.35", "VECTORD_MODEL__INPUT_SIZE": "96"}
    done = call(environment | small_model, "demo", "--images", str(folder), "--weights", "untrained", "--json")
    assert done.returncode == 1
    shown = json.loads(done.stdout.splitlines()[-1])
    assert (shown["images"], shown["vectors"], shown["failed"]) == (4, 3, 1)
    assert shown["failures"] == {"not_an_image": 1}


@pytest.mark.skipif(not WEIGHTS.is_file(), reason="../shared/weights is not there")
def test_the_demo_finds_flowers_by_their_likeness(environment: dict[str, str]) -> None:
    done = call(environment, "demo", "--images", str(FLOWERS), "--weights", str(WEIGHTS), "--json")
    assert done.returncode == 0, done.stderr
    shown = json.loads(done.stdout.splitlines()[-1])
    assert (shown["images"], shown["vectors"], shown["failed"]) == (200, 200, 0)
    assert shown["nearest_neighbour_accuracy"] == pytest.approx(0.80, abs=0.005)


def test_the_commands_tell_and_mend(small: dict[str, str], empty_database: str) -> None:
    tables = Tables(empty_database)
    with serving() as web, daemon_process(small) as process:
        tables.insert({1: web.add("/1.jpg", picture(1)), 2: web.add("/2.jpg", picture(2))})
        tables.insert({3: web.base.replace("://", "://user:secret@") + "/late.jpg"})
        tables.wait(
            lambda: len(tables.vectors()) == 2 and tables.jobs().get(3, ("",))[0] == "dead", "two and a failure"
        )

        status = json.loads(call(small, "status", "--json").stdout)
        assert status["images"] == {"number": 3, "certainty": "exact"}
        assert status["dead"] == {"not_found": {"number": 1, "certainty": "exact"}}
        assert status["versions"] == {status["signature"]: {"number": 2, "certainty": "exact"}}
        shown = call(small, "status").stdout
        assert "nothing to do, 1 daemon alive" in shown
        assert "not_found" in shown

        failures = call(small, "failures", "--json")
        (failure,) = json.loads(failures.stdout)["failures"]
        assert (failure["image_id"], failure["reason"], failure["attempts"]) == (3, "not_found", 1)
        assert "secret" not in failures.stdout + call(small, "failures").stdout
        assert "no image has failed" in call(small, "failures", "--reason", "gone").stdout

        why = call(small, "why", "3")
        assert why.returncode == 0
        assert "failed for good after 1 attempt: not_found" in why.stdout
        assert json.loads(call(small, "why", "1", "--json").stdout)["verdict"] == "done: it has its vector"
        assert call(small, "why", "12345").returncode == 1

        assert json.loads(call(small, "similar", "1", "--json").stdout)[0]["image_id"] == 2
        assert call(small, "similar", "3").returncode == 1

        web.add("/late.jpg", picture(3))
        assert json.loads(call(small, "retry", "--id", "3", "--json").stdout) == {"retried": 1}
        tables.wait(lambda: len(tables.vectors()) == 3, "the third vector")
        assert call(small, "retry", "--id", "3").returncode == 1
        assert call(small, "retry").returncode == 2
        assert call(small, "retry", "--reason", "nonsense").returncode == 2

        assert json.loads(call(small, "reprocess", "--json").stdout) == {"generation": 1}
        versions = "SELECT DISTINCT model_version FROM tb_hsx_img_value"
        tables.wait(lambda: tables.execute(versions)[0][0].endswith(":g1"), "vectors of generation 1")
        assert stop(process, signal.SIGTERM) == 0


def test_similar_takes_any_picture_and_needs_no_daemon(
    small: dict[str, str], empty_database: str, tmp_path: Path
) -> None:
    def similar(what: str, **changes: str) -> subprocess.CompletedProcess[str]:
        return call(small | changes, "similar", what, "-k", "2", "--json")

    tables = Tables(empty_database)
    with serving() as web:
        with daemon_process(small) as process:
            tables.insert({n: web.add(f"/{n}.jpg", picture(n)) for n in (1, 2, 3)})
            tables.wait(lambda: len(tables.vectors()) == 3, "the vectors")
            assert stop(process, signal.SIGTERM) == 0
        file = tmp_path / "picture.jpg"
        file.write_bytes(picture(2))
        for what in (str(file), web.base + "/2.jpg"):
            done = similar(what)
            assert done.returncode == 0, done.stderr
            first, second = json.loads(done.stdout)
            assert first["image_id"] == 2
            assert first["similarity"] == pytest.approx(1.0, abs=1e-5)
            assert second["similarity"] < 0.999999
        assert json.loads(similar("2").stdout)[0]["image_id"] == second["image_id"]
        blocked = similar(web.base + "/2.jpg", VECTORD_FETCH__ALLOW_NETWORKS="[]")
        assert blocked.returncode == 1
        assert "blocked_address" in blocked.stderr
        assert "fetch.allow_networks" in blocked.stderr
    file.write_bytes(b"no picture")
    cases = {str(file): "not_an_image", str(tmp_path / "nothing.jpg"): "as a file: No such file or directory"}
    for what, told in cases.items():
        done = similar(what)
        assert (done.returncode, done.stdout) == (1, "")
        assert told in done.stderr
        assert "Traceback" not in done.stderr


def test_commands_say_when_the_schema_is_not_there(environment: dict[str, str], empty_database: str) -> None:
    done = call(environment | {"VECTORD_DATABASE__DSN": empty_database}, "status")
    assert done.returncode == 1
    assert "python -m daemon init" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_index_goes_and_comes(environment: dict[str, str], empty_database: str) -> None:
    environment |= {"VECTORD_DATABASE__DSN": empty_database}
    tables = Tables(empty_database)
    indexes = "SELECT count(*) FROM pg_indexes WHERE indexdef LIKE '%hnsw%' AND tablename = 'tb_hsx_img_value'"
    call(environment, "init")
    assert tables.execute(indexes) == [(1,)]
    assert call(environment, "index", "--drop").stdout.startswith("dropped: ")
    assert tables.execute(indexes) == [(0,)]
    assert "no index to drop" in call(environment, "index", "--drop").stdout
    for deed in ("--build", "--rebuild"):
        done = call(environment, "index", deed)
        assert (done.returncode, done.stderr) == (0, "")
        assert tables.execute(indexes) == [(1,)]
    assert call(environment, "index").returncode == 2
