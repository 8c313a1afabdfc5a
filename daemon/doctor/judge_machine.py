"""What the facts about this machine mean. Pure."""

from collections.abc import Iterator

from daemon.doctor.findings import Finding, ok, problem, warning
from daemon.doctor.machine import Machine, Needs

MEBIBYTE = 1024 * 1024
LEAST_DISK = 200 * MEBIBYTE
"""A converted model, its weights, and room to make them: 40 MiB for alpha 1.0, with the framework's temporary files."""
COMFORTABLE_DISK = 2 * 1024 * MEBIBYTE


def judge_machine(machine: Machine, needs: Needs) -> Iterator[Finding]:
    """A finding for each thing that runs out."""
    yield _disk(machine)
    yield _files(machine, needs)
    yield _shared_memory(machine, needs)
    yield _memory(machine, needs)


def _disk(machine: Machine) -> Finding:
    told = f"{_mebibytes(machine.disk_free)} free in {machine.state_dir}"
    if not machine.writable:
        remedy = "give the daemon's user the folder, or name another one in database.state_dir"
        return problem("disk", f"{machine.state_dir} cannot be written to by this user", remedy)
    if machine.disk_free < LEAST_DISK:
        return problem("disk", told, "make room, or name another folder in database.state_dir")
    if machine.disk_free < COMFORTABLE_DISK:
        return warning("disk", told, "make room before it runs out")
    return ok("disk", told)


def _files(machine: Machine, needs: Needs) -> Finding:
    told = f"{machine.open_files} may be open; the daemon needs {needs.open_files}"
    remedy = f"LimitNOFILE={needs.open_files + needs.http_waiting} in the unit, or `ulimit -n`"
    if machine.open_files < needs.open_files:
        return problem("open files", told, remedy)
    if machine.open_files < needs.open_files + needs.http_waiting:
        return warning("open files", f"{told}, and {needs.http_waiting} more for http.max_waiting", remedy)
    return ok("open files", f"{told} and {needs.http_waiting} for requests that wait")


def _shared_memory(machine: Machine, needs: Needs) -> Finding:
    told = f"{_mebibytes(needs.arena_bytes)} for the pictures in hand"
    if machine.memfd:
        return ok("shared memory", f"{told}, in memory without a name (memfd)")
    if machine.temporary_free < needs.arena_bytes:
        return problem(
            "shared memory", f"{told}: memfd is forbidden here and {machine.temporary} is too full", "make room there"
        )
    return warning(
        "shared memory", f"{told}, in {machine.temporary}, which is slower", "allow memfd_create in the sandbox"
    )


def _memory(machine: Machine, needs: Needs) -> Finding:
    told = f"loaders may take {_mebibytes(needs.loaders_bytes)} of {_mebibytes(machine.memory)}"
    if needs.loaders_bytes > machine.memory:
        return warning("memory", told, "lower loader.memory_mb or loader.processes")
    return ok("memory", told)


def _mebibytes(count: int) -> str:
    return f"{count / MEBIBYTE:,.0f} MiB"
