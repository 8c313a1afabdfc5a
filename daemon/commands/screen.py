"""What people see: one function for each record that a command shows.

What comes from the tables goes into `Text`, not markup: a location in brackets is a location.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.table import Column, Table
from rich.text import Text

from daemon.db.findings import FailureSeen, Progress, Status, Why, WorkerSeen, explain
from daemon.db.similar import Neighbour

WIDE = 110
"""Columns of a terminal from which a failed image has room on one line."""


def status(seen: Status, rate: float | None) -> RenderableType:
    """How things stand. `rate` is vectors per second, where two looks were taken."""
    return Group(_headline(seen, rate), *_reprocess(seen.reprocess), _facts(seen), *_workers(seen))


def _headline(seen: Status, rate: float | None) -> Text:
    alive = sum(worker.alive for worker in seen.workers)
    if not alive:
        return Text("no daemon is alive", style="bold red")
    backlog = seen.backlog
    plural = "s" * (backlog.pending.number != 1)
    state = f"{backlog.pending} image{plural} to do" if backlog.pending.number else "nothing to do"
    pace = "" if rate is None else f", {rate:.1f} vectors/s"
    return Text(f"{state}{pace}, {alive} daemon{'s' * (alive > 1)} alive", style="bold")


def _facts(seen: Status) -> Table:
    backlog, sweep = seen.backlog, seen.sweep
    table = _pairs()
    table.add_row("images", str(seen.images))
    table.add_row("signature", Text(seen.signature or "none yet: no daemon has started"))
    for version, figure in seen.versions.items():
        mark = "" if version == seen.signature else "  (not the present one)"
        table.add_row("vectors", Text(f"{figure}  {version or 'without model_version'}{mark}"))
    table.add_row("queue", f"{backlog.leased:,} in work, {backlog.due:,} due, {backlog.waiting:,} waiting for a retry")
    if backlog.oldest:
        table.add_row("oldest", f"queued {_ago(backlog.oldest, seen.taken_at)}")
    for reason, figure in seen.dead.items():
        table.add_row(Text("failed", style="red"), Text(f"{figure} × {reason}: {explain(reason)}"))
    table.add_row(
        "sweep", f"cycle {sweep.cycle}, {sweep.looked:,} ids looked at, last {_ago(sweep.ticked_at, seen.taken_at)}"
    )
    return table


def _reprocess(progress: Progress | None) -> Sequence[Text]:
    if progress is None or progress.ended_at is not None:
        return ()
    left = "" if progress.seconds_left is None else f", {_span(progress.seconds_left)} left"
    share = f"{progress.share:.0%} of {progress.total:,}{left}"
    return (Text(f"reprocessing to generation {progress.generation} ({progress.cause}): {share}", style="bold yellow"),)


def _workers(seen: Status) -> Sequence[Table]:
    if not seen.workers:
        return ()
    table = Table(*_folding("daemon", "pid", "signature", "started", "seen"), title="daemons", title_justify="left")
    for worker in seen.workers:
        table.add_row(*map(Text, _worker(worker, seen.taken_at)), style="" if worker.alive else "dim")
    return (table,)


def _worker(worker: WorkerSeen, now: datetime) -> tuple[str, ...]:
    seen = _ago(worker.seen_at, now) if worker.ended_at is None else f"ended {_ago(worker.ended_at, now)}"
    return (worker.worker, str(worker.pid), worker.signature, _ago(worker.started_at, now), seen)


def failures(seen: Sequence[FailureSeen]) -> RenderableType:
    """Images that failed for good, a line each; in a narrow terminal, what needs room stands below each other."""
    return _Failures(seen) if seen else Text("no image has failed for good")


class _Failures:
    """Asks how wide the terminal is."""

    def __init__(self, seen: Sequence[FailureSeen]) -> None:
        self._seen = seen

    def __rich_console__(self, _console: Console, options: ConsoleOptions) -> RenderResult:
        yield _in_lines(self._seen) if options.max_width >= WIDE else _in_blocks(self._seen)


def _in_lines(seen: Sequence[FailureSeen]) -> Table:
    table = Table(*_folding("image", "reason", "what happened", "attempts", "failed at", "location"))
    for one in seen:
        cells = (str(one.image_id), one.reason, _what(one), str(one.attempts), _when(one), one.location)
        table.add_row(*map(Text, cells))
    return table


def _in_blocks(seen: Sequence[FailureSeen]) -> Table:
    image, what = _folding("image", "what happened, and where")
    # In one piece, as `--reason` takes it.
    table = Table(image, Column("reason", no_wrap=True), what, show_lines=True)
    for one in seen:
        attempts = f"{one.attempts} attempt{'s' * (one.attempts != 1)}"
        table.add_row(
            Text(str(one.image_id)),
            Text(_lines(one.reason, attempts, _when(one))),
            Text(_lines(_what(one), one.location)),
        )
    return table


def _lines(*texts: str) -> str:
    return "\n".join(text for text in texts if text)


def _what(one: FailureSeen) -> str:
    return one.detail or one.explanation


def _when(one: FailureSeen) -> str:
    return f"{one.failed_at:%Y-%m-%d %H:%M:%S}" if one.failed_at else ""


def why(seen: Why) -> RenderableType:
    """All that is known of one image, its verdict first."""
    table = _pairs()
    if seen.exists:
        table.add_row("location", Text(seen.location or "none"))
    if seen.vector:
        times = ", ".join(f"{name} {when}" for name, when in _times(seen) if when)
        table.add_row("vector", Text(f"{seen.vector.version or 'unknown make'} {times}"))
    if job := seen.job:
        times = f"queued {job.enqueued_at:%F %T}"
        table.add_row("job", f"{job.state}, attempt {job.attempts}, revision {job.revision}, {times}")
        table.add_row("last failure", Text(f"{job.reason or 'none'} {job.detail}"))
    return Group(Text(f"image {seen.image_id} {seen.verdict}" if seen.exists else seen.verdict, style="bold"), table)


def _times(seen: Why) -> Sequence[tuple[str, str | None]]:
    return (("made", seen.vector.created), ("updated", seen.vector.updated)) if seen.vector else ()


def neighbours(seen: Sequence[Neighbour]) -> RenderableType:
    """The nearest images, the nearest first."""
    table = Table(*_folding("image", "cosine", "made by"))
    for one in seen:
        table.add_row(*map(Text, (str(one.image_id), f"{one.similarity:.4f}", one.version or "")))
    return table


def _pairs() -> Table:
    """A name and what is to be said of it, on each line."""
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column()
    table.add_column(overflow="fold")
    return table


def _folding(*names: str) -> Sequence[Column]:
    """Columns that go on below where they lack room: the end of a signature or an address is what tells it apart."""
    return [Column(name, overflow="fold") for name in names]


def _ago(moment: datetime | None, now: datetime) -> str:
    return "never" if moment is None else f"{_span((now - moment).total_seconds())} ago"


def _span(seconds: float) -> str:
    """A length of time, in whole seconds: 1:02:03, or 2 days, 1:02:03."""
    return str(timedelta(seconds=round(max(0.0, seconds))))
