"""Runs the benchmarks and writes RESULTS.md: `make bench`.

    .venv-bench/bin/python -m benchmarks [NAME ...] [--quick]

Each is a program of its own, run one after the other; a section of RESULTS.md is replaced as soon as its benchmark is
done, so a run that is cut short loses nothing. `--quick` takes the shortest form of each, to see that all of them work:
its figures say little, so they are printed and not written.
"""

import argparse
import ast
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path

from benchmarks.pictures import SHARED, make_weights
from benchmarks.postgres import hardware
from benchmarks.report import replace_sections
from benchmarks.scene import KEPT

RESULTS = Path(__file__).with_name("RESULTS.md")
WEIGHTS = "WEIGHTS"
"""Stands for the weights file in a benchmark's arguments."""


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """A program, what its section is called, and its arguments for a full and for a quick run."""

    name: str
    title: str
    full: Sequence[str] = ()
    quick: Sequence[str] = ()
    plain: bool = False
    """It prints no Markdown."""
    minutes: int
    """What a full run takes on two cores."""


BENCHMARKS = (
    Benchmark(name="pipeline", title="From rows to vectors, beside what else", quick=["--quick"], minutes=25),
    Benchmark(name="single_insert", title="Latency of a single insert", quick=["--quick"], minutes=4),
    Benchmark(name="memory", title="Memory", quick=["--quick"], minutes=3),
    Benchmark(name="growth", title="Cost by the number of images and rows", quick=["--quick"], minutes=40),
    Benchmark(name="scale", title="Loaders and daemons", quick=["--quick"], minutes=8),
    Benchmark(name="cores", title="Throughput by cores", quick=["--quick"], minutes=2),
    Benchmark(
        name="loader", title="The loaders: what isolation costs", plain=True, minutes=4,
        quick=["--rounds", "1", "--count", "24"],
    ),
    Benchmark(
        name="engine", title="The engine", plain=True, minutes=12,
        full=["--weights", WEIGHTS], quick=["--weights", WEIGHTS, "--rounds", "1", "--no-starts"],
    ),
    Benchmark(name="store", title="The store", quick=["--vectors", "512", "--rounds", "1"], minutes=3),
    Benchmark(name="queue", title="The queue", quick=["--jobs", "2000", "--rounds", "1"], minutes=4),
    Benchmark(
        name="sweep", title="The sweep: what a tick costs", minutes=15,
        quick=["--small", "20000", "--large", "100000", "--rounds", "1"],
    ),
    Benchmark(name="trigger", title="The trigger: what it costs the users' application", minutes=5,
        quick=["--seconds", "1", "--rounds", "1"],
    ),
    Benchmark(
        name="latency", title="Pick-up latency: from COMMIT to the claim", plain=True, minutes=1,
        quick=["--images", "50", "--backfill", "20000"],
    ),
    Benchmark(name="backfill", title="A backfill by Ray Data", quick=["--quick"], minutes=18),
    Benchmark(
        name="api", title="Uploads over HTTP", minutes=4,
        full=["--weights", WEIGHTS], quick=["--weights", WEIGHTS, "--seconds", "4", "--rounds", "1"],
    ),
)  # fmt: skip


def run(benchmark: Benchmark, *, quick: bool) -> str | None:
    """What it printed; None when it failed."""
    given = benchmark.quick if quick else benchmark.full
    arguments = [str(make_weights(KEPT)) if one == WEIGHTS else one for one in given]
    command = [sys.executable, "-m", f"benchmarks.{benchmark.name}", *arguments]
    print(f"\n## {benchmark.name}: {' '.join(command[1:])}", file=sys.stderr, flush=True)
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    return done.stdout if done.returncode == 0 else None


def section(benchmark: Benchmark, printed: str, seconds: float) -> str:
    """The benchmark's section of RESULTS.md: its command, when and where it ran, and what it printed."""
    shown = " ".join([f"python -m benchmarks.{benchmark.name}", *benchmark.full])
    body = f"```\n{printed.strip()}\n```" if benchmark.plain else printed.strip()
    when = datetime.now(UTC).strftime("%Y-%m-%d")
    made = f"`{shown}`, {when}, {hardware()}; it took {seconds / 60:.0f} min."
    return "\n\n".join([f"## {benchmark.title}", made, explained(benchmark), body])


def explained(benchmark: Benchmark) -> str:
    """What it says of itself, without how to call it."""
    source = Path(__file__).with_name(f"{benchmark.name}.py").read_text()
    paragraphs = (ast.get_docstring(ast.parse(source)) or "").split("\n\n")
    return "\n\n".join(one for one in paragraphs if not one.startswith(" "))


def parse() -> argparse.Namespace:
    minutes = sum(one.minutes for one in BENCHMARKS)
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, prog="python -m benchmarks",
        epilog=f"All of them take some {minutes} minutes on two cores, and some 12 with --quick.",
    )  # fmt: skip
    names = [one.name for one in BENCHMARKS]
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(names)}; all unless given")
    parser.add_argument("--quick", action="store_true")
    arguments = parser.parse_args()
    if unknown := set(arguments.names) - set(names):
        parser.error(f"there is no benchmark {', '.join(sorted(unknown))}; there are {', '.join(names)}")
    return arguments


def main() -> int:
    arguments = parse()
    if find_spec("torch") is None:
        print("Some of what vectord is compared with is not installed: use `make bench`.", file=sys.stderr)
    if not SHARED.is_dir():
        print("No photographs are at hand; drawn ones are used, with random weights.", file=sys.stderr)
    failed = []
    for benchmark in [one for one in BENCHMARKS if one.name in arguments.names or not arguments.names]:
        began = time.monotonic()
        printed = run(benchmark, quick=arguments.quick)
        if printed is None:
            failed.append(benchmark.name)
        elif arguments.quick:
            print(printed, flush=True)
        else:
            made = section(benchmark, printed, time.monotonic() - began)
            replace_sections(RESULTS, {benchmark.name: made}, [one.name for one in BENCHMARKS])
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
