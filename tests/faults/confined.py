"""`python -m daemon`, to which $FAULTS_FULL is a disk with 64 kB, and $FAULTS_READ_ONLY one that cannot be written to.

The mounts are this process's own and end with it. Exit status 77: the machine does not let it.
"""

import ctypes
import os
import sys

from daemon import cli

CLONE_NEWNS = 0x00020000
MS_RDONLY, MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE = 0x1, 0x20, 0x1000, 0x4000, 0x40000
"""Source: unshare(2), mount(2)."""
LIBC = ctypes.CDLL(None, use_errno=True)
CANNOT = 77


def mount(target: str, kind: str = "", flags: int = 0, data: str = "") -> None:
    source = (kind or target).encode()
    if LIBC.mount(source, target.encode(), kind.encode() or None, flags, data.encode() or None):
        sys.exit(CANNOT)


def confine() -> None:
    if LIBC.unshare(CLONE_NEWNS):
        sys.exit(CANNOT)
    mount("/", flags=MS_REC | MS_PRIVATE)
    if full := os.environ.get("FAULTS_FULL"):
        mount(full, "tmpfs", data="size=64k")
    if read_only := os.environ.get("FAULTS_READ_ONLY"):
        mount(read_only, flags=MS_BIND)
        mount(read_only, flags=MS_BIND | MS_REMOUNT | MS_RDONLY)


if __name__ == "__main__":
    confine()
    cli.main()
