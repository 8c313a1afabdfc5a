"""How many workers a cluster has room for. Pure."""

from dataclasses import dataclass

from daemon.errors import ConfigurationError

CPU = "cpu"


@dataclass(frozen=True, slots=True, kw_only=True)
class Crew:
    """How many workers: loaders of a CPU each, embedders, of a GPU each where they use any, and connections."""

    loaders: int
    embedders: int
    connections: int
    gpus: int = 0
    """Of each embedder."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """What Ray says there is."""

    nodes: int
    cpus: int
    gpus: int

    def crew(self, *, loaders: int | None, embedders: int | None, connections: int, device: str = "auto") -> Crew:
        """A loader for each CPU; an embedder for each GPU, or else for each node, on the loaders' cores.

        `device` is `engine.device`. Raises `ConfigurationError` for workers that would wait for a CPU or GPU for ever.
        """
        gpus = 0 if device == CPU else self.gpus
        if device.startswith("gpu") and not gpus:
            raise ConfigurationError(f"engine.device is {device!r}, but no node of the cluster offers Ray a GPU")
        _require(loaders, self.cpus, "--loaders", "a CPU")
        if gpus:
            _require(embedders, gpus, "--embedders", "a GPU")
        return Crew(
            loaders=loaders or max(1, self.cpus),
            embedders=embedders or gpus or self.nodes,
            connections=connections,
            gpus=1 if gpus else 0,
        )


def _require(wanted: int | None, there: int, option: str, what: str) -> None:
    if wanted is not None and wanted > there:
        raise ConfigurationError(f"{option} {wanted}: each takes {what}, and the cluster has {there}")
