"""The engines beside TensorFlow, ONNX Runtime and every configuration of OpenVINO, on this machine's CPU.

    .venv/bin/python -m benchmarks.engine [--weights FILE] [--rounds N] [--batches N] [--no-starts]

Speed: all ways take turns, round after round in one process, and the median of the rounds counts. Then the time from
the start of a process to a ready engine, its memory, and its memory over many batches, each in a process of its own.
Without --weights they are drawn: the speed is the same.
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from importlib import import_module
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.engine_starts import show_starts
from daemon.engine import EngineOptions, ModelSpec, find_weights, open_engine
from daemon.engine.backends import TensorFlow
from daemon.engine.kept_models import converted
from daemon.engine.quiet import import_keras, import_openvino
from daemon.records import Pixels, Vectors

BATCHES = (1, 8, 32)
SECONDS = 0.6
"""Of one way's turn."""

CORES = len(os.sched_getaffinity(0))


@dataclass
class Way:
    """One way of embedding, and its images a second, by batch size, in each round."""

    name: str
    embed: Callable[[Pixels], Vectors]
    rates: dict[int, list[float]] = field(default_factory=lambda: {batch: [] for batch in BATCHES})

    def median(self, batch: int) -> float:
        return statistics.median(self.rates[batch])


def measure(ways: list[Way], rounds: int) -> None:
    """Fills in the ways' rates. Each round begins with another way, so that none always runs on a hot core."""
    pixels = np.random.default_rng(0).integers(0, 256, (max(BATCHES), 224, 224, 3), dtype=np.uint8)
    for batch in BATCHES:
        for way in ways:
            way.embed(pixels[:batch])
        for turn in range(rounds):
            for way in ways[turn % len(ways) :] + ways[: turn % len(ways)]:
                way.rates[batch].append(rate(way.embed, pixels[:batch]))


def rate(embed: Callable[[Pixels], Vectors], pixels: Pixels) -> float:
    """Images a second: those of the median call in a turn."""
    embed(pixels)
    taken: list[float] = []
    end = time.perf_counter() + SECONDS
    while time.perf_counter() < end or len(taken) < 3:
        begun = time.perf_counter()
        embed(pixels)
        taken.append(time.perf_counter() - begun)
    return len(pixels) / statistics.median(taken)


def frozen(spec: ModelSpec, rows: int | None) -> Callable[[Pixels], Vectors]:
    """tf.function, frozen: the best that TensorFlow does on a CPU."""
    from daemon.engine import network  # noqa: PLC0415  # It imports TensorFlow.

    tensorflow = TensorFlow(memory_growth=True)
    tensorflow.use(None)
    call = tensorflow.compile(network.build(spec), rows)
    return lambda pixels: tensorflow.result(call(pixels))


def frozen_by_size(spec: ModelSpec) -> Callable[[Pixels], Vectors]:
    """The same, compiled for each batch size."""
    calls = {batch: frozen(spec, batch) for batch in BATCHES}
    return lambda pixels: calls[len(pixels)](pixels)


def predict(spec: ModelSpec) -> Callable[[Pixels], Vectors]:
    """Keras' `predict`, as one would write it in a minute."""
    from daemon.engine import network  # noqa: PLC0415  # It imports TensorFlow.

    model = network.build(spec)
    return lambda pixels: np.asarray(model.predict(pixels, verbose=0))


def onnx_runtime(spec: ModelSpec, threads: int = CORES) -> Callable[[Pixels], Vectors]:
    """ONNX Runtime on the same weights."""
    # Of requirements-bench.txt: the type checker does without it.
    onnxruntime: Any = import_module("onnxruntime")
    from benchmarks.onnx_model import onnx_model  # noqa: PLC0415  # As above.

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    # Threads that spin after a call would take the next way's time.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(onnx_model(spec).SerializeToString(), options, ["CPUExecutionProvider"])
    return lambda pixels: np.asarray(session.run(None, {"pixels": pixels})[0])


def sweep(path: Path) -> Iterator[Way]:
    """OpenVINO by itself, in every sensible configuration of rows in a request, streams and threads."""
    counts = sorted({1, CORES, 2 * CORES})
    for rows, streams, threads in product((1, 2, 4, 8, 16, 32), counts, sorted({1, CORES})):
        if streams <= 2 * threads:
            yield Way(
                f"OpenVINO: {rows} rows, {streams} streams, {threads} threads", configured(path, rows, streams, threads)
            )


