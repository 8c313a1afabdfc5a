"""The machine's limit: what an image takes in the fastest known kernel of each stage, each running alone.

    fetch   vectord's own, or raw sockets into a buffer that is there already; over one kept connection
    decode  vectord's own, or simplejpeg (libjpeg-turbo at a fraction of the size) and the same resize
    embed   OpenVINO in float32: several rows, streams and threads; ONNX Runtime
    store   COPY BINARY straight into the table with the HNSW index, in one transaction: nothing fenced, no queue

Of each stage, the kernel with the fewest processor seconds counts, those of the other end (the files' server or
PostgreSQL) included. Each stage works on what the one before it made of the same photographs.
"""

import os
import socket
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from io import BytesIO
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import psycopg2
from PIL import Image

from benchmarks.processes import processor_seconds
from benchmarks.scene import DIMENSION, Scene
from daemon.engine import ModelSpec, find_weights
from daemon.engine.converted import converted
from daemon.engine.quiet import import_openvino
from daemon.loader.decode import REDUCING_GAP, decode
from daemon.loader.options import FetchOptions
from daemon.loader.web import WebFetcher
from daemon.records import Pixels, Vectors

SIDE = 224
IMAGES = 256
MOST_BYTES = 8 << 20
STAGES = ("fetch", "decode", "embed", "store")
Spent = dict[str, float]
"""Processor seconds for an image: under "" this process's, under its name a helper's."""
Embed = Callable[[Pixels], Vectors]


@dataclass
class Limit:
    """What each kernel of each stage took, round by round."""

    spent: dict[tuple[str, str], list[Spent]] = field(default_factory=dict)

    def best(self, stage: str) -> tuple[str, Spent]:
        """The stage's cheapest kernel, and the medians of what it takes."""
        medians = {kernel: _medians(rounds) for (of, kernel), rounds in self.spent.items() if of == stage}
        kernel = min(medians, key=lambda name: sum(medians[name].values()))
        return kernel, medians[kernel]

    def own(self) -> float:
        """Of all stages, without the helpers."""
        return sum(self.best(stage)[1][""] for stage in STAGES)

    def helper(self, name: str) -> float:
        return sum(self.best(stage)[1].get(name, 0.0) for stage in STAGES)

    def seconds(self) -> float:
        """Core-seconds of all stages and helpers for an image."""
        return sum(sum(self.best(stage)[1].values()) for stage in STAGES)

    def rate(self, cores: int) -> float:
        """Images a second that so many cores cannot exceed."""
        return cores / self.seconds()


def _medians(rounds: Sequence[Spent]) -> Spent:
    return {name: statistics.median(one[name] for one in rounds) for name in rounds[0]}


def measure_limit(limit: Limit, on: Scene, images: int = IMAGES) -> None:
    """One round: all kernels of each stage, on what the stage before made."""
    with on.tables() as tables:
        tables.insert(images)
        urls = [on.urls[n % len(on.urls)] for n in range(images)]
        meter = Meter(limit, on, images)
        pictures = meter.take("fetch", {"vectord's": fetch_as_vectord, "raw sockets": fetch}, urls)
        pixels = np.stack(meter.take("decode", decoders(), pictures))
        vectors = meter.take("embed", embedders(on), pixels)
        meter.take("store", {"COPY BINARY": lambda rows: store(tables.dsn, rows)}, vectors)


@dataclass(frozen=True)
class Meter:
    """Runs kernels and notes what they took."""

    limit: Limit
    on: Scene
    images: int

    def take(self, stage: str, kernels: Mapping[str, Callable[[Any], Any]], given: Any) -> Any:
        """What the last of the kernels makes of what is given."""
        made = None
        for name, kernel in kernels.items():
            if stage != "store":
                kernel(given[:8])
            with self.noted(stage, name):
                made = kernel(given)
        return made

    @contextmanager
    def noted(self, stage: str, kernel: str) -> Iterator[None]:
        helpers, began = self._helpers(), time.process_time()
        yield
        spent = {"": time.process_time() - began}
        spent |= {name: seconds - helpers[name] for name, seconds in self._helpers().items()}
        own = {name: seconds / self.images for name, seconds in spent.items()}
        self.limit.spent.setdefault((stage, kernel), []).append(own)

    def _helpers(self) -> dict[str, float]:
        return {name: processor_seconds([pid]) for name, pid in self.on.helpers.items()}


def fetch_as_vectord(urls: Sequence[str]) -> list[bytes]:
    """The bodies, through all that guards a loader's fetches."""
    with closing(WebFetcher(FetchOptions(allow_networks=("127.0.0.0/8",), allow_ports=(0,)))) as fetcher:
        return [fetcher.fetch(url) for url in urls]


def fetch(urls: Sequence[str]) -> list[bytes]:
    """The bodies, over one connection."""
    place = urlsplit(urls[0])
    buffer = memoryview(bytearray(MOST_BYTES))
    with socket.create_connection((place.hostname, place.port)) as connection:
        return [_body(connection, urlsplit(url).path, buffer) for url in urls]


def _body(connection: socket.socket, path: str, buffer: memoryview) -> bytes:
    connection.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    have = 0
    while (end := bytes(buffer[:have]).find(b"\r\n\r\n", 0, 4096)) < 0:
        have += connection.recv_into(buffer[have:], 4096)
    head = bytes(buffer[:end]).lower()
    length = int(head.partition(b"content-length:")[2].partition(b"\r\n")[0])
    whole = end + 4 + length
    while have < whole:
        have += connection.recv_into(buffer[have:whole])
    return bytes(buffer[end + 4 : whole])


