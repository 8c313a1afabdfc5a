"""A Ray cluster of this machine's, as a program that does what it is told by lines; each is answered by one.

In a process of its own: what Ray leaves to the collector and to its threads does not meet a daemon's there.
"""

import sys
from typing import Any

from ray.cluster_utils import Cluster

from tests.clusters import ANSWER

NODE: dict[str, Any] = {"num_cpus": 1, "object_store_memory": 100_000_000}
HEAD, OTHER = "127.0.0.2", "127.0.0.3"
"""Not 127.0.0.1: Ray takes that for the machine's outer address."""


def answer(text: str) -> None:
    sys.stdout.write(f"{ANSWER}{text}\n")
    sys.stdout.flush()


def obey(cluster: Cluster, order: str) -> None:
    match order:
        case "two":
            if not cluster.worker_nodes:
                cluster.add_node(**NODE, node_ip_address=OTHER)
            cluster.wait_for_nodes()
        case "kill one":
            cluster.remove_node(next(iter(cluster.worker_nodes)), allow_graceful=False)


def main() -> None:
    """Until standard input ends: each node a raylet with a CPU and an object store of its own, one to begin with."""
    head = NODE | {"node_ip_address": HEAD, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    answer(cluster.address)
    for line in sys.stdin:
        obey(cluster, line.strip())
        answer("done")
    cluster.shutdown()


if __name__ == "__main__":
    main()
