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
        "model.alpha: Value error, must be one of 0.35",
        "queue.leese_seconds: no such key; did you mean lease_seconds?",
        "fetch.allow_networks",
        "database.pool_size",
        "qeue: no such key; did you mean queue?",
        "VECTORD_DATABSE__DSN: no such key; did you mean database?",
    ):
        assert part in message


def test_a_list_that_is_no_json_says_how_one_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VECTORD_FETCH__ALLOW_PORTS", "80,443")
    monkeypatch.setenv("VECTORD_FETCH__FILE_ROOTS", "/srv/images")
    monkeypatch.setenv("VECTORD_MODEL__ALPHA", "7")
    with pytest.raises(ConfigurationError) as told:
        load()
    for mistake in (
        "fetch.allow_ports: it should be a list; in the environment as JSON: VECTORD_FETCH__ALLOW_PORTS='[…]'",
        "fetch.file_roots: it should be a list; in the environment as JSON: VECTORD_FETCH__FILE_ROOTS='[…]'",
        "model.alpha: ",
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
    with pytest.raises(ConfigurationError, match=r"(?s)source.table: .*%.*target.vector_column: .*rename it"):
        load()
