"""Contender 1, one by one: what the `/process/batch` of the service that vectord replaces does for each image."""

import sys
from io import BytesIO

import numpy as np
import psycopg2
import requests
from PIL import Image as Pillow

from benchmarks.contenders.contract import DIMENSION, SIDE, UNPROCESSED, Image, as_text, run
from daemon.engine.quiet import import_keras

INSERT = """
INSERT INTO tb_hsx_img_value (image_id, feature_vector, vector_dimension, model_version)
VALUES (%s, %s, %s, 'MobileNetV2')
"""


def main(dsn: str, weights: str) -> None:
    keras = import_keras()
    model = keras.applications.MobileNetV2(include_top=False, pooling="avg", weights=weights)
    preprocess = keras.applications.mobilenet_v2.preprocess_input
    model.predict(np.zeros((1, SIDE, SIDE, 3), np.float32), verbose=0)

    def work() -> None:
        with psycopg2.connect(dsn) as session, session.cursor() as cursor:
            cursor.execute(UNPROCESSED)
            for image in map(Image._make, cursor.fetchall()):
                answer = requests.get(image.url, timeout=30)
                answer.raise_for_status()
                picture = Pillow.open(BytesIO(answer.content)).convert("RGB").resize((SIDE, SIDE))
                pixels = preprocess(np.asarray(picture, np.float32)[None].copy())
                vector = model.predict(pixels, verbose=0)[0]
                vector /= np.linalg.norm(vector)
                cursor.execute(INSERT, (image.image_id, as_text(vector.tolist()), DIMENSION))
                session.commit()

    run(work)


if __name__ == "__main__":
    main(*sys.argv[1:])
