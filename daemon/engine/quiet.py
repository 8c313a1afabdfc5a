"""The one place where the frameworks are imported: without their chatter, and without calling home."""

import importlib
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from daemon.errors import EngineError

STANDARD_ERROR = 2


def import_keras() -> Any:
    """Keras, on the backend that KERAS_BACKEND names. Raises `EngineError` when it cannot be imported."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    keras = import_quietly("keras")
    # Whatever ~/.keras/keras.json of this user says: these two would change the model.
    keras.config.set_floatx("float32")
    keras.config.set_image_data_format("channels_last")
    return keras


def import_openvino() -> Any:
    """OpenVINO. Raises `EngineError` when it cannot be imported.

    Importing it reports to Google Analytics (openvino/tools/ovc/__init__.py) unless its telemetry package is absent,
    so that package is made to look absent.
    """
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # None is how an import is forbidden.
    return import_quietly("openvino")


def import_quietly(name: str) -> Any:
    """The module. Raises `EngineError` when it cannot be imported, with what its libraries said meanwhile."""
    with _standard_error_kept() as said:
        try:
            return importlib.import_module(name)
        except Exception as error:
            # Broken installations raise all sorts: ImportError, OSError of the loader, AttributeError between versions.
            raise EngineError(f"{name} cannot be imported: {error}{_last_line(said)}") from error


@contextmanager
def _standard_error_kept() -> Iterator[Any]:
    """Keeps what is written to standard error, by C++ too, in a temporary file meanwhile.

    TensorFlow writes six lines on import before any of its settings for logging is read.
    """
    with tempfile.TemporaryFile() as said:
        sys.stderr.flush()
        original = os.dup(STANDARD_ERROR)
        os.dup2(said.fileno(), STANDARD_ERROR)
        try:
            yield said
        finally:
            sys.stderr.flush()
            os.dup2(original, STANDARD_ERROR)
            os.close(original)


def _last_line(said: Any) -> str:
    said.seek(0)
    lines = said.read().decode(errors="replace").strip().splitlines()
    return f" ({lines[-1]})" if lines else ""
