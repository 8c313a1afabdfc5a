"""The Keras engine on JAX and on PyTorch: the same code and the same vectors, where they are installed."""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from daemon.engine.backends import open_backend
from daemon.engine.quiet import import_keras
from daemon.errors import EngineError

TREE = Path(__file__).resolve().parents[2]

EMBED = """
import sys
from pathlib import Path
import numpy as np
from daemon.engine import EngineOptions, ModelSpec, find_weights, open_engine
folder = Path(sys.argv[1])
weights = find_weights("untrained", alpha=0.35, input_size=64, state_dir=folder)
spec = ModelSpec(alpha=0.35, input_size=64, scaling="tf", weights=weights)
options = EngineOptions(state_dir=folder, backend="tensorflow", device="cpu", batch_max=8, precision=sys.argv[2])
engine = open_engine(spec, options)
engine.warm_up()
pixels = np.load(folder / "pixels.npy")
np.save(folder / "together.npy", engine.embed(pixels))
np.save(folder / "alone.npy", np.concatenate([engine.embed(pixels[row : row + 1]) for row in range(3)]))
print(engine.describe().backend)
"""


def embedded(folder: Path, backend: str, precision: str = "float32") -> tuple[np.ndarray, np.ndarray]:
    """The vectors of 19 pictures together, and of the first three alone, by a process on that framework."""
    folder.mkdir()
    generator = np.random.default_rng(2)
    coarse = generator.integers(0, 256, (19, 8, 8, 3), dtype=np.uint8)
    np.save(folder / "pixels.npy", coarse.repeat(8, axis=1).repeat(8, axis=2))
    child = subprocess.run(
        [sys.executable, "-c", EMBED, str(folder), precision],
        cwd=TREE,
        env=os.environ | {"KERAS_BACKEND": backend},
        capture_output=True,
        text=True,
        timeout=170,
        check=False,
    )
    assert child.returncode == 0, child.stderr
    assert child.stdout.split() == [backend]
    return np.load(folder / "together.npy"), np.load(folder / "alone.npy")


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> np.ndarray:
    return embedded(tmp_path_factory.mktemp("expected") / "tensorflow", "tensorflow")[0]


@pytest.fixture(params=["jax", "torch"])
def backend(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    if find_spec(name) is None:
        pytest.skip(f"{name} is not installed; vectord does not need it, a machine may have it for its GPU")
    return name


def test_vectors_are_the_same_on_every_framework(backend: str, expected: np.ndarray, tmp_path: Path) -> None:
    together, alone = embedded(tmp_path / backend, backend)
    assert np.abs(together - expected).max() < 1e-5
    assert np.abs(together[:3] - alone).max() < 2e-6


def test_half_precision_is_near_on_every_framework(backend: str, expected: np.ndarray, tmp_path: Path) -> None:
    together, _ = embedded(tmp_path / backend, backend, "bfloat16")
    assert (together * expected).sum(axis=1).min() > 0.98
    assert np.abs(together - expected).max() > 1e-4


def test_an_unknown_framework_is_refused_in_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(import_keras().backend, "backend", lambda: "mlx")
    with pytest.raises(EngineError, match=r"^KERAS_BACKEND is 'mlx'; vectord knows tensorflow, jax, torch$"):
        open_backend(memory_growth=True)
