"""Files, below the allowed roots only: links resolved, regular files only, and what was checked is what is read.

The path is opened without access (`O_PATH`), which touches no device and waits on no pipe. The open file itself is
then checked, by its kind and by where the kernel says it lies, and read through the same handle: nothing that is
renamed or linked in between makes a difference.
"""

import os
import stat
from functools import lru_cache

from daemon.errors import Reason
from daemon.loader.problem import LoadError

_KERNEL_FOLDERS = ("/proc", "/sys", "/dev")


def read_file(path: str, *, roots: tuple[str, ...], max_bytes: int) -> bytes:
    """The file's bytes. A relative path counts from the first root.

    Raises `LoadError`: blocked_path, not_a_file, not_found, root_unavailable, forbidden, too_large, file_error.
    """
    if not roots:
        raise LoadError(Reason.BLOCKED_PATH, "fetch.file_roots is empty, so no file may be read")
    resolved = [os.path.realpath(root) for root in roots]
    real = os.path.realpath(os.path.join(resolved[0], path))  # noqa: PTH118 - text, not yet a path to be trusted
    root = _root_of(real, resolved)
    try:
        handle = os.open(real, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        raise _explain(error, root) from None
    try:
        return _read_checked(handle, resolved, max_bytes)
    except OSError as error:
        raise _explain(error, root) from None
    finally:
        os.close(handle)


def _read_checked(handle: int, roots: list[str], max_bytes: int) -> bytes:
    found = os.fstat(handle)
    _root_of(os.readlink(f"/proc/self/fd/{handle}"), roots)  # noqa: PTH115 - a handle of ours, not a path
    if not stat.S_ISREG(found.st_mode) or found.st_dev in _kernel_devices():
        raise LoadError(Reason.NOT_A_FILE)
    if found.st_size > max_bytes:
        raise LoadError(Reason.TOO_LARGE, f"{found.st_size} bytes, limit {max_bytes}")
    with open(f"/proc/self/fd/{handle}", "rb") as file:  # noqa: PTH123 - a handle of ours, not a path
        # No more than was found: it may grow while it is read, and a buffer is made for as much as is asked for.
        return file.read(found.st_size)


def _root_of(real: str, roots: list[str]) -> str:
    """The innermost root that this lies below."""
    above = [root for root in roots if real == root or real.startswith(root.rstrip("/") + "/")]
    if not above:
        raise LoadError(Reason.BLOCKED_PATH, "not below one of fetch.file_roots")
    return max(above, key=len)


def is_away(root: str) -> bool:
    """Whether a root looks as it does while nothing is mounted there, or what is mounted does not answer."""
    try:
        with os.scandir(root) as entries:
            return next(entries, None) is None
    except (PermissionError, NotADirectoryError):
        return False  # It is there: a folder that is not for listing, or a single file.
    except OSError:
        return True


@lru_cache(maxsize=1)
def _kernel_devices() -> set[int]:
    """The file systems that hold no files but the kernel's own words."""
    devices = set()
    for folder in _KERNEL_FOLDERS:
        try:
            devices.add(os.stat(folder).st_dev)  # noqa: PTH116 - beside os.fstat, whose figure it is held against
        except OSError:
            continue
    return devices - {os.stat("/").st_dev}  # noqa: PTH116 - as above


def _explain(error: OSError, root: str) -> LoadError:
    match error:
        case NotADirectoryError():
            return LoadError(Reason.NOT_FOUND)
        case PermissionError():
            return LoadError(Reason.FORBIDDEN)
        case IsADirectoryError():
            return LoadError(Reason.NOT_A_FILE)
        case _ if is_away(root):
            # As after a reboot, when the daemon is up before the mount is: no fault of a thousand images'.
            return LoadError(Reason.ROOT_UNAVAILABLE)
        case FileNotFoundError():
            return LoadError(Reason.NOT_FOUND)
        case _:
            return LoadError(Reason.FILE_ERROR, os.strerror(error.errno or 0))
