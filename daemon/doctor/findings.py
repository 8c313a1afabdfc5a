"""What the doctor says: one finding for each thing looked at."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from daemon.redact import redact


class Level(StrEnum):
    """How bad it is."""

    OK = "ok"
    WARNING = "warning"
    """It works, but not as well as it could, or perhaps not as meant."""
    PROBLEM = "problem"
    """It keeps the daemon from starting or from working."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing looked at: how it is, and what to do about it where there is something to do."""

    check: str
    level: Level
    says: str
    remedy: str = ""


def ok(check: str, says: str) -> Finding:
    """All is well."""
    return Finding(check=check, level=Level.OK, says=_line(says))


def warning(check: str, says: str, remedy: str) -> Finding:
    """Somebody should know."""
    return Finding(check=check, level=Level.WARNING, says=_line(says), remedy=_line(remedy))


def problem(check: str, says: str, remedy: str) -> Finding:
    """Somebody has to do something."""
    return Finding(check=check, level=Level.PROBLEM, says=_line(says), remedy=_line(remedy))


def exit_status(findings: Iterable[Finding]) -> int:
    """1 when something would stop the daemon."""
    return int(any(finding.level is Level.PROBLEM for finding in findings))


def of_mistakes(message: str) -> list[Finding]:
    """The mistakes of a configuration, each a finding. `message` is that of `ConfigurationError`."""
    first, *mistakes = message.splitlines()
    return [
        problem("configuration", mistake.strip(), "every key stands in config.toml with what it takes")
        for mistake in mistakes or [first]
    ]


def _line(text: str) -> str:
    """One line, without credentials."""
    return " ".join(redact(text).split())
