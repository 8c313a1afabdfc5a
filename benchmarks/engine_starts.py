"""Part of `benchmarks.engine`: how long an engine takes to be ready, and what memory it takes, then and later."""

import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

START = """
import json, sys, time
from pathlib import Path
import numpy as np
from daemon.engine import EngineOptions, ModelSpec, find_weights, open_engine
weights, state, backend, batches = sys.argv[1], Path(sys.argv[2]), sys.argv[3], int(sys.argv[4])
found = find_weights(weights, alpha=1.0, input_size=224, state_dir=state)
spec = ModelSpec(alpha=1.0, input_size=224, scaling="tf", weights=found)
engine = open_engine(spec, EngineOptions(state_dir=state, backend=backend, device="cpu"))
engine.warm_up()
ready = time.time()
def resident():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS"))
pixels = np.random.default_rng(0).integers(0, 256, (32, 224, 224, 3), dtype=np.uint8)
sizes, memory = [1, 8, 3, 8, 2, 5], [resident()]
for number in range(batches):
    engine.embed(pixels[: sizes[number % 6]])
    if (number + 1) % max(1, batches // 10) == 0:
        memory.append(resident())
print(json.dumps({"ready": ready, "memory": memory}))
"""


def started(weights: str, state_dir: Path, backend: str, batches: int = 0) -> tuple[float, list[float]]:
    """Seconds from the start of a process to a warm engine, and its resident MiB then and after each tenth."""
    begun = time.time()
    child = subprocess.run(
        [sys.executable, "-c", START, weights, str(state_dir), backend, str(batches)],
        check=True,
        capture_output=True,
        text=True,
    )
    said = json.loads(child.stdout)
    return said["ready"] - begun, said["memory"]


def show_starts(weights: str, batches: int) -> None:
    """How long a start takes and how much memory, then and later."""
    print("\nstart of a process to a warm engine, and its resident memory")
    with tempfile.TemporaryDirectory() as folder:
        cold, _ = started(weights, Path(folder), "openvino")
        print(f"openvino, cold (converts in a child)      {cold:6.2f} s")
        for backend in ("openvino", "tensorflow"):
            runs = [started(weights, Path(folder), backend) for _ in range(5)]
            seconds = statistics.median(run[0] for run in runs)
            memory = statistics.median(run[1][0] for run in runs)
            print(f"{backend + ', warm':42}{seconds:6.2f} s {memory:7.0f} MiB")
        for backend in ("openvino", "tensorflow"):
            _, later = started(weights, Path(folder), backend, batches)
            print(f"{backend}, MiB over {batches} batches of 1 to 8: " + " ".join(f"{mib:.0f}" for mib in later))
