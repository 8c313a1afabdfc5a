"""Which engine will run, and why not the GPU. TensorFlow is imported only where a GPU is there or asked for."""

import ctypes
import os
from dataclasses import dataclass
from pathlib import Path

from daemon.doctor.findings import Finding, ok, problem, warning
from daemon.engine import EngineOptions
from daemon.engine.backends import open_backend
from daemon.engine.choose import GPU_FILES
from daemon.engine.openvino import CAPABILITIES
from daemon.engine.quiet import import_openvino
from daemon.errors import EngineError

CUDA = "libcuda.so.1"
"""The driver's own library, without which no CUDA library works."""
GPU_HELP = "see docs/systemd.md, GPU: the drop-in gpu.conf lets it in; or set engine.device to cpu"


@dataclass(frozen=True, slots=True, kw_only=True)
class Devices:
    """What was found. `gpus` and `framework`: what Keras' framework can use; None where it was not asked.

    `closed` are device files that this user may not open. `openvino_fault` is why OpenVINO cannot run; empty: it can.
    """

    files: tuple[str, ...]
    closed: tuple[str, ...]
    driver: bool
    framework: str | None
    gpus: tuple[str, ...] | None
    framework_fault: str
    openvino: str
    openvino_fault: str


def look_at_devices(options: EngineOptions, folder: Path = Path("/dev")) -> Devices:
    """`folder` is where the kernel shows its devices."""
    files = sorted(path for pattern in GPU_FILES for path in folder.glob(pattern))
    framework, gpus, fault = _framework(options) if _asks_framework(options, files) else (None, None, "")
    openvino, openvino_fault = _openvino(options)
    return Devices(
        files=tuple(map(str, files)),
        closed=tuple(str(path) for path in files if not os.access(path, os.R_OK | os.W_OK)),
        driver=_has_driver(),
        framework=framework,
        gpus=gpus,
        framework_fault=fault,
        openvino=openvino,
        openvino_fault=openvino_fault,
    )


def judge_devices(found: Devices, options: EngineOptions) -> Finding:
    """The engine that `open_engine` will come to."""
    if options.backend == "openvino":
        return _openvino_alone(found, options)
    if options.device.startswith("gpu"):
        return _gpu_asked_for(found, options.device)
    if options.device == "auto" and found.gpus:
        return ok("engine", f"{found.framework} on {found.gpus[0]}")
    unused = _why_no_gpu(found) if options.device == "auto" and found.files else ""
    return _on_the_cpu(found, options, unused)


def _asks_framework(options: EngineOptions, files: list[Path]) -> bool:
    if options.backend == "openvino" or options.device == "cpu":
        return options.backend == "tensorflow"
    return bool(files) or options.backend == "tensorflow" or options.device.startswith("gpu")


def _framework(options: EngineOptions) -> tuple[str | None, tuple[str, ...], str]:
    try:
        backend = open_backend(memory_growth=options.memory_growth)
        return f"{backend.name} {backend.version}", tuple(backend.gpus()), ""
    except EngineError as error:
        return None, (), str(error)


def _openvino(options: EngineOptions) -> tuple[str, str]:
    try:
        openvino = import_openvino()
    except EngineError as error:
        return "", str(error)
    version = f"openvino {str(openvino.__version__).partition('-')[0]}"
    if CAPABILITIES[options.precision] not in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        return version, f"this CPU cannot compute in {options.precision}"
    return version, ""


def _has_driver() -> bool:
    try:
        ctypes.CDLL(CUDA)
    except OSError:
        return False
    return True


def _openvino_alone(found: Devices, options: EngineOptions) -> Finding:
    if options.device.startswith("gpu"):
        told = f"engine.device is {options.device!r}, but OpenVINO is used on the CPU alone"
        return problem("engine", told, "set engine.backend to tensorflow, or engine.device to cpu")
    if found.openvino_fault:
        return problem("engine", found.openvino_fault, "pip install -r requirements.txt, or engine.precision = float32")
    return ok("engine", f"{found.openvino} on the CPU")


def _gpu_asked_for(found: Devices, device: str) -> Finding:
    number, gpus = int(device.partition(":")[2] or 0), found.gpus or ()
    if number < len(gpus):
        return ok("engine", f"{found.framework} on {gpus[number]}")
    told = f"engine.device is {device!r}, but {len(gpus) or 'no'} GPU can be used"
    return problem("engine", f"{told}: {_why_no_gpu(found)}", GPU_HELP)


def _why_no_gpu(found: Devices) -> str:
    """The first thing that is missing, from the hardware upwards."""
    if not found.files:
        return "no GPU's driver shows a device in /dev (PrivateDevices=yes hides them, and so does a container)"
    if found.closed:
        return f"this user may not open {', '.join(found.closed)}"
    if not found.driver and any("nvidia" in file for file in found.files):
        return f"the driver's library {CUDA} is not found"
    return found.framework_fault or f"{found.framework} finds no GPU: its CUDA libraries are missing or do not fit"


def _on_the_cpu(found: Devices, options: EngineOptions, unused: str) -> Finding:
    engine, fault = _cpu_engine(found, options)
    if not engine:
        return problem("engine", fault, "pip install -r requirements.txt")
    if why := "; ".join(filter(None, (unused, fault))):
        return warning(
            "engine", f"{engine} on the CPU, since {why}", GPU_HELP if unused else "engine.backend says which"
        )
    return ok("engine", f"{engine} on the CPU")


def _cpu_engine(found: Devices, options: EngineOptions) -> tuple[str, str]:
    """Its name, empty where there is none; and why it is not the better one."""
    if options.backend == "tensorflow":
        return found.framework or "", found.framework_fault
    if not found.openvino_fault:
        return found.openvino, ""
    return found.framework or "tensorflow", found.openvino_fault
