"""Files below the roots, and nothing else; objects in stores, and no way round."""

import errno
import os
import socket
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from daemon.errors import Reason
from daemon.loader.files import read_file
from daemon.loader.options import FetchOptions
from daemon.loader.problem import LoadError
from daemon.loader.stores import DRIVERS, read_object
from daemon.policy import RetryPolicy, decide
from daemon.records import Failure, Retry
from tests.loading import claim

LIMIT = 1000
CONTENT = b"the content"
OPTIONS = FetchOptions(max_bytes=LIMIT)

needs_fsspec = pytest.mark.skipif(find_spec("fsspec") is None, reason="fsspec is not installed")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "root"
    folder.mkdir()
    (folder / "x.jpg").write_bytes(CONTENT)
    (tmp_path / "secret.jpg").write_bytes(b"secret")
    return folder


def read(path: str | Path, *roots: Path) -> bytes:
    return read_file(str(path), roots=tuple(map(str, roots)), max_bytes=LIMIT)


def reason(path: str | Path, *roots: Path) -> Reason:
    with pytest.raises(LoadError) as caught:
        read(path, *roots)
    return caught.value.reason


def test_a_file_below_the_root_is_read(root: Path) -> None:
    assert read(root / "x.jpg", root) == CONTENT
    assert read("x.jpg", root) == CONTENT
    assert read("./a/../x.jpg", root) == CONTENT


def test_without_roots_nothing_is_read(root: Path) -> None:
    assert reason(root / "x.jpg") is Reason.BLOCKED_PATH
    with pytest.raises(LoadError, match=r"fetch\.file_roots"):
        read(root / "x.jpg")


def test_relative_paths_count_from_the_first_root(root: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "y.jpg").write_bytes(b"y")
    assert read(other / "y.jpg", root, other) == b"y"
    assert reason("y.jpg", root, other) is Reason.NOT_FOUND
    assert read("../other/y.jpg", root, other) == b"y"


@pytest.mark.parametrize(
    "path", ["../secret.jpg", "a/../../secret.jpg", "/etc/passwd", "../root2/x.jpg", "../rootless"]
)
def test_nothing_outside_is_read_or_even_known(root: Path, path: str) -> None:
    assert reason(path, root) is Reason.BLOCKED_PATH


def test_a_root_is_a_folder_and_no_prefix(root: Path) -> None:
    twin = root.with_name("root2")
    twin.mkdir()
    (twin / "x.jpg").write_bytes(b"twin")
    assert reason(twin / "x.jpg", root) is Reason.BLOCKED_PATH


def test_links_are_resolved(root: Path, tmp_path: Path) -> None:
    (root / "inside.jpg").symlink_to("x.jpg")
    (root / "outside.jpg").symlink_to(tmp_path / "secret.jpg")
    (root / "folder").symlink_to(tmp_path)
    (root / "loop").symlink_to("loop")
    assert read("inside.jpg", root) == CONTENT
    assert reason("outside.jpg", root) is Reason.BLOCKED_PATH
    assert reason("folder/secret.jpg", root) is Reason.BLOCKED_PATH
    assert reason("loop", root) is Reason.NOT_A_FILE


def test_a_root_may_be_a_link_itself(root: Path, tmp_path: Path) -> None:
    (tmp_path / "alias").symlink_to(root)
    assert read("x.jpg", tmp_path / "alias") == CONTENT
    assert read(root / "x.jpg", tmp_path / "alias") == CONTENT