def configured(path: Path, rows: int, streams: int, threads: int) -> Callable[[Pixels], Vectors]:
    """OpenVINO's queue of requests, so configured. A batch that is too small for its rows goes in one request."""
    openvino = import_openvino()
    core = openvino.Core()
    queues: dict[int, Any] = {}

    def queue(size: int) -> Any:
        if size not in queues:
            model = core.read_model(path)
            model.reshape([size, 224, 224, 3])
            hints = {"INFERENCE_PRECISION_HINT": "f32", "NUM_STREAMS": streams, "INFERENCE_NUM_THREADS": threads}
            queues[size] = openvino.AsyncInferQueue(core.compile_model(model, "CPU", hints), streams)
            queues[size].set_callback(lambda request, part: part.__setitem__(..., request.get_output_tensor(0).data))
        return queues[size]

    def embed(pixels: Pixels) -> Vectors:
        size = min(rows, len(pixels))
        vectors = np.empty((len(pixels), 1280), np.float32)
        for start in range(0, len(pixels), size):
            queue(size).start_async([pixels[start : start + size]], vectors[start : start + size], share_inputs=True)
        queue(size).wait_all()
        return vectors

    return embed


def best_of_sweep(path: Path) -> tuple[Way, str]:
    """OpenVINO's best configuration for each batch size: two short rounds over all of them, then the best."""
    ways = list(sweep(path))
    measure(ways, 2)
    best = {batch: max(ways, key=lambda way: way.median(batch)) for batch in BATCHES}
    found = "; ".join(f"b={batch}: {way.name.partition(': ')[2]}" for batch, way in best.items())
    return Way("OpenVINO, best of a sweep", lambda pixels: best[len(pixels)].embed(pixels)), found


def show(ways: list[Way], ours: Way) -> None:
    """The table: medians, and how many times as fast ours is."""
    print(f"\n{'images/s':42}" + "".join(f"{f'b={batch}':>9}" for batch in BATCHES) + "   ours / this, by batch")
    for way in ways:
        rates = "".join(f"{way.median(batch):9.0f}" for batch in BATCHES)
        ratios = "  ".join(f"{ratio(ours, way, batch):5.2f}" for batch in BATCHES)
        print(f"{way.name:42}{rates}   {ratios}")
    print("milliseconds of a lone image, ours: " + f"{1000 / ours.median(1):.2f}")


def ratio(first: Way, second: Way, batch: int) -> float:
    """The median over rounds of the ratio within a round: what slows the machine slows both."""
    pairs = zip(first.rates[batch], second.rates[batch], strict=True)
    return statistics.median(one / other for one, other in pairs)


def main() -> None:
    """Starts first: they are to be measured before this process fills the memory."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", default="untrained")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--batches", type=int, default=10_000)
    parser.add_argument("--no-starts", action="store_true", help="the speed alone")
    arguments = parser.parse_args()
    if not arguments.no_starts:
        show_starts(arguments.weights, arguments.batches)
    import_keras()
    with tempfile.TemporaryDirectory() as folder:
        compare(arguments.weights, Path(folder), arguments.rounds)


def compare(weights: str, state_dir: Path, rounds: int) -> None:
    """All ways in this process, checked against each other and then measured."""
    found = find_weights(weights, alpha=1.0, input_size=224, state_dir=state_dir)
    spec = ModelSpec(alpha=1.0, input_size=224, scaling="tf", weights=found)
    options = EngineOptions(state_dir=state_dir, device="cpu", backend="openvino")
    tensorflow = open_engine(spec, replace(options, backend="tensorflow"))
    ours = Way("vectord, openvino", open_engine(spec, options).embed)
    best, configurations = best_of_sweep(converted(spec, state_dir))
    ways = [
        ours,
        Way("vectord, tensorflow", tensorflow.embed),
        Way("Keras predict", predict(spec)),
        Way("tf.function, frozen, any rows", frozen(spec, None)),
        Way("tf.function, frozen, fixed rows", frozen_by_size(spec)),
        Way("ONNX Runtime", onnx_runtime(spec)),
        best,
        Way("vectord, openvino, bfloat16", open_engine(spec, replace(options, precision="bfloat16")).embed),
    ]
    agree(ways)
    measure(ways, rounds)
    show(ways, ours)
    print(f"the sweep's best: {configurations}")


def agree(ways: list[Way]) -> None:
    """That all compute the same thing."""
    pixels = np.random.default_rng(1).integers(0, 256, (8, 224, 224, 3), dtype=np.uint8)
    expected = ways[1].embed(pixels)
    for way in ways:
        cosine = float((way.embed(pixels) * expected).sum(axis=1).min())
        assert cosine > (0.98 if "bfloat16" in way.name else 0.99999), f"{way.name} computes something else: {cosine}"


if __name__ == "__main__":
    main()
