"""The Keras engine by batch size and precision: images a second, the copy's share, and how near the device's roof.

    .venv/bin/python -m benchmarks.gpu [--weights FILE] [--device gpu|cpu] [--compare] [--quick] [--json]

It runs on whatever framework KERAS_BACKEND names. `--compare` runs itself once for each framework that is installed,
and PyTorch's own model under torch.compile beside them, all on the same weights. `--quick` is for CI, which has no GPU.

The roof is the larger of two times for an image: its arithmetic at the device's peak, and its bytes (every layer reads
its input and writes its output once, normalisation and activation fused) at the device's bandwidth.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from daemon.engine import EngineOptions, ModelSpec, find_weights
from daemon.engine.architecture import BLOCKS, divisible
from daemon.engine.backends import open_backend
from daemon.engine.keras import KerasEngine, open_keras
from daemon.engine.protocol import Precision
from daemon.engine.quiet import import_keras
from daemon.records import Pixels
from daemon.signature import dimension

BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}

PEAKS = {
    # TFLOP/s of float32 without tensor cores, of bfloat16 and float16 with them (dense), and GB/s.
    # Source: NVIDIA's data sheets of each.
    "H200": (67.0, 989.0, 4800.0),
    "H100": (67.0, 989.0, 3350.0),
    "A100": (19.5, 312.0, 1555.0),
    "L40S": (91.6, 362.0, 864.0),
    "L4": (30.3, 121.0, 300.0),
    "T4": (8.1, 65.0, 320.0),
}


@dataclass(frozen=True, kw_only=True)
class Row:
    """One measurement."""

    way: str
    device: str
    precision: str
    batch: int
    images_per_second: float
    copy_share: float | None = None
    """Of the time of a batch, what the copy of its pixels to the device takes by itself."""
    roof_share: float | None = None


def arithmetic(alpha: float, side: int) -> tuple[float, float]:
    """Operations for one image, and values read and written, of MobileNetV2 at this alpha and input size."""
    operations = values = 0.0
    for inputs, outputs, kernel, groups, before, after in _convolutions(alpha, side):
        operations += 2 * after**2 * kernel**2 * inputs * outputs / groups
        values += inputs * before**2 + outputs * after**2
    return operations, values


def _convolutions(alpha: float, side: int) -> Iterator[tuple[int, int, int, int, int, int]]:
    """(inputs, outputs, kernel, groups, side before, side after) of each convolution."""
    channels, half = divisible(32 * alpha), -(-side // 2)
    yield 3, channels, 3, 1, side, half
    side = half
    for number, (filters, stride, expansion) in enumerate(BLOCKS):
        wide, after, out = channels * expansion, -(-side // stride), divisible(int(filters * alpha))
        if number:
            yield channels, wide, 1, 1, side, side
        yield wide, wide, 3, wide, side, after
        yield wide, out, 1, 1, after, after
        channels, side = out, after
    yield channels, dimension(alpha), 1, 1, side, side


def roof(spec: ModelSpec, precision: str, device_name: str) -> float | None:
    """Images a second that the device cannot exceed. None for a device whose peaks are not known here."""
    peaks = next((peak for name, peak in PEAKS.items() if name in device_name), None)
    if peaks is None:
        return None
    operations, values = arithmetic(spec.alpha, spec.input_size)
    peak = peaks[0] if precision == "float32" else peaks[1]
    return 1 / max(operations / (peak * 1e12), values * BYTES[precision] / (peaks[2] * 1e9))


def median_seconds(call: Callable[[], object], seconds: float) -> float:
    """Of one call, over as many as fit into `seconds`, at least five."""
    call()
    taken: list[float] = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(taken) < 5:
        begun = time.perf_counter()
        call()
        taken.append(time.perf_counter() - begun)
    return statistics.median(taken)


def measure_keras(
    spec: ModelSpec, precision: Precision, batches: list[int], device: str, seconds: float
) -> Iterator[Row]:
    """The Keras engine on the framework of this process. A call brings two batches, so that copies can overlap."""
    for batch in batches:
        engine = open_for(spec, precision, device, batch)
        pixels = drawn(2 * batch, spec.input_size)
        info = engine.describe()
        per_call = median_seconds(lambda engine=engine, pixels=pixels: engine.embed(pixels), seconds)  # type: ignore[misc]
        copy = median_seconds(lambda pixels=pixels: copied(pixels), seconds / 4) if device == "gpu" else None  # type: ignore[misc]
        rate, most = len(pixels) / per_call, roof(spec, precision, info.device_name)
        yield Row(
            way=f"vectord, {info.backend} {info.version}",
            device=info.device_name or info.device,
            precision=precision,
            batch=batch,
            images_per_second=rate,
            copy_share=copy and copy / per_call,
            roof_share=most and rate / most,
        )
        engine.close()


def open_for(spec: ModelSpec, precision: Precision, device: str, batch_max: int) -> KerasEngine:
    """The engine, warm."""
    options = EngineOptions(state_dir=Path(), device=device, precision=precision, batch_max=batch_max)
    gpu = 0 if device == "gpu" else None
    engine = open_keras(spec, options, open_backend(memory_growth=True), gpu=gpu)
    engine.warm_up()
    return engine


def copied(pixels: Pixels) -> Any:
    """The pixels on the device, and back a single number, which says that they are there."""
    operations = import_keras().ops
    return operations.convert_to_numpy(operations.max(operations.convert_to_tensor(pixels)))


def measure_torch(
    spec: ModelSpec, precision: Precision, batches: list[int], device: str, seconds: float
) -> Iterator[Row]:
    """PyTorch's own layers, channels last, under torch.compile on a GPU."""
    from benchmarks.torch_model import torch, torch_model  # noqa: PLC0415  # It needs PyTorch.

    where = "cuda" if device == "gpu" else "cpu"
    kind = getattr(torch, precision)
    plain = torch_model(spec).to(where, memory_format=torch.channels_last)
    plain.backbone.to(kind)
    model = torch.compile(plain, dynamic=False) if device == "gpu" else plain
    for batch in batches:
        host = torch.from_numpy(drawn(batch, spec.input_size))
        host = host.pin_memory() if device == "gpu" else host

        def call(host: Any = host) -> Any:
            with torch.inference_mode():
                return model(host.to(where, non_blocking=True)).cpu()

        per_call = median_seconds(call, seconds)
        name = torch.cuda.get_device_name(0) if device == "gpu" else "cpu"
        most = roof(spec, precision, name)
        yield Row(
            way=f"PyTorch's own layers {torch.__version__}",
            device=name,
            precision=precision,
            batch=batch,
            images_per_second=batch / per_call,
            roof_share=most and batch / per_call / most,
        )


