"""How `benchmarks.pipeline` drives a contender: it starts it, waits for "ready", says "go", and waits for "done".

A contender is a program of its own, called with the database's DSN and the weights file. Whatever it needs once
(imports, the model, compiling it) it does before "ready", so none of that is measured.
"""

import sys
from collections.abc import Callable, Sequence
from typing import NamedTuple

SIDE = 224
DIMENSION = 1280
UNPROCESSED = """
SELECT s.id, s.url FROM ecai.tb_image s
WHERE NOT EXISTS (SELECT FROM tb_hsx_img_value t WHERE t.image_id = s.id) ORDER BY s.id
"""


class Image(NamedTuple):
    """A row that has no vector yet."""

    image_id: int
    url: str


def run(work: Callable[[], None]) -> None:
    """Does the work when told to."""
    print("ready", flush=True)
    if sys.stdin.readline():
        work()
        print("done", flush=True)


def as_text(vector: Sequence[float]) -> str:
    """A vector as pgvector reads it."""
    return "[" + ",".join(map(str, vector)) + "]"
