"""Contender 4, a PyTorch DataLoader with worker processes, transformers' MobileNetV2, and COPY.

Its weights are random, which makes no difference to the speed. The fourth argument says how the model runs:
"compiled" (torch.compile) or "channels_last". With "reduced" as the third, Pillow's `draft` decodes large JPEGs at a
fraction, as vectord does.
"""

import os
import sys
from importlib import import_module
from io import BytesIO
from typing import Any

import numpy as np
import requests
from PIL import Image as Pillow

from benchmarks.contenders.contract import DIMENSION, SIDE, UNPROCESSED, run

# Of requirements-bench.txt: the type checker does without them.
torch: Any = import_module("torch")
data: Any = import_module("torch.utils.data")
psycopg: Any = import_module("psycopg")
pgvector: Any = import_module("pgvector.psycopg")

BATCH = 32
COPY = """
COPY tb_hsx_img_value (image_id, feature_vector, vector_dimension, model_version) FROM STDIN WITH (FORMAT BINARY)
"""


class Photographs(data.Dataset):  # type: ignore[misc]  # PyTorch is not there for the type checker.
    """Ids and uint8 `[3, H, W]` pixels."""

    def __init__(self, rows: list[tuple[int, str]], *, reduced: bool) -> None:
        self._rows = rows
        self._reduced = reduced
        self._session: requests.Session | None = None

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> tuple[int, Any]:
        self._session = self._session or requests.Session()
        image_id, url = self._rows[index]
        answer = self._session.get(url, timeout=30)
        answer.raise_for_status()
        picture = Pillow.open(BytesIO(answer.content))
        if self._reduced:
            picture.draft("RGB", (2 * SIDE, 2 * SIDE))
        small = picture.convert("RGB").resize((SIDE, SIDE), Pillow.Resampling.BILINEAR)
        return image_id, torch.from_numpy(np.array(small)).permute(2, 0, 1)


def make_model(way: str) -> Any:
    library: Any = import_module("transformers")
    model = library.MobileNetV2Model(library.MobileNetV2Config(image_size=SIDE, tf_padding=False)).eval()
    model = model.to(memory_format=torch.channels_last)

    def embed(pixels: Any) -> Any:
        scaled = (pixels.float() / 127.5 - 1).contiguous(memory_format=torch.channels_last)
        return torch.nn.functional.normalize(model(scaled).pooler_output)

    made = torch.compile(embed) if way == "compiled" else embed
    with torch.inference_mode():
        for _ in range(3):
            made(torch.zeros((BATCH, 3, SIDE, SIDE), dtype=torch.uint8))
    return made


def main(dsn: str, _: str, how: str = "full", way: str = "compiled") -> None:
    cores = len(os.sched_getaffinity(0))
    embed = make_model(way)

    def work() -> None:
        with psycopg.connect(dsn) as session:
            pgvector.register_vector(session)
            rows = session.execute(UNPROCESSED).fetchall()
            photographs = Photographs(rows, reduced=how == "reduced")
            loader = data.DataLoader(photographs, batch_size=BATCH, num_workers=2 * cores, prefetch_factor=2)
            for ids, pixels in loader:
                with torch.inference_mode():
                    vectors = embed(pixels).numpy()
                store(session, ids.tolist(), vectors)

    run(work)


def store(session: Any, ids: list[int], vectors: Any) -> None:
    with session.cursor().copy(COPY) as copy:
        copy.set_types(["bigint", "vector", "integer", "varchar"])
        for image_id, vector in zip(ids, vectors, strict=True):
            copy.write_row((image_id, vector, DIMENSION, "MobileNetV2"))
    session.commit()


if __name__ == "__main__":
    main(*sys.argv[1:])
