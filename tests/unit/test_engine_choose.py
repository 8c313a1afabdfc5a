"""Which engine is opened for which options, and what is said when one cannot be."""

from pathlib import Path
from typing import Any, cast

import pytest

from daemon.engine import choose
from daemon.engine.choose import has_gpu_files, open_engine
from daemon.engine.protocol import EngineOptions, ModelSpec, WeightsFile
from daemon.errors import EngineError

SPEC = ModelSpec(alpha=1.0, input_size=224, scaling="tf", weights=WeightsFile(path=None, digest="0"))


class FakeBackend:
    """A framework with so many GPUs."""

    name = "tensorflow"
    version = "2.21.0"

    def __init__(self, gpus: int) -> None:
        self._gpus = gpus

    def gpus(self) -> list[str]:
        return [f"GPU {index}" for index in range(self._gpus)]


class FakeEngine:
    """Remembers what it was opened with."""

    def __init__(self, kind: str, gpu: int | None, fallback: str) -> None:
        self.opened = (kind, gpu)
        self.fallback = fallback

    def embed(self, pixels: object) -> None: ...


class Machine:
    """What there is: GPUs, and whether their files, the frameworks and the engines work."""

    def __init__(self, devices: Path) -> None:
        self.devices = devices
        self.gpus = 0
        self.asked = 0
        self.openvino_fault = ""
        self.gpu_fault = ""

    def plug(self, gpus: int = 1, *, usable: bool = True) -> None:
        for index in range(gpus):
            (self.devices / f"nvidia{index}").touch()
        self.gpus = gpus if usable else 0

    def open(self, **options: Any) -> FakeEngine:
        return cast("FakeEngine", open_engine(SPEC, EngineOptions(state_dir=Path(), **options), self.devices))

    def backend(self, *, memory_growth: bool) -> FakeBackend:
        self.asked += 1
        return FakeBackend(self.gpus)

    def keras(
        self, _spec: object, _options: object, _backend: object, *, gpu: int | None, fallback: str = ""
    ) -> FakeEngine:
        if gpu is not None and self.gpu_fault:
            raise RuntimeError(self.gpu_fault)
        return FakeEngine("keras", gpu, fallback)

    def openvino(self, _spec: object, _options: object, *, fallback: str = "") -> FakeEngine:
        if self.openvino_fault:
            raise EngineError(self.openvino_fault)
        return FakeEngine("openvino", None, fallback)


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    made = Machine(tmp_path)
    monkeypatch.setattr(choose, "open_backend", made.backend)
    monkeypatch.setattr(choose, "open_keras", made.keras)
    monkeypatch.setattr(choose, "OpenVinoEngine", made.openvino)
    return made


def test_auto_without_a_gpu_is_openvino_and_asks_no_framework(machine: Machine) -> None:
    engine = machine.open()
    assert (engine.opened, engine.fallback, machine.asked) == (("openvino", None), "", 0)


def test_auto_with_a_gpu_is_keras_on_it(machine: Machine) -> None:
    machine.plug()
    engine = machine.open()
    assert (engine.opened, engine.fallback) == (("keras", 0), "")


def test_auto_with_a_gpu_that_the_framework_cannot_use_says_so(machine: Machine) -> None:
    machine.plug(usable=False)
    engine = machine.open()
    assert engine.opened == ("openvino", None)
    assert "finds no usable GPU" in engine.fallback


def test_auto_with_a_gpu_that_fails_says_so(machine: Machine) -> None:
    machine.plug()
    machine.gpu_fault = "CUDA_ERROR_NO_DEVICE"
    engine = machine.open()
    assert engine.opened == ("openvino", None)
    assert "CUDA_ERROR_NO_DEVICE" in engine.fallback


def test_auto_without_openvino_is_keras_on_the_cpu(machine: Machine) -> None:
    machine.openvino_fault = "openvino cannot be imported"
    engine = machine.open()
    assert engine.opened == ("keras", None)
    assert engine.fallback == "openvino cannot be imported"


def test_auto_with_nothing_but_tensorflow_tells_both_reasons(machine: Machine) -> None:
    machine.plug(usable=False)
    machine.openvino_fault = "openvino cannot be imported"
    assert machine.open().fallback.endswith("; openvino cannot be imported")


def test_auto_on_the_cpu_leaves_a_gpu_alone(machine: Machine) -> None:
    machine.plug()
    engine = machine.open(device="cpu")
    assert (engine.opened, engine.fallback, machine.asked) == (("openvino", None), "", 0)


@pytest.mark.parametrize("backend", ["auto", "tensorflow"])
@pytest.mark.parametrize(("device", "gpu"), [("gpu", 0), ("gpu:0", 0), ("gpu:1", 1)])
def test_a_gpu_that_is_asked_for_is_taken(backend: str, device: str, gpu: int, machine: Machine) -> None:
    machine.plug(2)
    assert machine.open(backend=backend, device=device).opened == ("keras", gpu)


@pytest.mark.parametrize("backend", ["auto", "tensorflow"])
@pytest.mark.parametrize(
    ("gpus", "device", "said"),
    [(0, "gpu", "no usable GPU"), (1, "gpu:1", "1 usable GPU:"), (2, "gpu:2", "2 usable GPUs")],
)
def test_a_gpu_that_is_missing_is_an_error(backend: str, gpus: int, device: str, said: str, machine: Machine) -> None:
    machine.plug(gpus)
    with pytest.raises(EngineError, match=rf"engine\.device is '{device}', but tensorflow 2\.21\.0 finds {said}"):
        machine.open(backend=backend, device=device)


def test_a_gpu_that_fails_is_an_error(machine: Machine) -> None:
    machine.plug()
    machine.gpu_fault = "CUDA_ERROR_NO_DEVICE"
    with pytest.raises(EngineError, match=r"engine\.device is 'gpu', but tensorflow cannot use it: CUDA_ERROR"):
        machine.open(device="gpu")


def test_tensorflow_takes_a_gpu_when_there_is_one(machine: Machine) -> None:
    assert machine.open(backend="tensorflow").opened == ("keras", None)
    machine.plug()
    assert machine.open(backend="tensorflow").opened == ("keras", 0)
    assert machine.open(backend="tensorflow", device="cpu").opened == ("keras", None)


def test_tensorflow_that_cannot_use_the_gpu_says_so(machine: Machine) -> None:
    machine.plug(usable=False)
    assert "the machine has a GPU, but tensorflow 2.21.0 cannot use it" in machine.open(backend="tensorflow").fallback
    assert machine.open(backend="tensorflow", device="cpu").fallback == ""


def test_openvino_is_for_the_cpu_alone(machine: Machine) -> None:
    assert machine.open(backend="openvino").opened == ("openvino", None)
    with pytest.raises(EngineError, match=r"engine\.device is 'gpu', but vectord uses OpenVINO on the CPU alone"):
        machine.open(backend="openvino", device="gpu")


def test_openvino_that_is_asked_for_and_fails_is_an_error(machine: Machine) -> None:
    machine.openvino_fault = "openvino cannot be imported"
    with pytest.raises(EngineError, match="openvino cannot be imported"):
        machine.open(backend="openvino")


@pytest.mark.parametrize(("file", "found"), [("nvidia0", True), ("kfd", True), ("dxg", True), ("nvram", False)])
def test_gpus_show_in_dev(file: str, tmp_path: Path, *, found: bool) -> None:
    (tmp_path / file).touch()
    assert has_gpu_files(tmp_path) is found
