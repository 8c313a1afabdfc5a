"""Contender 3, a careful `tf.data` pipeline: parallel fetch and decode, prefetch, a compiled model, `execute_values`.

With "reduced" as its third argument, large JPEGs are decoded at a half, a quarter or an eighth, never below twice the
model's size, as vectord does: a trick that `tf.io.decode_jpeg` offers, but that pipelines rarely use.
"""

import sys
import threading
from typing import Any

import psycopg2
import requests
from psycopg2.extras import execute_values

from benchmarks.contenders.contract import DIMENSION, SIDE, UNPROCESSED, as_text, run
from daemon.engine.quiet import import_keras, import_quietly

BATCH = 32
THREADS = 8
"""That wait for the network, which AUTOTUNE is slow to find out."""
INSERT = "INSERT INTO tb_hsx_img_value (image_id, feature_vector, vector_dimension, model_version) VALUES %s"

keras = import_keras()
tf: Any = import_quietly("tensorflow")
local = threading.local()


def fetch(url: Any) -> Any:
    if not hasattr(local, "session"):
        local.session = requests.Session()
    answer = local.session.get(url.decode(), timeout=30)
    answer.raise_for_status()
    return answer.content


def decode(image_id: Any, data: Any) -> Any:
    picture = tf.io.decode_jpeg(data, channels=3, dct_method="INTEGER_FAST")
    return image_id, tf.image.resize(picture, (SIDE, SIDE))


def decode_reduced(image_id: Any, data: Any) -> Any:
    least = tf.reduce_min(tf.image.extract_jpeg_shape(data)[:2])
    which = tf.reduce_sum(tf.cast(least // (2 * SIDE) >= [2, 4, 8], tf.int32))
    ratios = (1, 2, 4, 8)
    ways = [
        lambda ratio=ratio: tf.io.decode_jpeg(data, channels=3, ratio=ratio, dct_method="INTEGER_FAST")
        for ratio in ratios
    ]
    return image_id, tf.image.resize(tf.switch_case(which, ways), (SIDE, SIDE))


def compiled(weights: str) -> Any:
    backbone = keras.applications.MobileNetV2(include_top=False, pooling="avg", weights=weights)

    def infer(pixels: Any) -> Any:
        return tf.math.l2_normalize(backbone(pixels / 127.5 - 1.0, training=False), axis=1)

    embed = tf.function(infer, input_signature=[tf.TensorSpec((None, SIDE, SIDE, 3), tf.float32)])
    embed(tf.zeros((BATCH, SIDE, SIDE, 3)))
    return embed


def batches(rows: list[tuple[int, str]], *, reduced: bool) -> Any:
    ids, urls = zip(*rows, strict=True)
    return (
        tf.data.Dataset.from_tensor_slices((list(ids), list(urls)))
        .map(lambda image_id, url: (image_id, tf.numpy_function(fetch, [url], tf.string)), num_parallel_calls=THREADS)
        .map(decode_reduced if reduced else decode, num_parallel_calls=tf.data.AUTOTUNE, deterministic=False)
        .batch(BATCH)
        .prefetch(tf.data.AUTOTUNE)
    )


def main(dsn: str, weights: str, how: str = "full") -> None:
    embed = compiled(weights)

    def work() -> None:
        with psycopg2.connect(dsn) as session, session.cursor() as cursor:
            cursor.execute(UNPROCESSED)
            for ids, pixels in batches(cursor.fetchall(), reduced=how == "reduced"):
                pairs = zip(ids.numpy().tolist(), embed(pixels).numpy().tolist(), strict=True)
                rows = [(image_id, as_text(vector), DIMENSION, "MobileNetV2") for image_id, vector in pairs]
                execute_values(cursor, INSERT, rows, page_size=BATCH)
                session.commit()

    run(work)


if __name__ == "__main__":
    main(*sys.argv[1:])
