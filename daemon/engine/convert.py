"""The Keras model as an OpenVINO model, made by a child process: TensorFlow's gigabyte goes when the child ends.

python -m daemon.engine.convert '{"alpha": 1.0, ...}' FOLDER
"""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from time import monotonic

from daemon.engine.protocol import ModelSpec, WeightsFile
from daemon.engine.quiet import import_openvino
from daemon.errors import EngineError
from daemon.wanted import LOOK_SECONDS, StillWanted, always

MODEL = "model.xml"
TENSORS = "model.bin"
"""OpenVINO's two files: the graph, and beside it the weights under the same stem."""

PATIENCE = 600.0
"""Seconds. It takes about eight on two cores; a machine so slow that it takes this long has another problem."""

TREE = Path(__file__).resolve().parents[2]


def convert_in_child(spec: ModelSpec, folder: Path, still_wanted: StillWanted = always) -> None:
    """Writes the model into `folder`. Raises `EngineError` with what the child said, and whatever `still_wanted` does
    meanwhile.
    """
    command = [sys.executable, "-m", "daemon.engine.convert", json.dumps(asdict(spec), default=str), str(folder)]
    # The conversion knows TensorFlow's graphs alone, and has no use for a GPU that others may be using.
    environment = os.environ | {"KERAS_BACKEND": "tensorflow", "CUDA_VISIBLE_DEVICES": "-1"}
    try:
        status, output, complaints = _run(command, environment, still_wanted)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise EngineError(f"the model could not be converted for OpenVINO: {error}") from error
    if status:
        said = (output or complaints).decode(errors="replace").strip().splitlines()
        raise EngineError(said[-1] if said else f"converting the model for OpenVINO ended with {status}")


def _run(command: list[str], environment: dict[str, str], still_wanted: StillWanted) -> tuple[int, bytes, bytes]:
    """The child's exit status, output and complaints. It ends with this call, however that ends."""
    with subprocess.Popen(  # noqa: S603  # Our own module, with our own arguments.
        command,
        cwd=TREE,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as child:
        try:
            output, complaints = _wait(child, still_wanted)
        except BaseException:
            child.kill()
            raise
    return child.returncode, output, complaints


def _wait(child: "subprocess.Popen[bytes]", still_wanted: StillWanted) -> tuple[bytes, bytes]:
    deadline = monotonic() + PATIENCE
    while True:
        try:
            return child.communicate(timeout=min(LOOK_SECONDS, PATIENCE))
        except subprocess.TimeoutExpired:
            still_wanted()
            if monotonic() >= deadline:
                raise subprocess.TimeoutExpired(child.args, PATIENCE) from None


def convert(spec: ModelSpec, folder: Path) -> None:
    """Builds the Keras model, freezes it and saves OpenVINO's form of it. Raises `EngineError`."""
    from daemon.engine import network  # noqa: PLC0415  # Only the child is to import TensorFlow.
    from daemon.engine.backends import TensorFlow  # noqa: PLC0415  # As above.

    openvino = import_openvino()
    tensorflow = TensorFlow(memory_growth=True)
    frozen = tensorflow.freeze(network.build(spec), rows=None)
    model = openvino.convert_model(frozen.graph)
    try:
        openvino.save_model(model, folder / MODEL, compress_to_fp16=False)
    except RuntimeError as error:
        # It says that writing went wrong, and not why: nearly always the disk is full.
        free = shutil.disk_usage(folder).free
        raise EngineError(
            f"the converted model cannot be written to {folder} (key database.state_dir), where {free:,} bytes are "
            f"free: {error}"
        ) from error


def parsed(text: str) -> ModelSpec:
    """The inverse of what `convert_in_child` passes."""
    values = json.loads(text)
    path = values["weights"]["path"]
    weights = WeightsFile(path=path and Path(path), digest=values["weights"]["digest"])
    return ModelSpec(**values | {"weights": weights})


def main() -> int:
    """The child: 0, or 1 with one sentence on standard output."""
    try:
        convert(parsed(sys.argv[1]), Path(sys.argv[2]))
    except EngineError as error:
        sys.stdout.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