def decoders() -> dict[str, Callable[[Sequence[bytes]], list[Pixels]]]:
    """Ours last: its pixels go on to the model."""
    made: dict[str, Callable[[Sequence[bytes]], list[Pixels]]] = {}
    if find_spec("simplejpeg"):
        library: Any = import_module("simplejpeg")
        made["simplejpeg"] = lambda pictures: [_simple(library, data) for data in pictures]
    made["vectord's"] = lambda pictures: [_ours(data) for data in pictures]
    return made


def _simple(library: Any, data: bytes) -> Pixels:
    decoded = library.decode_jpeg(data, "RGB", min_height=2 * SIDE, min_width=2 * SIDE, min_factor=1)
    small = Image.fromarray(decoded).resize((SIDE, SIDE), Image.Resampling.BILINEAR, reducing_gap=REDUCING_GAP)
    return np.asarray(small)


def _ours(data: bytes) -> Pixels:
    return np.frombuffer(decode(data, size=SIDE, max_pixels=50_000_000), np.uint8).reshape(SIDE, SIDE, 3)


@cache
def embedders(on: Scene) -> dict[str, Embed]:
    """OpenVINO in the ways that may be best on some machine, and ONNX Runtime where it is installed."""
    cores = len(os.sched_getaffinity(0))
    weights = find_weights(str(on.weights), alpha=1.0, input_size=SIDE, state_dir=on.state_dir)
    spec = ModelSpec(alpha=1.0, input_size=SIDE, scaling="tf", weights=weights)
    path = converted(spec, on.state_dir)
    made = {
        f"OpenVINO, {rows} rows, {threads} threads": _openvino(path, rows, threads)
        for rows in (1, 4, 8)
        for threads in sorted({1, cores})
    }
    if find_spec("onnxruntime"):
        from benchmarks.engine import onnx_runtime  # noqa: PLC0415  # Of requirements-bench.txt.

        made = {"ONNX Runtime": _by_32(onnx_runtime(spec)), **made}
    return made


def _by_32(embed: Embed) -> Embed:
    return lambda pixels: np.concatenate([embed(pixels[at : at + 32]) for at in range(0, len(pixels), 32)])


def _openvino(path: Any, rows: int, threads: int) -> Embed:
    """One stream for each thread, so many rows in a request."""
    openvino = import_openvino()
    core = openvino.Core()
    model = core.read_model(path)
    model.reshape([rows, SIDE, SIDE, 3])
    hints = {"INFERENCE_PRECISION_HINT": "f32", "NUM_STREAMS": threads, "INFERENCE_NUM_THREADS": threads}
    queue = openvino.AsyncInferQueue(core.compile_model(model, "CPU", hints), 2 * threads)
    queue.set_callback(lambda request, part: part.__setitem__(..., request.get_output_tensor(0).data))

    def embed(pixels: Pixels) -> Vectors:
        vectors = np.empty((len(pixels), DIMENSION), np.float32)
        for at in range(0, len(pixels), rows):
            queue.start_async([pixels[at : at + rows]], vectors[at : at + rows], share_inputs=True)
        queue.wait_all()
        return vectors

    return embed


def store(dsn: str, vectors: Vectors) -> None:
    """COPY BINARY of (image_id, feature_vector) straight into the table."""
    fields = [("fields", ">i2"), ("id_length", ">i4"), ("id", ">i8"), ("length", ">i4")]
    wire = [("dimension", ">i2"), ("unused", ">i2"), ("values", ">f4", (DIMENSION,))]
    rows = np.zeros(len(vectors), np.dtype([*fields, *wire]))
    rows["fields"], rows["id_length"], rows["length"] = 2, 8, 4 + 4 * DIMENSION
    rows["id"], rows["dimension"], rows["values"] = 2001 + np.arange(len(vectors)), DIMENSION, vectors
    packed = b"PGCOPY\n\xff\r\n\x00" + b"\x00" * 8 + rows.tobytes() + b"\xff\xff"
    with closing(psycopg2.connect(dsn)) as session, session, session.cursor() as cursor:
        cursor.copy_expert(
            "COPY tb_hsx_img_value (image_id, feature_vector) FROM STDIN WITH (FORMAT BINARY)", BytesIO(packed)
        )


def show_limit(limit: Limit, cores: int) -> None:
    print("\nThe machine's limit: core-milliseconds of an image in the fastest kernel of each stage, alone\n")
    print("| stage | kernel | in the process | the other end | together |\n| --- | --- | --- | --- | --- |")
    for stage in STAGES:
        kernel, spent = limit.best(stage)
        other = sum(spent.values()) - spent[""]
        print(f"| {stage} | {kernel} | {1e3 * spent['']:.2f} | {1e3 * other:.2f} | {1e3 * sum(spent.values()):.2f} |")
    own, total = limit.own(), limit.seconds()
    print(f"| all | | {1e3 * own:.2f} | {1e3 * (total - own):.2f} | {1e3 * total:.2f} |")
    served = limit.helper("the files' server")
    print(f"\nLimit: {cores} cores / {1e3 * total:.2f} ms = {cores / total:.1f} images/s; ", end="")
    print(f"not counting the files' server, {cores / (total - served):.1f} images/s.")
