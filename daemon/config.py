"""Settings: `config.toml`, `.env` and the environment become one frozen object; all mistakes are told at once."""

import os
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal

from dotenv import load_dotenv
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    IPvAnyNetwork,
    SecretStr,
    ValidationError,
    field_validator,
)
from pydantic_core import ErrorDetails
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
    TomlConfigSettingsSource,
)

from daemon.errors import ConfigurationError

PREFIX = "VECTORD_"
DELIMITER = "__"
CREDENTIAL = "database_dsn"
"""The systemd credential that holds the DSN."""
TOKEN_CREDENTIAL = "http_token"  # noqa: S105 - a name
"""The one that holds the bearer token, where http.token_file names no other file."""
OLD_NAMES = {
    "GPU_MEMORY_GROWTH": ("engine", "memory_growth"),
    "MODEL_INPUT_SIZE": ("model", "input_size"),
    "MODEL_ALPHA": ("model", "alpha"),
}
"""Variables of the service that vectord replaces, and the keys they set."""
DSN_PARTS = {"HOST": "host", "PORT": "port", "USER": "user", "PASSWORD": "password", "DATABASE": "dbname"}
"""POSTGRES_… of the replaced service, and libpq's names."""

ALPHAS = (0.35, 0.5, 0.75, 1.0, 1.3, 1.4)
"""The widths that Keras has ImageNet weights for."""


def _known_alpha(value: float) -> float:
    if value not in ALPHAS:
        raise ValueError(f"must be one of {', '.join(map(str, ALPHAS))}")
    return value


Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]
Port = Annotated[int, Field(ge=0, le=65535)]
QualifiedName = Annotated[str, Field(pattern=r"^[^.\s]+\.[^.\s]+$")]
Alpha = Annotated[float, AfterValidator(_known_alpha)]


