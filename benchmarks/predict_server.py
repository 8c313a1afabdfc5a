"""What the API is compared with: FastAPI and `model.predict` of one picture, as one would write it in an hour.

Prints its port once the model is warm. Arguments: the weights file.
"""

import socket
import sys
from io import BytesIO

import numpy as np
import uvicorn
from fastapi import FastAPI, UploadFile
from PIL import Image

from daemon.engine.quiet import import_keras

SIZE = 224


def make_app(weights: str) -> FastAPI:
    """One call at a time, since the model is shared."""
    keras = import_keras()
    model = keras.applications.MobileNetV2(alpha=1.0, include_top=False, pooling="avg", weights=weights)
    preprocess = keras.applications.mobilenet_v2.preprocess_input
    app = FastAPI()

    @app.post("/extract/upload")
    async def extract(file: UploadFile) -> dict[str, object]:
        with Image.open(BytesIO(await file.read())) as picture:
            pixels = np.asarray(picture.convert("RGB").resize((SIZE, SIZE), Image.Resampling.BILINEAR), np.float32)
        vector = model.predict(preprocess(pixels[None].copy()), verbose=0)[0]
        vector /= np.linalg.norm(vector)
        return {"feature_vector": vector.tolist(), "dimension": len(vector)}

    model.predict(np.zeros((1, SIZE, SIZE, 3), np.float32), verbose=0)
    return app


def main() -> None:
    app = make_app(sys.argv[1])
    listening = socket.create_server(("127.0.0.1", 0))
    print(listening.getsockname()[1], flush=True)
    uvicorn.Server(uvicorn.Config(app, log_level="critical")).run(sockets=[listening])


if __name__ == "__main__":
    main()
