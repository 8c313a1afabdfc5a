"""What PostgreSQL's EXPLAIN (FORMAT JSON) says."""

from collections.abc import Iterator
from typing import Any

Node = dict[str, Any]


def nodes(plan: Node) -> Iterator[Node]:
    """The plan's root, and all nodes below it."""
    yield plan
    for child in plan.get("Plans", []):
        yield from nodes(child)


def buffers(plan: Node) -> int:
    """Pages that were read, from the cache or not, with those of the nodes below."""
    return int(plan["Shared Hit Blocks"]) + int(plan["Shared Read Blocks"])
