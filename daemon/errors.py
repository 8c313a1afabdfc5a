"""What can go wrong with an image, as a closed list, and the errors that stop the daemon.

A `Reason` is what logs, metrics, `failures`, the API and the docs show; its class decides what happens next
(`policy.decide`). The exceptions below are for faults of the installation, never for faults of an image: those
travel through the pipeline as values (`records.Failure`).
"""

from enum import Enum, StrEnum


class FailureClass(StrEnum):
    """What kind of fault a reason is, and so what happens to the image."""

    PERMANENT = "permanent"
    """Dead at once: trying again would give the same."""
    TRANSIENT = "transient"
    """Tried again with growing pauses; dead after `queue.max_attempts`."""
    CRASH = "crash"
    """The loader died over it. Tried again alone; dead the second time."""
    SYSTEM = "system"
    """Not the image's fault: no attempt is charged and the image waits."""


class Reason(Enum):
    """Why an image has no vector: a stable name, its class, and a sentence for people."""

    def __init__(self, label: str, failure_class: FailureClass, explanation: str) -> None:
        self.label = label
        self.failure_class = failure_class
        self.explanation = explanation

    def __str__(self) -> str:
        return self.label

    @classmethod
    def from_label(cls, label: str) -> "Reason":
        """The reason with this stable name. Raises `ValueError` for a name that is not on the list."""
        for reason in cls:
            if reason.label == label:
                return reason
        raise ValueError(f"no such reason: {label!r}; the known ones are {', '.join(r.label for r in cls)}")

    # The location itself.
    EMPTY_LOCATION = ("empty_location", FailureClass.PERMANENT, "the row has no location")
    INVALID_URL = ("invalid_url", FailureClass.PERMANENT, "the location is not a URL or path that can be read")
    UNSUPPORTED_SCHEME = ("unsupported_scheme", FailureClass.PERMANENT, "no way is known to fetch such a URL")
    BLOCKED_ADDRESS = (
        "blocked_address",
        FailureClass.PERMANENT,
        "the host resolves to an address that fetch.allow_networks and fetch.allow_hosts do not allow",
    )
    BLOCKED_PORT = ("blocked_port", FailureClass.PERMANENT, "fetch.allow_ports does not allow the port")
    BLOCKED_PATH = ("blocked_path", FailureClass.PERMANENT, "the file is not below one of fetch.file_roots")
    NOT_A_FILE = ("not_a_file", FailureClass.PERMANENT, "the path is a folder, a device or a pipe")
    # What the server, or the disk, said.
    NOT_FOUND = ("not_found", FailureClass.PERMANENT, "404: nothing is there, or the file does not exist")
    GONE = ("gone", FailureClass.PERMANENT, "410: it was there and is not any more")
    FORBIDDEN = ("forbidden", FailureClass.PERMANENT, "401, 403, or a file that may not be read")
    HTTP_CLIENT_ERROR = ("http_client_error", FailureClass.PERMANENT, "another 4xx answer")
    UNEXPECTED_STATUS = (
        "unexpected_status",
        FailureClass.PERMANENT,
        "an answer without a body, such as 204 or 304, or a redirect that leads nowhere",
    )
    TOO_MANY_REDIRECTS = ("too_many_redirects", FailureClass.PERMANENT, "more than fetch.max_redirects redirects")
    TOO_LARGE = ("too_large", FailureClass.PERMANENT, "more than fetch.max_bytes")
    RATE_LIMITED = ("rate_limited", FailureClass.TRANSIENT, "429: the server asks to wait")
    HTTP_SERVER_ERROR = ("http_server_error", FailureClass.TRANSIENT, "a 5xx answer")
    CONNECTION_REFUSED = ("connection_refused", FailureClass.TRANSIENT, "nothing listens there")
    CONNECTION_FAILED = ("connection_failed", FailureClass.TRANSIENT, "the connection broke or could not be made")
    CONNECT_TIMEOUT = ("connect_timeout", FailureClass.TRANSIENT, "no connection within fetch.connect_timeout")
    READ_TIMEOUT = ("read_timeout", FailureClass.TRANSIENT, "no bytes for fetch.read_timeout, or a 408")
    TOTAL_TIMEOUT = ("total_timeout", FailureClass.TRANSIENT, "not all of it within fetch.total_timeout")
    DNS_FAILURE = ("dns_failure", FailureClass.TRANSIENT, "the host's name has no address")
    TLS_FAILURE = ("tls_failure", FailureClass.TRANSIENT, "no trusted TLS connection")
    TRUNCATED_BODY = ("truncated_body", FailureClass.TRANSIENT, "the body ended before its Content-Length")
    FILE_ERROR = ("file_error", FailureClass.TRANSIENT, "the file could not be read")
    # What the bytes are.
    EMPTY_BODY = ("empty_body", FailureClass.PERMANENT, "no bytes at all")
    NOT_AN_IMAGE = ("not_an_image", FailureClass.PERMANENT, "the bytes are no picture")
    UNSUPPORTED_FORMAT = ("unsupported_format", FailureClass.PERMANENT, "a picture in a format that is not allowed")
    TOO_MANY_PIXELS = ("too_many_pixels", FailureClass.PERMANENT, "more than loader.max_pixels")
    TRUNCATED = ("truncated", FailureClass.PERMANENT, "the picture ends in the middle")
    CORRUPT_IMAGE = ("corrupt_image", FailureClass.PERMANENT, "the picture cannot be decoded")
    # What decoding it did to the loader.
    DECODER_CRASH = ("decoder_crash", FailureClass.CRASH, "decoding it killed the loader")
    DECODER_MEMORY = ("decoder_memory", FailureClass.CRASH, "decoding it took more than loader.memory_mb")
    DECODER_TIMEOUT = ("decoder_timeout", FailureClass.CRASH, "decoding it took more than loader.timeout_seconds")
    DAEMON_LOST = ("daemon_lost", FailureClass.CRASH, "every daemon that tried it died before it was done")
    # What the model made of it.
    VECTOR_NOT_FINITE = ("vector_not_finite", FailureClass.PERMANENT, "the vector holds NaN or infinity")
    VECTOR_REFUSED = ("vector_refused", FailureClass.PERMANENT, "the table of vectors refuses the row")
    # Not the image's fault.
    HOST_UNAVAILABLE = ("host_unavailable", FailureClass.SYSTEM, "its host keeps failing and is left alone for a while")
    ROOT_UNAVAILABLE = (
        "root_unavailable",
        FailureClass.SYSTEM,
        "its folder in fetch.file_roots is not there or is empty: is it mounted?",
    )
    TARGET_REFUSES = (
        "target_refuses",
        FailureClass.SYSTEM,
        "the table of vectors refuses every row: what has changed about it?",
    )
    LOADER_LOST = ("loader_lost", FailureClass.SYSTEM, "the loader died over another image")
    DATABASE_FAILED = ("database_failed", FailureClass.SYSTEM, "the database could not give the image's bytes just now")
    ENGINE_FAILED = ("engine_failed", FailureClass.SYSTEM, "the engine could not work")


