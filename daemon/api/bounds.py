"""How many connections there may be at a time: what the limit of open files leaves. Loads nothing."""

import resource

BACKLOG = 128
"""Connections that wait to be accepted. They all are at once, and are open files before one of them can be refused."""
MOST_PROBING = 128
"""To a server for health and metrics alone."""
BESIDES_WAITING = 500
"""More than may wait for a place: those that have one, that listen to events, that pause, and that are told 429."""
FEWEST = 64
"""Whatever the limit is. Below that, opening a file may fail, but a console and a few callers get on."""


def limit_of_open_files() -> int:
    """This process's own: under systemd it may be another one."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return soft if soft != resource.RLIM_INFINITY else 2**31


def most_open(*, limit: int, needed: int, waiting: int) -> int:
    """Connections to the API at a time, where `needed` of `limit` open files are for all else and so many may wait."""
    return max(FEWEST, min(limit - needed, waiting + BESIDES_WAITING))
