"""One daemon under steady load and a fault every few seconds, for minutes or hours: does what it holds stay flat?

At the end every image has one vector or one dead job, and the daemon has ended in order with nothing left behind.

    make soak                          # five minutes
    make soak ARGS="--minutes 480"
"""

import argparse
import os
import shutil
import sys
import tempfile
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from daemon.db.embedded import EmbeddedServer
from tests.faults.daemons import Running
from tests.faults.strain import Faults, Site, Users, answers, call, scrape
from tests.faults.usage import Course, Usage, children_of, courses, usage
from tests.loading import is_alive
from tests.servers import serve
from tests.whole import ROOT, Tables, save_small_weights, small_daemon

SAMPLES = 300
TOLD = 30
"""Samples between two lines on the terminal."""
PATIENCE = 180.0
CONNECTIONS = """
SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name LIKE 'vectord%'
"""
WRONG = """
SELECT s.id, s.url, t.image_id IS NOT NULL, j.state, j.reason
FROM ecai.tb_image s
LEFT JOIN tb_hsx_img_value t ON t.image_id = s.id LEFT JOIN vectord.job j ON j.image_id = s.id
WHERE (s.url ~ '/[0-9]+[.]jpg' AND (t.image_id IS NULL OR j.image_id IS NOT NULL))
   OR (s.url !~ '/[0-9]+[.]jpg' AND coalesce(j.state, '') <> 'dead')
"""
QUICK = {
    "VECTORD_LOADER__PROCESSES": "2",
    "VECTORD_QUEUE__LEASE_SECONDS": "10",
    "VECTORD_QUEUE__RETRY_BASE_SECONDS": "0.5",
    "VECTORD_SWEEP__INTERVAL_SECONDS": "5",
}
"""Two loaders, and leases and pauses so short that all of it comes round often."""
BEGIN, END = "<!-- The soak's figures are made by `make soak`. -->", "<!-- End of the soak's figures. -->"


@contextmanager
def opened() -> Iterator[Site]:
    """A PostgreSQL, a server of pictures and a daemon that is ready, in folders that go away afterwards."""
    folder, failing = Path(tempfile.mkdtemp(prefix="vectord-soak-")), threading.Event()
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        dsn = stack.enter_context(EmbeddedServer(folder / "postgres")).dsn
        web = stack.enter_context(serve(answers(failing)))
        save_small_weights(folder / "small.weights.h5")
        daemon = stack.enter_context(Running(environment(dsn, folder)))
        address = str(daemon.wait_for("daemon.ready")["address"])
        yield Site(tables=Tables(dsn), web=web, daemon=daemon, address=address, failing=failing)


def environment(dsn: str, folder: Path) -> dict[str, str]:
    """Of a daemon whose loaders can be made to crash."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("VECTORD_", "POSTGRES_"))}
    plugin = {"LOADER_TEST_PLUGIN": "loader_plugin", "PYTHONPATH": f"{ROOT}:{Path(__file__).parent}"}
    state = {"VECTORD_DATABASE__STATE_DIR": str(folder)}
    return kept | plugin | state | small_daemon(dsn, folder / "small.weights.h5") | QUICK


def soak(site: Site, seconds: float, between_faults: float, tell: Callable[[str], None]) -> list[Usage]:
    """Load and faults for so long; what the daemon held at some three hundred moments of it."""
    work: list[tuple[float, Callable[[], None]]] = [
        (0.25, Users(site, seed=7).act),
        (between_faults, Faults(site).next),
        (1.0, lambda: call(site)),
        (5.0, lambda: scrape(site)),
    ]
    threads = [threading.Thread(target=site.every, args=one, daemon=True) for one in work]
    for thread in threads:
        thread.start()
    samples: list[Usage] = []
    ends = time.monotonic() + seconds
    while (left := ends - time.monotonic()) > 0 and site.daemon.process.poll() is None:
        samples.append(sample(site))
        if len(samples) % TOLD == 1:
            tell(f"{left:6.0f} s left: {samples[-1]}")
        site.stop.wait(min(left, seconds / SAMPLES))
    site.stop.set()
    for thread in threads:
        thread.join()
    return samples


def sample(site: Site) -> Usage:
    # What the servers of the tests remember would fill this process in a soak of hours.
    site.web.seen.clear()
    ((connections,),) = site.tables.execute(CONNECTIONS)
    return usage(site.daemon.pid, connections)


def wrong_at_the_end(site: Site) -> list[str]:
    """What is not as it should be once all is calm and the daemon has been asked to end."""
    if (status := site.daemon.process.poll()) is not None:
        return [f"the daemon ended by itself, with status {status}: {site.daemon.noise[-20:]}"]
    site.tables.wait(lambda: not site.tables.execute(WRONG), "the tables as they should be", PATIENCE)
    loaders = children_of(site.daemon.pid)
    status = site.daemon.stop()
    wrong = [f"the daemon ended with status {status}"] if status else []
    return wrong + [f"the loader {pid} was left behind" for pid in loaders if is_alive(pid)]


def table(found: list[Course]) -> str:
    """As Markdown."""
    head = "| held | early, median | late, median | most | flat |\n| --- | ---: | ---: | ---: | --- |\n"
    return head + "\n".join(
        f"| {one.name.replace('_mb', ', MB').replace('_', ' ')} | {one.early:,.1f} | {one.late:,.1f} | "
        f"{one.most:,.1f} | {'yes' if one.flat else 'no'} |"
        for one in found
    )


def write_down(path: Path, text: str) -> None:
    """Between its two marks, in the page."""
    before, rest = path.read_text(encoding="utf-8").split(BEGIN)
    path.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{rest.split(END)[1]}", encoding="utf-8")


def tell(line: str) -> None:
    """On the terminal, at once."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main() -> int:
    """0 when everything stayed flat and came right."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--fault-seconds", type=float, default=8.0, help="between two faults")
    parser.add_argument("--report", type=Path, help="the page to write the figures into")
    given = parser.parse_args()
    with opened() as site:
        samples = soak(site, given.minutes * 60, given.fault_seconds, tell)
        wrong = wrong_at_the_end(site)
    found = courses(samples)
    wrong += [f"{one.name} grew from {one.early:.1f} to {one.late:.1f}" for one in found if not one.flat]
    did = ", ".join(f"{number:,} {what}" for what, number in sorted(site.done.items()))
    did = textwrap.fill(f"{given.minutes:g} minutes, {os.cpu_count()} cores: {did}.", 120)
    told = f"{did}\n\n{table(found)}"
    tell(f"\n{told}\n\n" + ("\n".join(wrong) or "all flat, every image right, an end in order"))
    if given.report is not None and not wrong:
        write_down(given.report, told)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