class Section(BaseModel):
    """One section of config.toml: frozen, and an unknown key is a mistake."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)


class Database(Section):
    dsn: SecretStr = SecretStr("")
    listen_dsn: SecretStr = SecretStr("")
    pool_size: Count = 4
    state_dir: Path = Path("auto")

    @field_validator("state_dir")
    @classmethod
    def _find(cls, value: Path) -> Path:
        return default_state_dir(os.environ) if str(value) == "auto" else value.expanduser().absolute()


class Source(Section):
    table: QualifiedName = "ecai.tb_image"
    id_column: str = "id"
    location_column: str = "url"


class Target(Section):
    table: QualifiedName = "public.tb_hsx_img_value"
    id_column: str = "image_id"
    vector_column: str = "feature_vector"
    dimension_column: str = "vector_dimension"
    version_column: str = "model_version"
    index: Literal["hnsw", "none"] = "hnsw"


class Queue(Section):
    # "schema" is a method of pydantic's BaseModel, so the field is called otherwise inside.
    schema_name: Annotated[str, Field(alias="schema", pattern=r"^[a-z_][a-z0-9_]{0,45}$")] = "vectord"
    trigger: bool = True
    notify: bool = True
    poll_seconds: Positive = 5.0
    lease_seconds: Annotated[float, Field(ge=1)] = 60.0
    max_attempts: Count = 5
    high_water: Count = 10_000
    retry_base_seconds: Positive = 5.0


class Sweep(Section):
    interval_seconds: Positive = 60.0
    window: Count = 10_000


class Loader(Section):
    processes: Count | Literal["auto"] = "auto"
    threads: Count = 4
    timeout_seconds: Positive = 30.0
    memory_mb: Annotated[int, Field(ge=64)] = 1024
    max_pixels: Count = 50_000_000
    srgb: bool = False

    @property
    def process_count(self) -> int:
        """Loaders to start: "auto" is one for each core that this process may use."""
        return len(os.sched_getaffinity(0)) if self.processes == "auto" else self.processes


class Fetch(Section):
    connect_timeout: Positive = 3.0
    read_timeout: Positive = 10.0
    total_timeout: Positive = 20.0
    max_bytes: Count = 32 * 1024 * 1024
    max_redirects: Annotated[int, Field(ge=0)] = 3
    per_host: Count = 8
    allow_networks: tuple[IPvAnyNetwork, ...] = ()
    allow_hosts: tuple[str, ...] = ()
    allow_ports: tuple[Port, ...] = ()
    file_roots: tuple[Path, ...] = ()
    user_agent: str = "vectord"
    ca_file: str = ""


class Model(Section):
    alpha: Alpha = 1.0
    input_size: Annotated[int, Field(ge=32, le=1024)] = 224
    weights: str = "imagenet"
    scaling: Literal["tf", "unit"] = "tf"


class Engine(Section):
    backend: Literal["auto", "tensorflow", "openvino"] = "auto"
    device: Annotated[str, Field(pattern=r"^(auto|cpu|gpu(:\d+)?)$")] = "auto"
    memory_growth: bool = True
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    batch_max: Annotated[int, Field(ge=1, le=4096)] = 32
    batch_wait_ms: Annotated[float, Field(ge=0)] = 5.0


class Reprocess(Section):
    on_start: Annotated[str, Field(min_length=1)] = "never"
    foreign: Literal["keep", "replace"] = "keep"


class Http(Section):
    host: str = "127.0.0.1"
    port: Port = 8000
    metrics_port: Port = 0
    token_file: str = ""
    allow_anonymous: bool = False
    max_waiting: Annotated[int, Field(ge=0)] = 1_000
    allow_hosts: tuple[str, ...] = ()
    cors_origins: tuple[str, ...] = ()

    @field_validator("token_file")
    @classmethod
    def _find(cls, value: str) -> str:
        return value or str(_credential(os.environ, TOKEN_CREDENTIAL) or "")


class Log(Section):
    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["auto", "console", "json"] = "auto"


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


def default_state_dir(environment: Mapping[str, str]) -> Path:
    """Where state lives when nobody says: systemd's state folder, else XDG's."""
    if given := environment.get("STATE_DIRECTORY"):
        return Path(given.split(":")[0])
    home = environment.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(home) / "vectord"


def load(path: Path | None = None) -> Settings:
    """The settings from the file, with `.env` and the environment over it.

    Raises `ConfigurationError` that tells every mistake, each with its key.
    """
    if path is not None and not path.is_file():
        raise ConfigurationError(f"there is no configuration file {path}; name one with --config")
    load_dotenv(Path(".env"))

    class Layers(Settings, BaseSettings):
        model_config = SettingsConfigDict(env_prefix=PREFIX, env_nested_delimiter=DELIMITER)

        @classmethod
        def settings_customise_sources(
            cls,
            settings_cls: type[BaseSettings],
            init_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - nothing is given by argument
            env_settings: PydanticBaseSettingsSource,
            dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - load_dotenv has put it into the environment
            file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - systemd's credentials are read below
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            given = (_from_credential(os.environ), _from_old_names(os.environ))
            credential, old_names = (InitSettingsSource(settings_cls, init_kwargs=values) for values in given)
            return credential, env_settings, old_names, TomlConfigSettingsSource(settings_cls, path)

    mistakes = list(_unknown_variables(os.environ))
    try:
        settings = Layers()
    except ValidationError as error:
        mistakes += [_explain(detail) for detail in error.errors()]
    except SettingsError as error:
        mistakes.append(f"{error}: {error.__cause__}; a list is given as JSON, as in {PREFIX}FETCH__ALLOW_PORTS='[0]'")
    except tomllib.TOMLDecodeError as error:
        mistakes.append(f"{path} is not TOML: {error}")
    if mistakes:
        raise ConfigurationError("the configuration is wrong:\n" + "\n".join(f"  {mistake}" for mistake in mistakes))
    return settings


def _from_credential(environment: Mapping[str, str]) -> dict[str, Any]:
    file = _credential(environment, CREDENTIAL)
    return {"database": {"dsn": file.read_text().strip()}} if file else {}


def _credential(environment: Mapping[str, str], name: str) -> Path | None:
    """The file of a systemd credential, where it was given. Source: systemd.exec(5)."""
    folder = environment.get("CREDENTIALS_DIRECTORY")
    file = Path(folder) / name if folder else None
    return file if file and file.is_file() else None


def _from_old_names(environment: Mapping[str, str]) -> dict[str, Any]:
    """The replaced service's variables, as our keys."""
    values: dict[str, Any] = {}
    for name, (section, key) in OLD_NAMES.items():
        if name in environment:
            values.setdefault(section, {})[key] = environment[name]
    if device := environment.get("GPU_DEVICE"):
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
    for name in environment:
        section, delimiter, _ = name.removeprefix(PREFIX).lower().partition(DELIMITER)
        if name.startswith(PREFIX) and (section not in Settings.model_fields or not delimiter):
            yield f"{name}: no such key{_suggestion(section, list(Settings.model_fields))}"


def _explain(detail: ErrorDetails) -> str:
    key = ".".join(str(part) for part in detail["loc"][:2])
    if detail["type"] != "extra_forbidden":
        return f"{key}: {detail['msg']}"
    *section, name = detail["loc"]
    return f"{key}: no such key{_suggestion(str(name), _known_keys(section))}"


def _known_keys(section: Sequence[str | int]) -> list[str]:
    if not section:
        return list(Settings.model_fields)
    keys = getattr(Settings(), str(section[0])).model_dump(by_alias=True)
    return list(keys)


def _suggestion(name: str, known: list[str]) -> str:
    near = get_close_matches(name, known, n=1)
    return f"; did you mean {near[0]}?" if near else ""
