"""Objects in S3, as moto plays it, through real loaders. Runs where moto's server and s3fs are installed."""

from collections.abc import Iterator

import pytest

from daemon.errors import Reason
from daemon.loader.options import FetchOptions, LoaderOptions
from tests.loading import Rig, encoded, reason

moto = pytest.importorskip("moto.server", reason="moto[server] is not installed")
fsspec = pytest.importorskip("fsspec")
pytest.importorskip("s3fs", reason="s3fs is not installed")


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    for name, value in {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
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
    yield "s3://pictures"
    server.stop()


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
