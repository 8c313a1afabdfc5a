"""The form of an upload: a picture, and perhaps the id that goes with it."""

from contextlib import aclosing

from fastapi import Request
from pydantic import TypeAdapter, ValidationError
from python_multipart.multipart import parse_options_header
from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from daemon.api.inputs import ImageIdText
from daemon.api.problems import Problem

FILE_FIELD = "file"
ID_FIELD = "image_id"
MOST_FIELDS = 100
"""Of a form. What is not asked for is passed over, as other services do."""
MOST_TEXT = 64 * 1024
"""Bytes of a field that is no file."""
CHARSETS = frozenset({b"utf-8", b"utf8", b"us-ascii"})
"""Python knows a hundred more, some of which take hours for a megabyte."""
_ID = TypeAdapter[str](ImageIdText)


class _Parser(MultiPartParser):
    """Keeps files in memory, for which `limits.Room` has a bound: a temporary file would cost an open file, of which
    there may be few, and threads.
    """

    spool_max_size = 0
    """No size makes it a file."""


async def read_upload(request: Request) -> tuple[bytes, str | None]:
    """The picture and the id. Raises `Problem` for any other form."""
    _require_form(request.headers.get("content-type", ""))
    async with aclosing(request.stream()) as stream:
        parser = _Parser(request.headers, stream, max_files=1, max_fields=MOST_FIELDS, max_part_size=MOST_TEXT)
        try:
            form = await parser.parse()
        except MultiPartException as error:
            raise Problem(400, "invalid_request", error.message) from None
    try:
        return await _file(form), _image_id(form)
    finally:
        await form.close()


def _require_form(content_type: str) -> None:
    # By the parser that the form is read with, so that the two agree on a header that says it twice.
    kind, parameters = parse_options_header(content_type)
    if kind != b"multipart/form-data":
        raise _no_file()
    if parameters.get(b"charset", b"utf-8").lower() not in CHARSETS:
        raise _invalid("a form's charset is UTF-8")


async def _file(form: FormData) -> bytes:
    upload = form.get(FILE_FIELD)
    if not isinstance(upload, UploadFile):
        raise _no_file()
    return await upload.read()


def _image_id(form: FormData) -> str | None:
    given = form.get(ID_FIELD)
    if not isinstance(given, str):
        return None
    try:
        return _ID.validate_python(given)
    except ValidationError as error:
        raise _invalid(f"{ID_FIELD}: {error.errors()[0]['msg']}") from None


def _no_file() -> Problem:
    return _invalid(f"a multipart form with the picture in its field {FILE_FIELD!r} is needed")


def _invalid(message: str) -> Problem:
    return Problem(422, "invalid_request", message)
