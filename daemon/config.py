"""Settings: `config.toml`, `.env` and the environment become one frozen object; all mistakes are told at once."""

import os
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dotenv import load_dotenv
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.fields import FieldInfo
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from daemon.errors import ConfigurationError
from daemon.mistakes import explain, suggestion
from daemon.sections import (
    Database,
    Engine,
    Fetch,
    Http,
    Loader,
    Log,
    Model,
    Queue,
    Reprocess,
    Source,
    Sweep,
    Target,
    credential,
)

PREFIX = "VECTORD_"
DELIMITER = "__"
CREDENTIAL = "database_dsn"
"""The systemd credential that holds the DSN."""
OLD_DEVICE = "GPU_DEVICE"
OLD_PORT = "POSTGRES_PORT"
OLD_NAMES = {
    "GPU_MEMORY_GROWTH": ("engine", "memory_growth"),
    "MODEL_INPUT_SIZE": ("model", "input_size"),
    "MODEL_ALPHA": ("model", "alpha"),
}
"""Variables of the service that vectord replaces, and the keys they set."""
DSN_PARTS = {"HOST": "host", "PORT": "port", "USER": "user", "PASSWORD": "password", "DATABASE": "dbname"}
"""POSTGRES_… of the replaced service, and libpq's names."""


class Settings(BaseModel):
    """All settings. `load` reads them; a test says what it wants: `Settings(model={"alpha": 0.35})`."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)

    database: Database = Field(default_factory=Database)
    source: Source = Field(default_factory=Source)
    target: Target = Field(default_factory=Target)
    queue: Queue = Field(default_factory=Queue)
    sweep: Sweep = Field(default_factory=Sweep)
    loader: Loader = Field(default_factory=Loader)
    fetch: Fetch = Field(default_factory=Fetch)
    model: Model = Field(default_factory=Model)
    engine: Engine = Field(default_factory=Engine)
    reprocess: Reprocess = Field(default_factory=Reprocess)
    http: Http = Field(default_factory=Http)
    log: Log = Field(default_factory=Log)

    def changed(self, changes: Mapping[str, Mapping[str, Any]]) -> "Settings":
        """A copy with other values: `settings.changed({"http": {"port": 0}})`. Raises pydantic's `ValidationError`."""
        values = self.model_dump(by_alias=True)
        return Settings(**{name: section | changes.get(name, {}) for name, section in values.items()})


class _Environment(EnvSettingsSource):
    """What should be JSON and is none goes on as the text that it is, so that it is told with all other mistakes."""

    def decode_complex_value(self, field_name: str, field: FieldInfo, value: Any) -> Any:
        try:
            return super().decode_complex_value(field_name, field, value)
        except ValueError:
            return value


def load(path: Path | None = None) -> Settings:
    """The settings from the file, with `.env` and the environment over it.

    Raises `ConfigurationError` that tells every mistake, each with its key.
    """
    if path is not None:
        _require_readable(path)
    with _reading(Path(".env")) as file:
        load_dotenv(file)

    class Layers(Settings, BaseSettings):
        model_config = SettingsConfigDict(env_prefix=PREFIX, env_nested_delimiter=DELIMITER)

        @classmethod
        def settings_customise_sources(
            cls,
            settings_cls: type[BaseSettings],
            init_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - nothing is given by argument
            env_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - `_Environment` stands in its place
            dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - load_dotenv has put it into the environment
            file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - systemd's credentials are read below
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            given = (_from_credential(os.environ), _from_old_names(os.environ))
            credential, old_names = (InitSettingsSource(settings_cls, init_kwargs=values) for values in given)
            return credential, _Environment(settings_cls), old_names, TomlConfigSettingsSource(settings_cls, path)

    mistakes = [*_unknown_variables(os.environ), *_no_port(os.environ)]
    try:
        settings = Layers()
    except ValidationError as error:
        mistakes += explain(error.errors(), _keys(), _set_by(os.environ))
    except tomllib.TOMLDecodeError as error:
        mistakes.append(f"{path} is not TOML: {error}")
    if mistakes:
        raise ConfigurationError("the configuration is wrong:\n" + "\n".join(f"  {mistake}" for mistake in mistakes))
    return settings


@contextmanager
def _reading(file: Path) -> Iterator[Path]:
    """Raises `ConfigurationError` where it cannot be read, or is no text."""
    try:
        yield file
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{file} cannot be read: {error}") from error


def _require_readable(path: Path) -> None:
    with _reading(path):
        try:
            path.read_text(encoding="utf-8")
        except FileNotFoundError:
            raise ConfigurationError(f"there is no configuration file {path}; name one with --config") from None


def _from_credential(environment: Mapping[str, str]) -> dict[str, Any]:
    if (file := credential(environment, CREDENTIAL)) is None:
        return {}
    with _reading(file):
        return {"database": {"dsn": file.read_text(encoding="utf-8").strip()}}


def _from_old_names(environment: Mapping[str, str]) -> dict[str, Any]:
    """The replaced service's variables, as our keys."""
    values: dict[str, Any] = {}
    for name, (section, key) in OLD_NAMES.items():
        if name in environment:
            values.setdefault(section, {})[key] = environment[name]
    if device := environment.get(OLD_DEVICE):
        values.setdefault("engine", {})["device"] = f"gpu:{device}" if device.isdigit() else device.lower()
    parts = {part: environment[f"POSTGRES_{part}"] for part in DSN_PARTS if environment.get(f"POSTGRES_{part}")}
    if parts:
        values["database"] = {"dsn": " ".join(f"{DSN_PARTS[part]}={_quoted(text)}" for part, text in parts.items())}
    return values


def _quoted(value: str) -> str:
    """A value of a libpq connection string. Source: PostgreSQL manual, 32.1.1.1."""
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _unknown_variables(environment: Mapping[str, str]) -> Iterator[str]:
    """Variables with our prefix that name no section: else a slip of the pen would go unnoticed."""
    known = [f"{PREFIX}{section}{DELIMITER}{key}".upper() for section, keys in _keys().items() for key in keys]
    for name in environment:
        section, delimiter, _ = name.removeprefix(PREFIX).lower().partition(DELIMITER)
        if name.startswith(PREFIX) and (section not in Settings.model_fields or not delimiter):
            yield f"{name}: no such key{suggestion(name, known)}"


def _no_port(environment: Mapping[str, str]) -> Iterator[str]:
    """What container platforms put there for a service called postgres: libpq would blame a DSN that nobody wrote."""
    port = environment.get(OLD_PORT, "")
    overruled = "database.dsn" in _set_by(environment) or credential(environment, CREDENTIAL)
    if port and not port.isdigit() and not overruled:
        yield f"{OLD_PORT}: it should be a number; unset it where database.dsn says all"


def _keys() -> dict[str, list[str]]:
    return {section: list(keys) for section, keys in Settings().model_dump(by_alias=True).items()}


def _set_by(environment: Mapping[str, str]) -> dict[str, str]:
    """The variable of each key that has one: ours, which wins, or the replaced service's."""
    names = OLD_NAMES | {OLD_DEVICE: ("engine", "device")}
    old = {f"{section}.{key}": name for name, (section, key) in names.items() if name in environment}
    ours = [name for name in environment if name.upper().startswith(PREFIX)]
    return old | {name[len(PREFIX) :].lower().replace(DELIMITER, "."): name for name in ours}
