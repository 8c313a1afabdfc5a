"""What `similar` is asked about: an image of the table, a file, or something with a URL."""

import stat
from pathlib import Path
from typing import TYPE_CHECKING

from daemon.errors import NotFoundError, PictureError, Reason, VectordError
from daemon.loader.location import scheme_of
from daemon.records import Vectors

if TYPE_CHECKING:
    from daemon.wiring import Embed


def is_picture(what: str) -> bool:
    """Whether it is a URL or a file; an id otherwise, as any whole number is: a file of such a name is `./1`."""
    return bool(scheme_of(what)) or (not what.isdecimal() and _is_file(what))


def embed(what: str, make: "Embed", *, most: int) -> Vectors:
    """The vector of a picture. A URL is fetched as if it stood in the table; a file may have `most` bytes.

    Raises `PictureError` with the reason for none, and other `VectordError`.
    """
    return make(what, None) if scheme_of(what) else make(what, _read(_path(what), most))


def unknown(what: str, error: NotFoundError) -> NotFoundError:
    """For what is neither."""
    if what.isdecimal():
        return error
    return NotFoundError(f"{what} is no URL; as a file: {_why_no_file(what)}; as an id: {error}")


def _is_file(what: str) -> bool:
    return not _why_no_file(what)


def _why_no_file(what: str) -> str:
    """Empty where it is one."""
    try:
        return "" if stat.S_ISREG(_path(what).stat().st_mode) else "no regular file"
    except OSError as error:
        return error.strerror or str(error)
    except (RuntimeError, ValueError) as error:  # It lies with a user that there is not, or has a NUL in its name.
        return str(error)


def _path(what: str) -> Path:
    return Path(what).expanduser()


def _read(path: Path, most: int) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(most + 1)
    except OSError as error:
        raise VectordError(f"{path} cannot be read: {error.strerror}") from error
    if len(data) > most:
        raise PictureError(Reason.TOO_LARGE, f"{path} has more than {most} bytes")
    return data
