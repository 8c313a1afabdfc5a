"""Contender 2, in bulk: chunks of 100 downloaded and decoded by ten threads, `model.predict` of 32, `executemany`."""

import sys
from collections.abc import Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from io import BytesIO
from typing import Any

import numpy as np
import psycopg2
import requests
from numpy.typing import NDArray
from PIL import Image as Pillow

from benchmarks.contenders.contract import DIMENSION, SIDE, UNPROCESSED, Image, as_text, run
from daemon.engine.quiet import import_keras

CHUNK = 100
THREADS = 10
BATCH = 32
INSERT = """
INSERT INTO tb_hsx_img_value (image_id, feature_vector, vector_dimension, model_version)
VALUES (%s, %s, %s, 'MobileNetV2')
"""


def load(image: Image) -> NDArray[np.float32]:
    answer = requests.get(image.url, timeout=30)
    answer.raise_for_status()
    return np.asarray(Pillow.open(BytesIO(answer.content)).convert("RGB").resize((SIDE, SIDE)), np.float32)


def main(dsn: str, weights: str) -> None:
    keras = import_keras()
    model = keras.applications.MobileNetV2(include_top=False, pooling="avg", weights=weights)
    preprocess = keras.applications.mobilenet_v2.preprocess_input
    model.predict(np.zeros((BATCH, SIDE, SIDE, 3), np.float32), batch_size=BATCH, verbose=0)

    def process(chunk: Sequence[Image], threads: Executor, cursor: Any) -> None:
        pixels = preprocess(np.stack(list(threads.map(load, chunk))))
        vectors = model.predict(pixels, batch_size=BATCH, verbose=0)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        rows = zip(chunk, vectors.tolist(), strict=True)
        cursor.executemany(INSERT, [(image.image_id, as_text(vector), DIMENSION) for image, vector in rows])

    def work() -> None:
        with ThreadPoolExecutor(THREADS) as threads, psycopg2.connect(dsn) as session, session.cursor() as cursor:
            cursor.execute(UNPROCESSED)
            images = [Image(*row) for row in cursor.fetchall()]
            for start in range(0, len(images), CHUNK):
                process(images[start : start + CHUNK], threads, cursor)
                session.commit()

    run(work)


if __name__ == "__main__":
    main(*sys.argv[1:])
