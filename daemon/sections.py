"""The sections of `config.toml`: each key with its type and its default. What a key means stands in that file."""

import os
import re
from collections.abc import Mapping
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, field_validator

TOKEN_CREDENTIAL = "http_token"  # noqa: S105 - a name
"""The systemd credential that holds the bearer token, where http.token_file names no other file."""

ALPHAS = (0.35, 0.5, 0.75, 1.0, 1.3, 1.4)
"""The widths that Keras has ImageNet weights for."""


def _known_alpha(value: float) -> float:
    if value not in ALPHAS:
        raise ValueError(f"it should be one of {', '.join(map(str, ALPHAS))}")
    return value


def _plain(name: str) -> str:
    """psycopg2 takes "%" in a statement for the place of a value."""
    if "%" in name:
        raise ValueError("a name with % in it cannot be used; rename it in the database")
    return name


def _like(pattern: str, wanted: str) -> AfterValidator:
    def check(text: str) -> str:
        if not re.fullmatch(pattern, text):
            raise ValueError(f"it should be {wanted}")
        return text

    return AfterValidator(check)


def _network(given: Any) -> IPv4Network | IPv6Network:
    try:
        return ip_network(given)
    except ValueError:
        near = _network_around(given)
        raise ValueError(f"it should be networks, such as {near}") from None


def _network_around(given: Any) -> IPv4Network | IPv6Network:
    """The network that an address with a mask lies in; an example where it is none."""
    try:
        return ip_network(given, strict=False)
    except ValueError:
        return ip_network("10.0.0.0/8")


Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]
Port = Annotated[int, Field(ge=0, le=65535)]
Name = Annotated[str, AfterValidator(_plain)]
QualifiedName = Annotated[
    str, _like(r"[^.\s]+\.[^.\s]+", "SCHEMA.TABLE, such as public.tb_image"), AfterValidator(_plain)
]
# No longer than that the names of the triggers, which hold it, are whole.
SchemaName = Annotated[
    str, _like(r"[a-z_][a-z0-9_]{0,45}", "lower-case letters, digits and _, 46 at most and no digit first")
]
Device = Annotated[str, _like(r"auto|cpu|gpu(:\d+)?", "auto, cpu, gpu, or gpu: and a number")]
Network = Annotated[IPv4Network | IPv6Network, BeforeValidator(_network)]
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
        if str(value) == "auto":
            return default_state_dir(os.environ)
        try:
            return value.expanduser().absolute()
        except RuntimeError as error:
            raise ValueError(f"{value}: {error}") from error


class Source(Section):
    table: QualifiedName = "ecai.tb_image"
    id_column: Name = "id"
    location_column: Name = "url"


class Target(Section):
    table: QualifiedName = "public.tb_hsx_img_value"
    id_column: Name = "image_id"
    vector_column: Name = "feature_vector"
    dimension_column: Name = "vector_dimension"
    version_column: Name = "model_version"
    index: Literal["hnsw", "none"] = "hnsw"


class Queue(Section):
    # "schema" is a method of pydantic's BaseModel, so the field is called otherwise inside.
    schema_name: Annotated[SchemaName, Field(alias="schema")] = "vectord"
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
    allow_networks: tuple[Network, ...] = ()
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
    device: Device = "auto"
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

    @property
    def port_of_probes(self) -> int:
        """Of health and metrics, where they have one of their own; otherwise 0."""
        return 0 if self.metrics_port == self.port else self.metrics_port

    @field_validator("token_file")
    @classmethod
    def _find(cls, value: str) -> str:
        return value or str(credential(os.environ, TOKEN_CREDENTIAL) or "")


class Log(Section):
    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["auto", "console", "json"] = "auto"


def default_state_dir(environment: Mapping[str, str]) -> Path:
    """Where state lives when nobody says: systemd's state folder, else XDG's."""
    if given := environment.get("STATE_DIRECTORY"):
        return Path(given.split(":")[0])
    home = environment.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(home) / "vectord"


def credential(environment: Mapping[str, str], name: str) -> Path | None:
    """The file of a systemd credential, where it was given. Source: systemd.exec(5)."""
    folder = environment.get("CREDENTIALS_DIRECTORY")
    file = Path(folder) / name if folder else None
    return file if file and file.is_file() else None
