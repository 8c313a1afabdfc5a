"""The fastest known kernels of each stage, each for one thread: what `benchmarks.limit` measures.

fetch   vectord's own, or raw sockets into a buffer that is there already; over one kept connection
decode  vectord's own, or simplejpeg (libjpeg-turbo at a fraction of the size) and the same resize
embed   OpenVINO in float32 with several numbers of rows; ONNX Runtime
store   COPY BINARY straight into the table with the HNSW index, in one transaction: nothing fenced, no queue
"""

import socket
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import psycopg2
from PIL import Image

from benchmarks.scene import DIMENSION
from daemon.engine import ModelSpec
from daemon.engine.quiet import import_openvino
from daemon.loader.decode import REDUCING_GAP, decode
from daemon.loader.options import FetchOptions
from daemon.loader.web import WebFetcher
from daemon.records import Pixels, Vectors

VECTORDS = "vectord's"
"""Among the kernels of a stage: what the daemon's own code does of it."""
SIDE = 224
MOST_BYTES = 8 << 20
MOST_PIXELS = 50_000_000
Embed = Callable[[Pixels], Vectors]


@dataclass(frozen=True, kw_only=True)
class Model:
    """MobileNetV2, and where OpenVINO's form of it is."""

    spec: ModelSpec
    path: Path


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
    made[VECTORDS] = lambda pictures: [_ours(data) for data in pictures]
    return made


def _simple(library: Any, data: bytes) -> Pixels:
    decoded = library.decode_jpeg(data, "RGB", min_height=2 * SIDE, min_width=2 * SIDE, min_factor=1)
    small = Image.fromarray(decoded).resize((SIDE, SIDE), Image.Resampling.BILINEAR, reducing_gap=REDUCING_GAP)
    return np.asarray(small)


def _ours(data: bytes) -> Pixels:
    return np.frombuffer(decode(data, size=SIDE, max_pixels=MOST_PIXELS), np.uint8).reshape(SIDE, SIDE, 3)


@cache
def embedders(model: Model) -> dict[str, Embed]:
    """OpenVINO with the numbers of rows that may be best on some machine, and ONNX Runtime where it is installed."""
    made = {f"OpenVINO, {rows} rows": _openvino(model.path, rows) for rows in (1, 4, 8)}
    if find_spec("onnxruntime"):
        from benchmarks.engine import onnx_runtime  # noqa: PLC0415  # Of requirements-bench.txt.

        made = {"ONNX Runtime": _by_32(onnx_runtime(model.spec, threads=1)), **made}
    return made


def _by_32(embed: Embed) -> Embed:
    return lambda pixels: np.concatenate([embed(pixels[at : at + 32]) for at in range(0, len(pixels), 32)])


def _openvino(path: Path, rows: int) -> Embed:
    openvino = import_openvino()
    core = openvino.Core()
    model = core.read_model(path)
    model.reshape([rows, SIDE, SIDE, 3])
    hints = {"INFERENCE_PRECISION_HINT": "f32", "NUM_STREAMS": 1, "INFERENCE_NUM_THREADS": 1}
    queue = openvino.AsyncInferQueue(core.compile_model(model, "CPU", hints), 2)
    queue.set_callback(lambda request, part: part.__setitem__(..., request.get_output_tensor(0).data))

    def embed(pixels: Pixels) -> Vectors:
        vectors = np.empty((len(pixels), DIMENSION), np.float32)
        for at in range(0, len(pixels), rows):
            queue.start_async([pixels[at : at + rows]], vectors[at : at + rows], share_inputs=True)
        queue.wait_all()
        return vectors

    return embed


def store(dsn: str, first: int, vectors: Vectors) -> None:
    """COPY BINARY of (image_id, feature_vector) straight into the table, for images with ids from `first` on."""
    fields = [("fields", ">i2"), ("id_length", ">i4"), ("id", ">i8"), ("length", ">i4")]
    wire = [("dimension", ">i2"), ("unused", ">i2"), ("values", ">f4", (DIMENSION,))]
    rows = np.zeros(len(vectors), np.dtype([*fields, *wire]))
    rows["fields"], rows["id_length"], rows["length"] = 2, 8, 4 + 4 * DIMENSION
    rows["id"], rows["dimension"], rows["values"] = first + np.arange(len(vectors)), DIMENSION, vectors
    packed = b"PGCOPY\n\xff\r\n\x00" + b"\x00" * 8 + rows.tobytes() + b"\xff\xff"
    with closing(psycopg2.connect(dsn)) as session, session, session.cursor() as cursor:
        cursor.copy_expert(
            "COPY tb_hsx_img_value (image_id, feature_vector) FROM STDIN WITH (FORMAT BINARY)", BytesIO(packed)
        )
