"""How many workers a cluster has room for."""

import pytest

from daemon.backfill.crew import Cluster, Crew
from daemon.errors import ConfigurationError

CPUS = Cluster(nodes=3, cpus=12, gpus=0)
GPUS = Cluster(nodes=3, cpus=12, gpus=4)


def crew(of: Cluster, *, loaders: int | None = None, embedders: int | None = None, device: str = "auto") -> Crew:
    return of.crew(loaders=loaders, embedders=embedders, connections=4, device=device)


def test_each_cpu_gets_a_loader_and_each_node_an_embedder() -> None:
    assert crew(CPUS) == Crew(loaders=12, embedders=3, connections=4, gpus=0)


def test_where_there_are_gpus_each_gets_an_embedder() -> None:
    assert crew(GPUS) == Crew(loaders=12, embedders=4, connections=4, gpus=1)


def test_a_node_that_offers_nothing_still_gets_one_of_each() -> None:
    assert crew(Cluster(nodes=1, cpus=0, gpus=0)) == Crew(loaders=1, embedders=1, connections=4, gpus=0)


def test_an_engine_that_is_to_use_the_cpu_asks_for_no_gpu() -> None:
    assert crew(GPUS, device="cpu") == Crew(loaders=12, embedders=3, connections=4, gpus=0)


def test_what_was_asked_for_counts() -> None:
    assert crew(GPUS, loaders=2, embedders=1) == Crew(loaders=2, embedders=1, connections=4, gpus=1)
    # Embedders without a GPU take no CPU from Ray either: a node may have several.
    assert crew(CPUS, embedders=30).embedders == 30


@pytest.mark.parametrize(
    ("of", "asked", "told"),
    [
        (CPUS, {"loaders": 13}, "--loaders 13: each takes a CPU, and the cluster has 12"),
        (GPUS, {"embedders": 5}, "--embedders 5: each takes a GPU, and the cluster has 4"),
        (CPUS, {"device": "gpu"}, "engine.device is 'gpu', but no node of the cluster offers Ray a GPU"),
        (CPUS, {"device": "gpu:1"}, "engine.device is 'gpu:1', but no node"),
    ],
)
def test_workers_that_would_wait_for_ever_are_refused(of: Cluster, asked: dict[str, object], told: str) -> None:
    with pytest.raises(ConfigurationError, match=told):
        of.crew(**{"loaders": None, "embedders": None, "connections": 4} | asked)  # type: ignore[arg-type]
