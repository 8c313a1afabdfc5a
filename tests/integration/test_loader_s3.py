"""Objects in S3, as moto plays it, through real loaders."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import fsspec  # type: ignore[import-untyped]  # has no types
import pytest

from daemon.errors import Reason
from daemon.loader.options import FetchOptions, LoaderOptions
from tests.loading import Rig, encoded, reason

MOTO = Path(__file__).parents[2] / ".venv" / "moto" / "bin" / "moto_server"
SAYS = "Running on "


@pytest.fixture
def moto() -> Iterator[str]:
    """The address of a server that understands S3's protocol. `make` builds its venv."""
    if not MOTO.exists():
        reason = f"there is no {MOTO.name}; make .venv/moto/built"
        pytest.fail(reason) if "CI" in os.environ else pytest.skip(reason)
    command = [str(MOTO), "-H", "127.0.0.1", "-p", "0"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as server:
        assert server.stderr is not None
        try:
            yield next(line.partition(SAYS)[2].strip() for line in server.stderr if SAYS in line)
        finally:
            server.terminate()
            server.communicate()


@pytest.fixture
def bucket(moto: str, monkeypatch: pytest.MonkeyPatch) -> str:
    for name, value in {
        "AWS_ENDPOINT_URL": moto,
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    store = fsspec.filesystem("s3", skip_instance_cache=True)
    store.mkdir("pictures")
    store.pipe("pictures/a/x.jpg", encoded())
    store.pipe("pictures/large.jpg", bytes(2_000_000))
    store.pipe("pictures/empty.jpg", b"")
    return "s3://pictures"


def test_objects_in_s3(bucket: str) -> None:
    wanted = {
        f"{bucket}/a/x.jpg": None,
        f"{bucket}/missing.jpg": Reason.NOT_FOUND,
        "s3://no-such-bucket/x.jpg": Reason.NOT_FOUND,
        f"{bucket}/large.jpg": Reason.TOO_LARGE,
        f"{bucket}/empty.jpg": Reason.EMPTY_BODY,
    }
    with Rig(LoaderOptions(processes=1, input_size=32, fetch=FetchOptions(max_bytes=1_000_000))) as rig:
        results = rig.load(wanted)
    assert {location: reason(result) for location, result in results.items()} == wanted
