"""The form of an upload: what is read of it, and what is refused before it costs anything."""

import asyncio
import tempfile
from typing import Any

import pytest
from fastapi import Request
from starlette.exceptions import HTTPException
from starlette.types import Message

from daemon.api.problems import Problem
from daemon.api.upload import MOST_TEXT, read_upload

BOUNDARY = "multipart/form-data; boundary=x"
SLOW = b"a" * 20_000 + b"-" + b"a" * 20_000
"""Takes Python's punycode a second or so to decode."""


def part(name: str, value: bytes, *, file: bool = False) -> bytes:
    filename = '; filename="1.jpg"' if file else ""
    return f'--x\r\nContent-Disposition: form-data; name="{name}"{filename}\r\n\r\n'.encode() + value + b"\r\n"


def read(*parts: bytes, content_type: str = BOUNDARY) -> tuple[bytes, str | None]:
    async def receive() -> Message:
        return {"type": "http.request", "body": b"".join(parts) + b"--x--\r\n", "more_body": False}

    headers = [(b"content-type", content_type.encode())]
    scope: dict[str, Any] = {"type": "http", "method": "POST", "path": "/", "headers": headers, "app": None}
    return asyncio.run(read_upload(Request(scope, receive)))


PICTURE = part("file", b"\xff\xd8picture", file=True)


@pytest.mark.parametrize("charset", ["", "; charset=UTF-8", '; charset="utf8"'])
def test_a_picture_and_its_id(charset: str) -> None:
    assert read(PICTURE, content_type=BOUNDARY + charset) == (b"\xff\xd8picture", None)
    assert read(part("image_id", b"7"), PICTURE, content_type=f"{BOUNDARY}; charset=us-ascii")[1] == "7"
    given = read(part("image_id", "bücher/7".encode()), PICTURE, part("other", b"x"), content_type=BOUNDARY + charset)
    assert given == (b"\xff\xd8picture", "bücher/7")


@pytest.mark.parametrize(
    "charset", ["punycode", "undefined", "utf-7", "unicode_escape", "none-such", "utf-8; charset=punycode"]
)
def test_another_charset_is_refused_before_anything_is_decoded(charset: str) -> None:
    with pytest.raises(Problem, match="UTF-8") as refused:
        read(part("image_id", SLOW), PICTURE, content_type=f"{BOUNDARY}; charset={charset}")
    assert (refused.value.status_code, refused.value.body["reason"]) == (422, "invalid_request")


@pytest.mark.parametrize("image_id", [b"", b"x" * 201, b"a\nb", b"\x7f"])
def test_an_id_that_is_none_is_refused(image_id: bytes) -> None:
    with pytest.raises(Problem, match="image_id: ") as refused:
        read(part("image_id", image_id), PICTURE)
    assert refused.value.status_code == 422


def test_a_picture_goes_to_no_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", "/none-such")
    large = bytes(4 * 1024 * 1024)
    assert read(part("file", large, file=True)) == (large, None)


def test_a_field_of_text_is_short() -> None:
    with pytest.raises(HTTPException) as refused:
        read(part("other", bytes(MOST_TEXT + 1)), PICTURE)
    assert refused.value.status_code == 400
