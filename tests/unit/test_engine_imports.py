"""What is not imported: neither framework by the package, no TensorFlow by a warm start, no telemetry by anything."""

import json
import subprocess
import sys
from pathlib import Path

FRAMEWORKS = ("tensorflow", "keras", "jax", "torch", "openvino", "openvino_telemetry", "h5py")
TREE = Path(__file__).resolve().parents[2]

LOADED = f"""
import json, sys
print(json.dumps([name for name in {FRAMEWORKS} if sys.modules.get(name)]))
"""

START = """
from pathlib import Path
import numpy as np
from daemon.engine import EngineOptions, ModelSpec, find_weights, open_engine
state = Path({state!r})
weights = find_weights("untrained", alpha=0.35, input_size=32, state_dir=state)
spec = ModelSpec(alpha=0.35, input_size=32, scaling="tf", weights=weights)
engine = open_engine(spec, EngineOptions(state_dir=state, backend="openvino"))
engine.warm_up()
assert engine.embed(np.zeros((3, 32, 32, 3), np.uint8)).shape == (3, 1280)
"""


def loaded_after(code: str) -> tuple[list[str], str]:
    """Which frameworks a fresh interpreter has imported after the code, and what it wrote to standard error."""
    child = subprocess.run(
        [sys.executable, "-c", code + LOADED], cwd=TREE, capture_output=True, text=True, timeout=120, check=False
    )
    assert child.returncode == 0, child.stderr
    names: list[str] = json.loads(child.stdout.splitlines()[-1])
    return names, child.stderr


def test_importing_the_package_imports_no_framework() -> None:
    assert loaded_after("import daemon.engine") == ([], "")


def test_openvino_never_brings_tensorflow_into_the_daemon(tmp_path: Path) -> None:
    code = START.format(state=str(tmp_path))
    for _start in ("cold", "warm"):
        assert loaded_after(code) == (["openvino"], "")
        assert len(list((tmp_path / "openvino").glob("*/model.xml"))) == 1


def test_the_conversion_imports_no_telemetry_and_keras_says_nothing() -> None:
    names, said = loaded_after("import daemon.engine.network\nfrom daemon.engine.quiet import *\nimport_openvino()")
    assert "openvino_telemetry" not in names
    assert {"tensorflow", "keras", "openvino"} <= set(names)
    assert said == ""


def test_what_is_logged_meanwhile_is_shown(tmp_path: Path) -> None:
    (tmp_path / "framework.py").write_text(
        """
import logging, os, structlog, sys
os.write(2, b"chatter of C++\\n")
print("chatter of Python", file=sys.stderr)
structlog.get_logger().warning("one.thread")
logging.getLogger("two").warning("another.thread")
"""
    )
    code = f"""
import sys
from daemon.engine.quiet import import_quietly
from daemon.telemetry import logs
sys.path.insert(0, {str(tmp_path)!r})
logs.configure(level="info", form="json")
import_quietly("framework")
logs.configure(level="info", form="json")
import structlog
structlog.get_logger().warning("later")
"""
    names, said = loaded_after(code)
    assert names == []
    assert [json.loads(line)["event"] for line in said.splitlines()] == ["one.thread", "another.thread", "later"]


def test_an_installation_that_cannot_be_imported_says_so() -> None:
    code = """
import sys
sys.modules["openvino"] = None
from daemon.engine.quiet import import_openvino
from daemon.errors import EngineError
try:
    import_openvino()
except EngineError as error:
    assert "openvino cannot be imported" in str(error), error
else:
    raise SystemExit("imported")
"""
    assert loaded_after(code) == ([], "")
