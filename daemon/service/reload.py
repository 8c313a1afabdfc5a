"""Which settings a running daemon can take over, and which need a restart. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

LIVE = frozenset(
    {
        "log.level",
        "log.format",
        "queue.poll_seconds",
        "sweep.interval_seconds",
        "engine.batch_wait_ms",
        "http.token_file",
    }
)
"""Keys that `reload` changes. The token's file may hold another token under the same name: it is read in any case."""

Sections = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Differences:
    """Keys whose values differ: those in force from now on, and those that wait for a restart."""

    live: tuple[str, ...]
    restart: tuple[str, ...]


def compare(before: Sections, after: Sections) -> Differences:
    """Two configurations, each a mapping of sections with the same keys."""
    changed = sorted(
        f"{section}.{key}"
        for section, keys in after.items()
        for key, value in keys.items()
        if value != before[section][key]
    )
    return Differences(
        live=tuple(key for key in changed if key in LIVE),
        restart=tuple(key for key in changed if key not in LIVE),
    )


def live_values(sections: Sections) -> dict[str, dict[str, Any]]:
    """Of a configuration, what a running daemon takes over."""
    found = {
        section: {key: value for key, value in keys.items() if f"{section}.{key}" in LIVE}
        for section, keys in sections.items()
    }
    return {section: keys for section, keys in found.items() if keys}
