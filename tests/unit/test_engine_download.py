"""ImageNet weights over HTTP: once, whole or not at all, and never for long when nobody answers."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import h5py  # type: ignore[import-untyped]  # It has no annotations.
import pytest

from daemon.engine.architecture import layers
from daemon.engine.download import download
from daemon.engine.protocol import WeightsFile
from daemon.engine.weights import draw, find_weights, imagenet_name, load_weights
from daemon.errors import EngineError
from daemon.wanted import NotWantedError

NAME = imagenet_name(0.35, 96)
VARIABLES = {1: ["kernel"], 4: ["gamma", "beta", "moving_mean", "moving_variance"]}


@pytest.fixture(scope="module")
def content(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("weights") / NAME
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [layer.name for layer in layers(0.35)]
        for name, arrays in draw(0.35).items():
            group = file.create_group(name)
            group.attrs["weight_names"] = [f"{name}/{variable}" for variable in VARIABLES[len(arrays)]]
            for weight, array in zip(group.attrs["weight_names"], arrays, strict=True):
                group[weight] = array
    return path.read_bytes()


@contextmanager
def server(
    body: bytes, *, status: int = 200, claimed: int | None = None, pieces: int = 1
) -> Iterator[tuple[str, list[str]]]:
    """Serves `body` under every path, in pieces 0.3 s apart; gives its address and the list of paths asked for."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(status)
            self.send_header("Content-Length", str(len(body) if claimed is None else claimed))
            self.end_headers()
            size = -(-len(body) // pieces)
            for piece in range(pieces):
                if piece:
                    time.sleep(0.3)
                self.wfile.write(body[piece * size : (piece + 1) * size])

        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{running.server_port}/", asked
        finally:
            running.shutdown()
            thread.join()


def find(url: str, state_dir: Path, timeout: float = 10.0) -> WeightsFile:
    return find_weights("imagenet", alpha=0.35, input_size=96, state_dir=state_dir, timeout=timeout, base_url=url)


def test_they_are_fetched_once_and_kept(content: bytes, tmp_path: Path) -> None:
    with server(content) as (url, asked):
        first, second = find(url, tmp_path), find(url, tmp_path)
    assert first == second
    assert first.path == tmp_path / "weights" / NAME
    assert first.path.read_bytes() == content
    assert asked == [f"/{NAME}"]
    assert {path.name for path in first.path.parent.iterdir()} == {NAME, f"{NAME}.sha256"}


@pytest.mark.parametrize("share", [0, 0.5, 0.999])
@pytest.mark.parametrize("noted", [True, False], ids=["fetched", "fetched by an older version"])
def test_a_kept_file_that_is_damaged_is_fetched_anew(
    noted: bool,  # noqa: FBT001  # A parameter of the test's.
    share: float,
    content: bytes,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    kept = tmp_path / "weights" / NAME
    with server(content) as (url, asked):
        before = find(url, tmp_path)
        kept.write_bytes(content[: int(len(content) * share)])
        if not noted:
            (tmp_path / "weights" / f"{NAME}.sha256").unlink()
        assert find(url, tmp_path) == before
    assert kept.read_bytes() == content
    assert len(asked) == 2
    assert "are damaged and are fetched anew" in caplog.text


def test_a_damaged_file_stays_where_none_can_be_fetched(content: bytes, tmp_path: Path) -> None:
    kept = tmp_path / "weights" / NAME
    kept.parent.mkdir()
    kept.write_bytes(content[:1000])
    with server(b"", status=503) as (url, _), pytest.raises(EngineError, match="503"):
        find(url, tmp_path)
    assert kept.read_bytes() == content[:1000]


def test_a_file_that_was_put_there_by_hand_is_taken(content: bytes, tmp_path: Path) -> None:
    kept = tmp_path / "weights" / NAME
    kept.parent.mkdir()
    kept.write_bytes(content)
    with server(b"", status=503) as (url, asked):
        assert find(url, tmp_path) == find(url, tmp_path)
    assert asked == []


def test_a_damaged_file_of_the_users_is_left_alone(content: bytes, tmp_path: Path) -> None:
    own = tmp_path / NAME
    own.write_bytes(content[:1000])
    with server(content) as (url, asked):
        found = find_weights(str(own), alpha=0.35, input_size=96, state_dir=tmp_path, base_url=url)
        with pytest.raises(EngineError, match="damaged"):
            load_weights(found, 0.35)
    assert (own.read_bytes(), asked) == (content[:1000], [])


def test_a_start_with_kept_weights_has_no_use_for_h5py(
    content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with server(content) as (url, _):
        find(url, tmp_path)
        monkeypatch.setattr("daemon.engine.weights._read", None)
        find(url, tmp_path)


@pytest.mark.parametrize(
    ("body", "status", "missing", "said"),
    [
        (b"", 404, 0, "404"),
        (b"<html>sign in to this network</html>", 200, 0, "cannot be read as Keras weights"),
        (b"x" * 500_000, 200, 10, "only 500000 of 500010 bytes"),
    ],
)
def test_what_is_not_weights_is_not_kept(body: bytes, status: int, missing: int, said: str, tmp_path: Path) -> None:
    with (
        server(body, status=status, claimed=len(body) + missing) as (url, _),
        pytest.raises(EngineError, match=rf"{said}.*key model\.weights"),
    ):
        find(url, tmp_path)
    assert not list((tmp_path / "weights").iterdir())


def test_a_refused_connection_is_told_at_once(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    with pytest.raises(EngineError, match="refused"):
        find(f"http://127.0.0.1:{port}/", tmp_path)


def test_a_silent_server_is_given_up_within_seconds(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        url = f"http://127.0.0.1:{listening.getsockname()[1]}/"
        with pytest.raises(EngineError, match=r"timed out|no answer within"):
            find(url, tmp_path, timeout=0.3)


def test_a_slow_server_is_no_silent_one(tmp_path: Path) -> None:
    body = bytes(range(200)) * 20
    with server(body, pieces=9) as (url, _):
        download(url, tmp_path / "slow", timeout=2.0)
    assert (tmp_path / "slow").read_bytes() == body


def test_a_resolver_that_hangs_is_given_up_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answer = threading.Event()

    def hang(*_: object, **__: object) -> None:
        answer.wait(30)
        raise OSError("no such name")

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    with pytest.raises(EngineError, match=r"no answer within 0\.3 s"):
        find("http://weights.invalid/", tmp_path, timeout=0.3)
    answer.set()


def test_a_server_that_is_silent_is_left_as_soon_as_nobody_waits_any_more(tmp_path: Path) -> None:
    asked = 0

    def give_up() -> None:
        nonlocal asked
        asked += 1
        if asked > 1:
            raise NotWantedError

    with socket.create_server(("127.0.0.1", 0)) as listening:
        url = f"http://127.0.0.1:{listening.getsockname()[1]}/"
        with pytest.raises(NotWantedError):
            find_weights("imagenet", alpha=0.35, input_size=96, state_dir=tmp_path, base_url=url, still_wanted=give_up)
    assert not list((tmp_path / "weights").iterdir())


def test_a_state_folder_that_cannot_be_written_is_told(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "weights").write_text("a file where the folder should be")
    with server(content) as (url, _), pytest.raises(EngineError, match="could not be fetched"):
        find(url, tmp_path)
