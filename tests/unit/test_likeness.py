"""What `similar` takes its argument for."""

from pathlib import Path

import pytest

from daemon.commands.likeness import embed, is_picture, unknown
from daemon.errors import NotFoundError, PictureError, Reason, VectordError


def refuse(location: str, data: bytes | None) -> object:
    raise AssertionError(f"{location} was not to be embedded")


@pytest.mark.parametrize("what", ["http://host/1.jpg", "HTTPS://host/1", "s3://bucket/key", "file:///x", "data:,x"])
def test_a_url_is_a_picture(what: str) -> None:
    assert is_picture(what)


def test_a_file_is_a_picture_and_a_whole_number_an_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("cat.jpg", "7"):
        Path(name).write_bytes(b"x")
    assert [is_picture(what) for what in ("cat.jpg", "./7", "7", "dog.jpg", ".", "id of text", "~nosuch/1.jpg")] == [
        *(True, True),
        *(False, False, False, False, False),
    ]


@pytest.mark.parametrize(
    ("what", "told"),
    [
        ("dog.jpg", "No such file or directory"),
        (".", "no regular file"),
        ("~nosuch/1.jpg", "nosuch"),
        ("x" * 300, "File name too long"),
        ("a\0b", "null byte"),
    ],
)
def test_what_is_neither_is_told_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str, told: str) -> None:
    monkeypatch.chdir(tmp_path)
    message = str(unknown(what, NotFoundError("there is no image x")))
    assert told in message
    assert message.endswith("; as an id: there is no image x")


def test_a_file_that_is_too_large_or_may_not_be_read_says_so(tmp_path: Path) -> None:
    file = tmp_path / "large.jpg"
    file.write_bytes(bytes(11))
    with pytest.raises(PictureError) as raised:
        embed(str(file), refuse, most=10)  # type: ignore[arg-type] # it is not called
    assert raised.value.reason is Reason.TOO_LARGE
    with pytest.raises(VectordError, match="cannot be read: Is a directory"):
        embed(str(tmp_path), refuse, most=10)  # type: ignore[arg-type] # as above
