"""A real systemd, booted as PID 1 of namespaces of its own over a copy-on-write view of this machine's root.

The network is the machine's, so that servers on loopback are reached; nothing that is written inside lasts. What is not
real: udev, devices, login sessions, and the limits of cgroup controllers that the machine itself uses in version 1.
"""

import json
import os
import select
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

BOOT = Path(__file__).with_name("boot.sh")
TOOLS = ("setpriv", "unshare", "nsenter", "mount", "pivot_root", "systemctl", "journalctl", "systemd-analyze")
NAMESPACES = ("--mount", "--pid", "--cgroup", "--uts", "--ipc")
BOOT_SECONDS = 30.0

Entry = Mapping[str, Any]


def hindrance() -> str | None:
    """Why no systemd can be booted here; None when it can, as far as that can be told beforehand."""
    if os.geteuid() != 0:
        return "booting a systemd needs root"
    if not Path("/lib/systemd/systemd").exists():
        return "the package systemd is not installed"
    if missing := [tool for tool in TOOLS if not shutil.which(tool)]:
        return f"there is no {', '.join(missing)} (packages systemd and util-linux)"
    kinds = Path("/proc/filesystems").read_text().split()
    if missing := [kind for kind in ("cgroup2", "overlay") if kind not in kinds]:
        return f"the kernel has no {', '.join(missing)}"
    tried = subprocess.run(["unshare", *NAMESPACES, "--fork", "true"], capture_output=True, text=True, check=False)
    return f"no namespaces can be made: {tried.stderr.strip()}" if tried.returncode else None


class Journal:
    """The machine's journal from its boot on, read as it is written."""

    def __init__(self, follow: "subprocess.Popen[str]") -> None:
        self._follow = follow
        self._entries: list[Entry] = []
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def join(self) -> None:
        """Once the machine has ended."""
        self._thread.join()

    def mark(self) -> int:
        """Where it ends now."""
        with self._changed:
            return len(self._entries)

    def entries(self, since: int = 0, **fields: str) -> list[Entry]:
        """Those with these fields: `_SYSTEMD_UNIT="vectord.service"` are a daemon's own lines."""
        with self._changed:
            return [entry for entry in self._entries[since:] if fields.items() <= entry.items()]

    def wait(self, condition: Callable[[Entry], object], what: str, *, since: int = 0, seconds: float = 120.0) -> Entry:
        """Until there is such an entry."""
        deadline = time.monotonic() + seconds
        with self._changed:
            while True:
                for entry in self._entries[since:]:
                    if condition(entry):
                        return entry
                since = max(since, len(self._entries))
                if not self._changed.wait(deadline - time.monotonic()):
                    told = "\n".join(str(entry.get("MESSAGE")) for entry in self._entries[-30:])
                    raise AssertionError(f"not in the journal within {seconds:g} s: {what}; its end:\n{told}")

    def wait_for_event(self, event: str, *, since: int = 0, seconds: float = 120.0) -> dict[str, Any]:
        """Until the daemon logs this event; gives its line."""
        entry = self.wait(lambda entry: _event(entry).get("event") == event, event, since=since, seconds=seconds)
        return _event(entry)

    def events(self, since: int = 0) -> list[dict[str, Any]]:
        """What daemons logged."""
        return [event for entry in self.entries(since) if (event := _event(entry))]

    def _read(self) -> None:
        assert self._follow.stdout is not None
        for line in self._follow.stdout:
            with self._changed:
                self._entries.append(json.loads(line))
                self._changed.notify_all()


def _event(entry: Entry) -> dict[str, Any]:
    message = entry.get("MESSAGE")
    if not isinstance(message, str) or not message.startswith("{"):
        return {}
    found: dict[str, Any] = json.loads(message)
    return found


