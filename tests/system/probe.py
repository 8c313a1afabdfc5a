"""Run in the place of the daemon, under its unit: tries what it should not be able to do, and tells what came of it."""

import contextlib
import ctypes
import errno
import json
import os
import resource
import socket
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

LIBC = ctypes.CDLL(None, use_errno=True)
CLONE_NEWUSER, CLONE_NEWNET = 0x10000000, 0x40000000
"""Source: unshare(2)."""
SET_REALTIME_CLOCK = 0


def came_of(act: Callable[[], object]) -> str:
    """The name of the error, or "done"."""
    try:
        act()
    except OSError as error:
        return errno.errorcode.get(error.errno or 0, "?")
    return "done"


def call(name: str, *arguments: object) -> None:
    if getattr(LIBC, name)(*arguments) == -1:
        raise OSError(ctypes.get_errno(), name)


def write(path: str) -> None:
    with tempfile.NamedTemporaryFile(dir=path):
        pass


def look_into(path: str) -> list[str]:
    return sorted(inner.name for inner in Path(path).iterdir())


def set_suid() -> None:
    with tempfile.NamedTemporaryFile() as file:
        Path(file.name).chmod(0o4755)


def status(name: str) -> str:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(line.split(":")[1].strip() for line in lines if line.startswith(f"{name}:"))


def open_socket(family: int, kind: int) -> None:
    with contextlib.closing(socket.socket(family, kind)):
        pass


ACTS: dict[str, Callable[[], object]] = {
    "write to the state folder": lambda: write(os.environ["STATE_DIRECTORY"]),
    "write to a temporary folder": lambda: write("/tmp"),
    "write to /etc/vectord": lambda: write("/etc/vectord"),
    "write to the code": lambda: write(str(Path(sys.prefix).parent)),
    "write to another's state": lambda: write("/var/lib/vectord"),
    "read the DSN that was given": (Path(os.environ["CREDENTIALS_DIRECTORY"]) / "database_dsn").read_text,
    "read the store of credentials": lambda: look_into("/etc/credstore"),
    "look into /home": lambda: look_into("/home"),
    "look into /root": lambda: look_into("/root"),
    "see systemd's process": Path("/proc/1").stat,
    "open a netlink socket": lambda: open_socket(socket.AF_NETLINK, socket.SOCK_RAW),
    "open a packet socket": lambda: open_socket(socket.AF_PACKET, socket.SOCK_RAW),
    "open an internet socket": lambda: open_socket(socket.AF_INET, socket.SOCK_STREAM),
    "make a user namespace": lambda: call("unshare", CLONE_NEWUSER),
    "make a network namespace": lambda: call("unshare", CLONE_NEWNET),
    "mount something": lambda: call("mount", b"none", b"/tmp", b"tmpfs", 0, None),
    "become root": lambda: os.setuid(0),
    "set the clock": lambda: time.clock_settime(SET_REALTIME_CLOCK, time.time()),
    "set the host's name": lambda: socket.sethostname("other"),
    "make a setuid file": set_suid,
    "ask for realtime": lambda: os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1)),
    "read the kernel's log": lambda: os.open("/dev/kmsg", os.O_RDONLY),
    "change a kernel setting": lambda: Path("/proc/sys/kernel/hostname").write_text("other"),
    "write to a control group": lambda: Path("/sys/fs/cgroup/cgroup.procs").write_text("0"),
}

found: dict[str, object] = {name: came_of(act) for name, act in ACTS.items()}
found |= {
    "devices": look_into("/dev"),
    "capabilities": status("CapEff"),
    "no new privileges": status("NoNewPrivs"),
    "system calls": status("Seccomp"),
    "core limit": resource.getrlimit(resource.RLIMIT_CORE),
    "user": os.getuid(),
}
sys.stdout.write(json.dumps({"event": "probe", **found}) + "\n")
