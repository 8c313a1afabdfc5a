"""config: layers, old names, secrets from files, and mistakes told all at once."""

import tomllib
from pathlib import Path

import pytest

from daemon.config import Settings, load
from daemon.errors import ConfigurationError

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No `.env` and no variables of whoever runs the tests."""
    monkeypatch.chdir(tmp_path)
    for name in ("STATE_DIRECTORY", "XDG_STATE_HOME", "CREDENTIALS_DIRECTORY", "GPU_DEVICE"):
        monkeypatch.delenv(name, raising=False)


def test_config_toml_holds_every_key_with_its_default() -> None:
    written = tomllib.loads((ROOT / "config.toml").read_text())
    assert load(ROOT / "config.toml").model_dump() == Settings().model_dump()
    assert {section: set(keys) for section, keys in written.items()} == {
        section: set(keys) for section, keys in Settings().model_dump(by_alias=True).items()
    }


def test_the_environment_wins_over_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "c.toml"
    file.write_text('[database]\ndsn = "host=file"\npool_size = 2\n[queue]\nschema = "other"\n')
    monkeypatch.setenv("VECTORD_DATABASE__DSN", "host=environment")
    monkeypatch.setenv("VECTORD_FETCH__ALLOW_PORTS", "[0]")
    monkeypatch.setenv("VECTORD_QUEUE__LEASE_SECONDS", "7.5")
    settings = load(file)
    assert settings.database.dsn.get_secret_value() == "host=environment"
    assert settings.database.pool_size == 2
    assert settings.queue.schema_name == "other"
    assert settings.queue.lease_seconds == 7.5
    assert settings.fetch.allow_ports == (0,)


def test_a_dotenv_file_is_read_like_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VECTORD_HTTP__PORT", "9999")
    monkeypatch.setenv("VECTORD_LOG__LEVEL", "")
    monkeypatch.delenv("VECTORD_LOG__LEVEL")
    (tmp_path / ".env").write_text("VECTORD_LOG__LEVEL=debug\nVECTORD_HTTP__PORT=1\nSOMETHING_ELSE=1\n")
    settings = load()
    assert settings.log.level == "debug"
    assert settings.http.port == 9999


def test_the_replaced_services_names_are_honoured_below_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "GPU_MEMORY_GROWTH": "false",
        "GPU_DEVICE": "1",
        "MODEL_INPUT_SIZE": "160",
        "MODEL_ALPHA": "0.5",
        "POSTGRES_HOST": "db",
        "POSTGRES_PASSWORD": "it's \\ secret",
        "POSTGRES_DATABASE": "images",
        "VECTORD_MODEL__ALPHA": "1.4",
    }.items():
        monkeypatch.setenv(name, value)
    settings = load()
    assert settings.engine.device == "gpu:1"
    assert settings.engine.memory_growth is False
    assert settings.model.input_size == 160
    assert settings.model.alpha == 1.4
    assert settings.database.dsn.get_secret_value() == r"host='db' password='it\'s \\ secret' dbname='images'"


def test_a_dsn_of_ours_wins_over_the_old_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POSTGRES_HOST", "old")
    monkeypatch.setenv("VECTORD_DATABASE__DSN", "host=new")
    assert load().database.dsn.get_secret_value() == "host=new"


def test_a_systemd_credential_wins_over_everything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "database_dsn").write_text("host=credential\n")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    monkeypatch.setenv("VECTORD_DATABASE__DSN", "host=environment")
    assert load().database.dsn.get_secret_value() == "host=credential"


def test_all_mistakes_are_told_at_once_each_with_its_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "c.toml"
    file.write_text('[model]\nalpha = 2\n[queue]\nleese_seconds = 1\n[fetch]\nallow_networks = ["nonsense"]\n[qeue]\n')
    monkeypatch.setenv("VECTORD_DATABASE__POOL_SIZE", "many")
    monkeypatch.setenv("VECTORD_DATABSE__DSN", "host=x")
    with pytest.raises(ConfigurationError) as caught:
        load(file)
    message = str(caught.value)
    for part in (
        "model.alpha: it should be one of 0.35, 0.5, 0.75, 1.0, 1.3, 1.4, not 2",
        "queue.leese_seconds: no such key; did you mean lease_seconds?",
        "fetch.allow_networks: it should be networks, such as 10.0.0.0/8, not 'nonsense'",
        "database.pool_size (VECTORD_DATABASE__POOL_SIZE): it should be a valid integer",
        "qeue: no such key; did you mean queue?",
        "VECTORD_DATABSE__DSN: no such key; did you mean VECTORD_DATABASE__DSN?",
    ):
        assert part in message


@pytest.mark.parametrize(
    ("written", "told"),
    [
        (
            '[source]\ntable = "tb_image"',
            "source.table: it should be SCHEMA.TABLE, such as public.tb_image, not 'tb_image'",
        ),
        ('[queue]\nschema = "My"', "queue.schema: it should be lower-case letters, digits and _, 46 at most"),
        ('[loader]\nprocesses = "many"', "loader.processes: it should be a valid integer, or 'auto', not 'many'"),
        ("[loader]\nprocesses = 0", "loader.processes: it should be greater than or equal to 1, or 'auto', not 0"),
        ('[engine]\ndevice = "tpu"', "engine.device: it should be auto, cpu, gpu, or gpu: and a number, not 'tpu'"),
        ('[fetch]\nallow_networks = ["10.1.2.3/8"]', "such as 10.0.0.0/8, not '10.1.2.3/8'"),
        ("[fetch]\nallow_ports = 80", "fetch.allow_ports: it should be a list"),
        ("[database]\nstate_dir = 5", "database.state_dir: it should be a path"),
        ('database = "postgresql://u:hunter2@db/x"', "database: it should be a section, with keys such as dsn"),
        ("lease_seconds = 1", "lease_seconds: no such key; did you mean queue.lease_seconds?"),
        ("[fetch]\nmemory_mb = 1", "fetch.memory_mb: no such key; did you mean loader.memory_mb?"),
        ("[http]\nport = 99999", "http.port: it should be less than or equal to 65535, not 99999"),
    ],
)
def test_a_mistake_says_what_the_key_takes_and_what_it_was_given(tmp_path: Path, written: str, told: str) -> None:
    file = tmp_path / "c.toml"
    file.write_text(written)
    with pytest.raises(ConfigurationError) as caught:
        load(file)
    (_, line) = str(caught.value).splitlines()
    assert told in line


def test_a_mistake_in_the_environment_names_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODEL_ALPHA", "7")
    monkeypatch.setenv("VECTORD_QUEUE__LEASE_SECONDS", "soon")
    with pytest.raises(ConfigurationError) as caught:
        load()
    told = str(caught.value)
    assert "queue.lease_seconds (VECTORD_QUEUE__LEASE_SECONDS): it should be a valid number, not 'soon'" in told
    assert "model.alpha (MODEL_ALPHA): it should be one of" in told


def test_one_underscore_instead_of_two_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VECTORD_QUEUE_LEASE_SECONDS", "3")
    with pytest.raises(ConfigurationError, match=r"did you mean VECTORD_QUEUE__LEASE_SECONDS\?"):
        load()


def test_a_whole_section_in_the_environment_is_not_quoted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VECTORD_DATABASE", "host=db password=hunter2")
    with pytest.raises(ConfigurationError, match=r"did you mean VECTORD_DATABASE__DSN\?") as caught:
        load()
    assert "hunter2" not in str(caught.value)


def test_a_wrong_value_of_an_old_name_names_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GPU_DEVICE", "x")
    monkeypatch.setenv("POSTGRES_PORT", "tcp://10.0.0.1:5432")
    with pytest.raises(ConfigurationError, match=r"(?s)POSTGRES_PORT: it should be a number.*\(GPU_DEVICE\): it"):
        load()
    monkeypatch.delenv("GPU_DEVICE")
    monkeypatch.setenv("VECTORD_DATABASE__DSN", "host=db")
    assert load().database.dsn.get_secret_value() == "host=db"


def test_a_mistake_quotes_nothing_of_the_database(tmp_path: Path) -> None:
    file = tmp_path / "c.toml"
    file.write_text('[database]\ndsn = 42\npool_size = "hunter2"\nstate_dir = 7\n')
    with pytest.raises(ConfigurationError) as caught:
        load(file)
    assert "hunter2" not in str(caught.value)
    assert "42" not in str(caught.value)


def test_a_list_that_is_no_json_says_how_one_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VECTORD_FETCH__ALLOW_PORTS", "80,443")
    monkeypatch.setenv("VECTORD_FETCH__FILE_ROOTS", "/srv/images")
    monkeypatch.setenv("VECTORD_MODEL__ALPHA", "7")
    with pytest.raises(ConfigurationError) as told:
        load()
    for mistake in (
        "fetch.allow_ports: it should be a list; in the environment as JSON: VECTORD_FETCH__ALLOW_PORTS='[…]'",
        "fetch.file_roots: it should be a list; in the environment as JSON: VECTORD_FETCH__FILE_ROOTS='[…]'",
        "model.alpha (VECTORD_MODEL__ALPHA): ",
    ):
        assert mistake in str(told.value)


def test_broken_toml_names_the_file(tmp_path: Path) -> None:
    file = tmp_path / "c.toml"
    file.write_text("[database\n")
    with pytest.raises(ConfigurationError, match=r"c\.toml is not TOML"):
        load(file)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    latin = tmp_path / "latin.toml"
    latin.write_bytes("# Größe\n".encode("latin-1"))
    for file in (latin, tmp_path):  # The second one is a folder.
        with pytest.raises(ConfigurationError, match=f"{file} cannot be read"):
            load(file)
    monkeypatch.chdir(tmp_path)
    Path(".env").write_bytes("VECTORD_QUEUE__SCHEMA=größe\n".encode("latin-1"))
    with pytest.raises(ConfigurationError, match=r"\.env cannot be read"):
        load()


def test_a_credential_that_cannot_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "database_dsn").write_bytes(b"host=\xff")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    with pytest.raises(ConfigurationError, match="database_dsn cannot be read"):
        load()


def test_the_home_of_nobody_is_a_mistake_among_others(tmp_path: Path) -> None:
    file = tmp_path / "c.toml"
    file.write_text('[database]\nstate_dir = "~nosuch/x"\n[model]\nalpha = 7\n')
    with pytest.raises(ConfigurationError, match=r"(?s)database\.state_dir: .*~nosuch.*model\.alpha"):
        load(file)


def test_a_missing_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="there is no configuration file"):
        load(tmp_path / "none.toml")


def test_the_same_port_twice_is_one_port() -> None:
    for port, metrics_port, own in ((8000, 9000, 9000), (8000, 8000, 0), (8000, 0, 0)):
        settings = Settings.model_validate({"http": {"port": port, "metrics_port": metrics_port}})
        assert settings.http.port_of_probes == own


def test_a_secret_does_not_show_in_the_settings_repr() -> None:
    assert "hunter2" not in repr(Settings.model_validate({"database": {"dsn": "password=hunter2"}}))


def test_a_copy_with_changes_keeps_the_rest() -> None:
    settings = Settings.model_validate({"queue": {"schema": "mine"}, "database": {"dsn": "host=a"}})
    changed = settings.changed({"http": {"port": 0}})
    assert changed.http.port == 0
    assert changed.queue.schema_name == "mine"
    assert changed.database.dsn.get_secret_value() == "host=a"


def test_a_name_that_the_driver_would_misread_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VECTORD_SOURCE__TABLE", "ecai.100%")
    monkeypatch.setenv("VECTORD_TARGET__VECTOR_COLUMN", "%s")
    with pytest.raises(ConfigurationError, match=r"(?s)source.table .*%.*target.vector_column .*rename it"):
        load()