class VectordError(Exception):
    """Something keeps the daemon, or one command, from working; the message says what and the remedy."""


class ConfigurationError(VectordError):
    """The configuration, or the call, is wrong. Exit status 2."""


class AddressError(VectordError):
    """Nobody can listen on this address just now: it is taken, or not up yet. Trying again later may help."""


class DatabaseUnavailableError(VectordError):
    """PostgreSQL cannot be reached, or broke off, just now. Trying again later may help."""


class TooSlowError(DatabaseUnavailableError):
    """PostgreSQL took longer over an answer than is waited for. The message names nothing of the house."""


class DatabaseError(VectordError):
    """PostgreSQL refused, and will refuse again until someone changes something."""


class NotFoundError(VectordError):
    """What was asked for is not there: no such image, or no vector of it."""


class ImpossibleIdError(NotFoundError):
    """There is no such image, and with this id there can be none. The message quotes PostgreSQL."""


class NotServingError(VectordError):
    """The daemon cannot take a request just now: it starts or stops, has no loaders, or another's model counts."""


class PictureError(VectordError):
    """A picture that somebody asked about came to no vector."""

    def __init__(self, reason: Reason, detail: str = "") -> None:
        super().__init__(f"{reason.label}: {reason.explanation}" + (f" ({detail})" if detail else ""))
        self.reason = reason


class EngineError(VectordError):
    """The model cannot be loaded or run."""


class EngineMemoryError(EngineError):
    """The device has too little memory for a batch of this size."""


def gist(error: Exception) -> str:
    """What anybody may read of a fault: no host, no role."""
    match error:
        case TooSlowError():
            return str(error)
        case DatabaseUnavailableError():
            return "PostgreSQL is away"
        case DatabaseError():
            return "PostgreSQL refused; the daemon's log says why"
        case EngineError():
            return str(error)
        case _:
            return "the daemon's log says why"


def sqlstate(error: VectordError) -> str:
    """The SQLSTATE behind one of our errors; empty where PostgreSQL did not say."""
    return getattr(error.__cause__, "pgcode", None) or ""