@dataclass(kw_only=True)
class Machine:
    """A booted systemd. `root` shows its files from outside, and takes new ones."""

    init: int
    root: Path
    journal: Journal = field(init=False)

    def command(self, *arguments: str) -> list[str]:
        """The arguments as a command of the machine's."""
        return ["nsenter", "--target", str(self.init), *NAMESPACES, "--", *arguments]

    def run(self, *arguments: str, check: bool = True, **environment: str) -> "subprocess.CompletedProcess[str]":
        """Runs it as root; its output is kept, and shown when it fails."""
        done = subprocess.run(
            self.command(*arguments),
            env={"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "SYSTEMD_PAGER": ""}
            | environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=150,
            check=False,
        )
        assert not check or done.returncode == 0, f"{arguments}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def systemctl(self, *arguments: str, check: bool = True) -> str:
        return self.run("systemctl", *arguments, check=check).stdout.strip()

    def show(self, unit: str, name: str) -> str:
        """A property of a unit."""
        return self.systemctl("show", "--value", "--property", name, unit)

    def write(self, path: str, text: str, mode: int = 0o644) -> None:
        """A file of the machine's, of root's."""
        file = self.root / path.lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        file.chmod(mode)

    def remove(self, path: str) -> None:
        target = self.root / path.lstrip("/")
        if target.is_dir():
            shutil.rmtree(target)
        else:
            target.unlink(missing_ok=True)


@contextmanager
def booted(binds: Mapping[Path, str]) -> Iterator[Machine]:
    """A machine that is up while this lasts. `binds`: folders that it shares with this one, and where they appear.

    Raises `RuntimeError` when it does not come up.
    """
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="vectord-machine-")))
        cgroup = stack.enter_context(_cgroup(folder.name))
        machine = stack.enter_context(_systemd(folder, cgroup, binds))
        follow = stack.enter_context(
            subprocess.Popen(
                machine.command("journalctl", "--follow", "--no-tail", "--all", "--output=json"),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
            )
        )
        machine.journal = Journal(follow)
        # Whatever runs inside ends with PID 1, and so does what it writes to us.
        stack.callback(machine.journal.join)
        stack.callback(os.kill, machine.init, signal.SIGKILL)
        yield machine


@contextmanager
def _systemd(folder: Path, cgroup: Path, binds: Mapping[Path, str]) -> Iterator[Machine]:
    """Tells of itself by a notify socket, as to any manager of containers, when all that it starts at boot is up."""
    address = f"vectord-test-{os.getpid()}-{folder.name}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(f"\0{address}")
        listening.settimeout(BOOT_SECONDS)
        enter = 'echo 0 >"$1/cgroup.procs" && shift && exec "$@"'
        pairs = [str(part) for source, place in binds.items() for part in (source, place)]
        boot = [
            "setpriv",
            "--pdeathsig",
            "KILL",
            "unshare",
            *NAMESPACES,
            "--fork",
            "--kill-child",
            "sh",
            str(BOOT),
            str(folder),
            *pairs,
        ]
        with subprocess.Popen(
            ["sh", "-c", enter, "sh", str(cgroup), *boot],
            env=os.environ | {"NOTIFY_SOCKET": f"@{address}"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        ) as outer:
            try:
                _wait_until_ready(listening, outer)
                # It goes on telling; once nobody read that, and the buffer was full, PID 1 would stand still.
                listening.close()
                init = _only_child(outer.pid)
                yield Machine(init=init, root=Path(f"/proc/{init}/root"))
            finally:
                # With --kill-child PID 1 goes too, and with that everything inside.
                outer.kill()
                outer.communicate()


def _only_child(pid: int) -> int:
    """Of a process with one thread. Source: proc(5), /proc/PID/task/TID/children."""
    (child,) = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return int(child)


def _wait_until_ready(listening: socket.socket, outer: "subprocess.Popen[str]") -> None:
    try:
        while "READY=1" not in listening.recv(4096).decode().split("\n"):
            pass
    except TimeoutError as error:
        outer.kill()
        raise RuntimeError(f"systemd does not come up: {outer.communicate()[1]}") from error


@contextmanager
def _cgroup(name: str) -> Iterator[Path]:
    """A group of the unified hierarchy for the machine's processes: under the mounted one, or under one of our own."""
    with ExitStack() as stack:
        mounts = (line.split() for line in Path("/proc/self/mounts").read_text().splitlines())
        top = next((Path(mount[1]) for mount in mounts if mount[2] == "cgroup2"), None)
        if top is None:
            top = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="vectord-cgroup-")))
            subprocess.run(["mount", "-t", "cgroup2", "cgroup2", str(top)], check=True)
            stack.callback(subprocess.run, ["umount", str(top)], check=True)
        made = top / name
        made.mkdir()
        try:
            yield made
        finally:
            _wait_until_empty(made)
            for inner in sorted(made.rglob("*/"), key=lambda path: len(path.parts), reverse=True):
                inner.rmdir()
            made.rmdir()


def _wait_until_empty(cgroup: Path, seconds: float = 30.0) -> None:
    """Until the last of its processes has ended. Source: the kernel's cgroup-v2.rst, cgroup.events."""
    deadline = time.monotonic() + seconds
    with (cgroup / "cgroup.events").open() as events:
        changed = select.poll()
        changed.register(events, select.POLLPRI)
        while "populated 0" not in events.read():
            if not changed.poll(max(0.0, deadline - time.monotonic()) * 1000):
                raise RuntimeError(f"processes of {cgroup} do not end")
            events.seek(0)