def test_a_link_that_changes_under_our_hands_is_caught(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = os.path.realpath

    def swap(path: str, **given: bool) -> str:
        answer = honest(path, **given)
        if answer.endswith("x.jpg"):
            (root / "x.jpg").unlink(missing_ok=True)
            (root / "x.jpg").hardlink_to(tmp_path / "secret.jpg")
            os.rename(root, tmp_path / "moved")  # noqa: PTH104 - beside realpath
        return answer

    monkeypatch.setattr(os.path, "realpath", swap)
    assert reason("x.jpg", root) in {Reason.BLOCKED_PATH, Reason.ROOT_UNAVAILABLE}


def test_only_regular_files_are_read(root: Path) -> None:
    os.mkfifo(root / "fifo")
    with socket.socket(socket.AF_UNIX) as end:
        end.bind(str(root / "socket"))
        (root / "folder").mkdir()
        for name in ("fifo", "socket", "folder", "."):
            assert reason(name, root) is Reason.NOT_A_FILE


@pytest.mark.parametrize(
    "path", ["/dev/zero", "/dev/stdin", "/proc/self/environ", "/proc/version", "/sys/kernel/uevent_seqnum"]
)
def test_the_kernels_folders_hold_no_files(path: str) -> None:
    assert reason(path, Path("/")) in {Reason.NOT_A_FILE, Reason.NOT_FOUND}


def test_missing_forbidden_and_too_large(root: Path) -> None:
    (root / "large.jpg").write_bytes(bytes(LIMIT + 1))
    (root / "just.jpg").write_bytes(bytes(LIMIT))
    assert reason("missing.jpg", root) is Reason.NOT_FOUND
    assert reason("x.jpg/y.jpg", root) is Reason.NOT_FOUND
    assert reason("large.jpg", root) is Reason.TOO_LARGE
    assert len(read("just.jpg", root)) == LIMIT
    assert reason("n" * 300, root) is Reason.FILE_ERROR


@pytest.mark.parametrize("path", ["x.jpg", "a/x.jpg"])
def test_a_root_that_is_not_mounted_is_no_images_fault(tmp_path: Path, path: str) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    for root in (empty, tmp_path / "missing"):
        found = reason(path, root)
        assert found is Reason.ROOT_UNAVAILABLE
        failure = Failure(claim=claim(path, attempt=5), stage="load", reason=found)
        outcome = decide(failure, RetryPolicy(max_attempts=5), 0.5)
        assert isinstance(outcome, Retry)
        assert not outcome.charged
        assert outcome.delay > 0
    (empty / "y.jpg").write_bytes(CONTENT)
    assert reason(path, empty) is Reason.NOT_FOUND


def test_the_innermost_root_counts(root: Path) -> None:
    mount = root / "mount"
    mount.mkdir()
    assert reason("mount/x.jpg", root) is Reason.NOT_FOUND
    assert reason("mount/x.jpg", root, mount) is Reason.ROOT_UNAVAILABLE


def test_a_root_that_does_not_answer_is_no_images_fault(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a network file system whose server is away."""

    def fail(*_: object, **__: object) -> int:
        raise OSError(errno.ENOTCONN, "Transport endpoint is not connected")

    monkeypatch.setattr(os, "open", fail)
    assert reason("x.jpg", root) is Reason.FILE_ERROR
    monkeypatch.setattr(os, "scandir", fail)
    assert reason("x.jpg", root) is Reason.ROOT_UNAVAILABLE


def test_a_root_may_be_a_single_file(root: Path) -> None:
    assert read(root / "x.jpg", root / "x.jpg") == CONTENT
    assert reason(root / "x.jpg" / "y", root / "x.jpg") is Reason.NOT_FOUND


def test_a_root_that_may_not_be_listed_is_there(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "scandir", refuse)
    assert reason("missing.jpg", root) is Reason.NOT_FOUND


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission(root: Path) -> None:
    (root / "x.jpg").chmod(0)
    assert reason("x.jpg", root) is Reason.FORBIDDEN


def object_reason(scheme: str, url: str) -> Reason:
    with pytest.raises(LoadError) as caught:
        read_object(scheme, url, OPTIONS)
    return caught.value.reason


@pytest.mark.parametrize(
    "scheme",
    ["ftp", "local", "file", "http", "ssh", "sftp", "smb", "gopher", "dict", "zip", "simplecache", "reference"],
)
def test_schemes_that_would_be_ways_round_are_unknown(scheme: str) -> None:
    assert object_reason(scheme, f"{scheme}://127.0.0.1/etc/passwd") is Reason.UNSUPPORTED_SCHEME


def test_a_missing_driver_is_named() -> None:
    missing = next((scheme for scheme, package in DRIVERS.items() if find_spec(package) is None), None)
    if missing is None:
        pytest.skip("all drivers are installed")
    with pytest.raises(LoadError, match=f"pip install {DRIVERS[missing]}") as caught:
        read_object(missing, f"{missing}://bucket/key", OPTIONS)
    assert caught.value.reason is Reason.UNSUPPORTED_SCHEME


@pytest.fixture
def memory() -> Iterator[None]:
    fsspec = pytest.importorskip("fsspec")
    store = fsspec.filesystem("memory")
    store.pipe({"/b/x.jpg": CONTENT, "/b/large.jpg": bytes(LIMIT + 1), "/b/empty.jpg": b""})
    yield
    store.rm("/b", recursive=True)


@needs_fsspec
def test_objects_are_read(memory: None) -> None:
    assert read_object("memory", "memory://b/x.jpg", OPTIONS) == CONTENT
    assert read_object("memory", "memory://b/empty.jpg", OPTIONS) == b""
    assert object_reason("memory", "memory://b/missing.jpg") is Reason.NOT_FOUND
    assert object_reason("memory", "memory://b/large.jpg") is Reason.TOO_LARGE


@needs_fsspec
@pytest.mark.parametrize("url", ["memory://b::file:///etc/passwd", "s3://x::http://127.0.0.1/"])
def test_chains_are_not_followed(url: str) -> None:
    assert object_reason(url.partition(":")[0], url) is Reason.INVALID_URL


class Broken:
    """A driver that fails in its own words."""

    def __init__(self, error: Exception, size: int = 1) -> None:
        self._error = error
        self._size = size

    def cat_file(self, *_: object, **__: object) -> bytes:
        raise self._error

    def size(self, _: str) -> int:
        return self._size


@needs_fsspec
@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (FileNotFoundError(), Reason.NOT_FOUND),
        (PermissionError("key AKIASECRET refused"), Reason.FORBIDDEN),
        (TimeoutError(), Reason.FILE_ERROR),
        (RuntimeError("token=SECRET"), Reason.FILE_ERROR),
    ],
)
def test_what_drivers_raise(monkeypatch: pytest.MonkeyPatch, error: Exception, expected: Reason) -> None:
    monkeypatch.setattr("fsspec.filesystem", lambda *_, **__: Broken(error))
    with pytest.raises(LoadError) as caught:
        read_object("s3", "s3://bucket/key", OPTIONS)
    assert caught.value.reason is expected
    assert "SECRET" not in str(caught.value)


@needs_fsspec
def test_an_empty_object_that_refuses_a_range_is_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fsspec.filesystem", lambda *_, **__: Broken(OSError("InvalidRange"), size=0))
    assert read_object("s3", "s3://bucket/key", OPTIONS) == b""