def drawn(rows: int, side: int) -> Pixels:
    """Noise: the speed does not depend on it."""
    return np.random.default_rng(0).integers(0, 256, (rows, side, side, 3), dtype=np.uint8)


def run_each(arguments: argparse.Namespace) -> Iterator[Row]:
    """This benchmark on every framework that is installed, each in a process of its own."""
    ways = [("tensorflow", False), ("jax", False), ("torch", False), ("torch", True)]
    for framework, native in ways:
        if find_spec(framework) is None:
            print(f"{framework} is not installed here", file=sys.stderr)
            continue
        command = [sys.executable, "-m", "benchmarks.gpu", "--json", "--weights", arguments.weights]
        command += ["--device", arguments.device, *["--quick"] * arguments.quick, *["--native"] * native]
        environment = os.environ | {"KERAS_BACKEND": framework}
        child = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if child.returncode:
            print(f"{framework} failed: {child.stderr.strip()[-400:]}", file=sys.stderr)
            continue
        yield from (Row(**values) for values in json.loads(child.stdout))


def run_here(arguments: argparse.Namespace) -> Iterator[Row]:
    """All precisions and batch sizes on this process's framework."""
    batches = [2] if arguments.quick else [1, 8, 32, 128, 512] if arguments.device == "gpu" else [1, 8, 32]
    precisions: list[Precision] = ["float32", "bfloat16"] if arguments.quick else ["float32", "bfloat16", "float16"]
    way = measure_torch if arguments.native else measure_keras
    with tempfile.TemporaryDirectory() as folder:
        side = 96 if arguments.quick else 224
        weights = find_weights(arguments.weights, alpha=1.0, input_size=side, state_dir=Path(folder))
        spec = ModelSpec(alpha=1.0, input_size=side, scaling="tf", weights=weights)
        for precision in precisions:
            yield from way(spec, precision, batches, arguments.device, 0.05 if arguments.quick else 2.0)


def show(rows: list[Row]) -> None:
    """The table."""
    print(f"{'way':34}{'device':24}{'precision':>10}{'batch':>7}{'images/s':>10}{'copy':>7}{'of roof':>9}")
    for row in rows:
        shares = "".join(f"{'' if share is None else f'{share:.2f}':>{width}}" for share, width in _shares(row))
        print(f"{row.way:34}{row.device[:22]:24}{row.precision:>10}{row.batch:7}{row.images_per_second:10.0f}{shares}")


def _shares(row: Row) -> list[tuple[float | None, int]]:
    return [(row.copy_share, 7), (row.roof_share, 9)]


def main() -> None:
    """Measure, and print a table or JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", default="untrained")
    parser.add_argument("--device", choices=["gpu", "cpu"], default="gpu")
    for flag in ("--compare", "--quick", "--json"):
        parser.add_argument(flag, action="store_true")
    parser.add_argument("--native", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    rows = list(run_each(arguments) if arguments.compare else run_here(arguments))
    if arguments.json:
        print(json.dumps([asdict(row) for row in rows]))
    else:
        show(rows)


if __name__ == "__main__":
    main()
