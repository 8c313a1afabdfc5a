"""Objects in stores (`s3://bucket/key` and the like), through fsspec and the driver that the user has installed.

Only stores whose address comes from the installation, never from the location: fsspec's `file`, `local`, `http`,
`ftp`, `ssh` and its chains (`a::b`) would be ways round the guard.
"""

from collections.abc import Mapping
from importlib import import_module
from typing import Any

from daemon.errors import Reason
from daemon.loader.options import FetchOptions
from daemon.loader.problem import LoadError

DRIVERS: Mapping[str, str] = {
    "s3": "s3fs",
    "s3a": "s3fs",
    "gs": "gcsfs",
    "gcs": "gcsfs",
    "oss": "ossfs",
    "abfs": "adlfs",
    "az": "adlfs",
    "hdfs": "pyarrow",
    "memory": "fsspec",
}
"""The schemes that are known, and the package that brings each."""


def read_object(scheme: str, url: str, options: FetchOptions) -> bytes:
    """The object's bytes.

    Raises `LoadError`: unsupported_scheme, invalid_url, not_found, forbidden, too_large, file_error.
    """
    if scheme not in DRIVERS:
        raise LoadError(Reason.UNSUPPORTED_SCHEME, f"{scheme}: http, https, file and {', '.join(DRIVERS)} are known")
    if "::" in url:
        raise LoadError(Reason.INVALID_URL, "chained URLs are not followed")
    store = _store(scheme, options)
    try:
        data: bytes = store.cat_file(url, start=0, end=options.max_bytes + 1)
    except Exception as error:  # noqa: BLE001 - drivers raise what their libraries raise
        data = _read_empty(store, url, error)
    if len(data) > options.max_bytes:
        raise LoadError(Reason.TOO_LARGE, f"limit {options.max_bytes}")
    return data


def _store(scheme: str, options: FetchOptions) -> Any:
    try:
        return import_module("fsspec").filesystem(scheme, **_timeouts(scheme, options))
    except (ImportError, ValueError):
        package = DRIVERS[scheme]
        raise LoadError(Reason.UNSUPPORTED_SCHEME, f"{scheme}:// needs a driver: pip install {package}") from None


def _timeouts(scheme: str, options: FetchOptions) -> dict[str, Any]:
    if scheme not in {"s3", "s3a"}:
        return {}  # Other drivers name theirs differently; the parent's deadline holds for all.
    timeouts = {"connect_timeout": options.connect_timeout, "read_timeout": options.read_timeout}
    return {"config_kwargs": {**timeouts, "retries": {"max_attempts": 1}}}


def _read_empty(store: Any, url: str, error: Exception) -> bytes:
    """Nothing, where the object is empty: stores refuse a range of an empty object. Otherwise raises the reason."""
    match error:
        case FileNotFoundError():
            raise LoadError(Reason.NOT_FOUND) from None
        case PermissionError():
            raise LoadError(Reason.FORBIDDEN, "the store refused; it takes its rights from the environment") from None
    try:
        empty = store.size(url) == 0
    except Exception:  # noqa: BLE001 - as above
        empty = False
    if not empty:
        raise LoadError(Reason.FILE_ERROR, type(error).__name__) from None
    return b""
