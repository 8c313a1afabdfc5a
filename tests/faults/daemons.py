"""Daemons as processes that may be hurt, and what they say meanwhile."""

import json
import re
import signal
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

from tests.whole import ROOT

PATIENCE = 120.0


class Running:
    """`python -m daemon run`, or another entry point. What it logs is read all the while, or the pipe would fill."""

    def __init__(self, variables: Mapping[str, str], entry: tuple[str, ...] = ("-m", "daemon")) -> None:
        self.said: list[dict[str, Any]] = []
        self.noise: list[str] = []
        """Lines that are no log lines: a traceback, say."""
        self._changed = threading.Condition()
        self._ended = False
        self.process = subprocess.Popen(
            [sys.executable, *entry, "run"], env=dict(variables), cwd=ROOT, stderr=subprocess.PIPE, text=True
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Ends it, whatever state it is in, and its loaders with it."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(PATIENCE)
        self._reader.join(PATIENCE)

    @property
    def pid(self) -> int:
        return self.process.pid

    def ready(self) -> Self:
        """Waits until it works."""
        self.wait_for("daemon.ready")
        return self

    def heard(self, event: str, error: str = "", **fields: object) -> list[dict[str, Any]]:
        """Its log lines about this so far: with these fields, and this somewhere in the field `error`."""
        lines = [line for line in list(self.said) if line["event"] == event and fields.items() <= line.items()]
        return [line for line in lines if error in line.get("error", "")]

    def wait_for(
        self, event: str, seconds: float = PATIENCE, times: int = 1, error: str = "", **fields: object
    ) -> dict[str, Any]:
        """Until it has logged this so many times; gives the first such line."""
        with self._changed:
            self._changed.wait_for(lambda: self._ended or len(self.heard(event, error, **fields)) >= times, seconds)
        found = self.heard(event, error, **fields)
        assert len(found) >= times, f"no {event} {error} {fields} in {seconds} s; {self._end()}"
        return found[0]

    def _end(self) -> str:
        return f"status {self.process.poll()}; {self.said[-5:]}{self.noise}"

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def kill(self) -> None:
        """Ends at once, with no chance to say so."""
        self.send(signal.SIGKILL)
        self.process.wait(PATIENCE)

    def stop(self, seconds: float = PATIENCE) -> int:
        """Asks it to end, and waits; gives the exit status."""
        self.send(signal.SIGTERM)
        return self.process.wait(seconds)

    def loaders(self) -> list[int]:
        """The process ids of its loaders."""
        return [int(pid) for pid in Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()]

    def health(self, path: str = "/health") -> dict[str, Any]:
        """What it answers, whatever the status."""
        address = self.wait_for("daemon.ready")["address"]
        try:
            with urllib.request.urlopen(address + path, timeout=PATIENCE) as answer:
                found: dict[str, Any] = json.load(answer)
        except urllib.error.HTTPError as error:
            found = json.load(error)
        return found

    def metric(self, series: str) -> float:
        """The value of a series, written as in the exposition: `vectord_images_total{status="stored"}`."""
        address = self.wait_for("daemon.ready")["address"]
        with urllib.request.urlopen(address + "/metrics", timeout=PATIENCE) as answer:
            found = re.search(rf"^{re.escape(series)} (\S+)$", answer.read().decode(), re.MULTILINE)
        assert found, f"no series {series}"
        return float(found[1])

    def _read(self) -> None:
        assert self.process.stderr is not None
        with self.process.stderr as lines:
            for text in lines:
                self._take(text)
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def _take(self, text: str) -> None:
        line = None
        with suppress(ValueError):
            line = json.loads(text)
        with self._changed:
            self.said.append(line) if isinstance(line, dict) else self.noise.append(text)
            self._changed.notify_all()
