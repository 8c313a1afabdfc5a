"""The rule that every fault is judged by, row by row.

Every image ends with exactly one vector of the present signature, made from its present location, or with one dead job
and the right reason; nothing stays pending; nothing is left of images that are gone.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from tests.faults.gallery import Gallery
from tests.whole import Tables

FARTHEST = 1e-4
"""Between two vectors of one picture, made in batches of different sizes; those of two pictures lie much farther."""

Right = Mapping[int, str]
"""The right vector of each picture, as text."""

PRESENT = """(SELECT value FROM vectord.setting WHERE key = 'model')
|| ':g' || (SELECT generation FROM vectord.reprocess ORDER BY id DESC LIMIT 1)"""

UNSETTLED = f"""
SELECT CASE WHEN EXISTS (SELECT FROM vectord.job WHERE state = 'pending') THEN true ELSE EXISTS (
    SELECT FROM ecai.tb_image s
    WHERE NOT EXISTS (SELECT FROM tb_hsx_img_value t WHERE t.image_id = s.id AND t.model_version = {PRESENT})
      AND NOT EXISTS (SELECT FROM vectord.job j WHERE j.image_id = s.id AND j.state = 'dead')
) END
"""

ROWS = f"""
SELECT coalesce(s.id, t.image_id, j.image_id), s.url, t.model_version, t.model_version = {PRESENT},
       t.feature_vector <-> r.vector, j.state, j.reason
FROM ecai.tb_image s
FULL JOIN tb_hsx_img_value t ON t.image_id = s.id
FULL JOIN vectord.job j ON j.image_id = coalesce(s.id, t.image_id)
LEFT JOIN unnest(%(paths)s::text[], %(vectors)s::text[]) AS given (path, text)
       ON given.path = '/' || split_part(split_part(s.url, '?', 1), '/', 4)
LEFT JOIN LATERAL (SELECT given.text::vector AS vector) r ON true
"""


@dataclass(frozen=True, kw_only=True)
class Row:
    """An image with all that is known of it. No location: it is gone, and so should be the rest."""

    image: int
    location: str | None
    signature: str | None
    present: bool | None
    distance: float | None
    state: str | None
    reason: str | None


def unsettled(tables: Tables) -> bool:
    """Whether the end of some image is still to come: cheap enough to be asked after every change."""
    ((some,),) = tables.execute(UNSETTLED)
    return bool(some)


def faults(tables: Tables, gallery: Gallery, right: Right) -> list[str]:
    """What is not as it should be."""
    rows = list(_rows(tables, gallery, right))
    doubled = [image for image, count in Counter(row.image for row in rows).items() if count > 1]
    return [f"image {image} has more than one vector" for image in doubled] + [
        f"image {row.image}: {fault}" for row in rows if (fault := fault_of(row, gallery))
    ]


def _rows(tables: Tables, gallery: Gallery, right: Right) -> Iterator[Row]:
    given = {"paths": list(gallery.right), "vectors": [right[number] for number in gallery.right.values()]}
    for values in tables.execute(ROWS, given):
        yield Row(**dict(zip(Row.__dataclass_fields__, values, strict=True)))


def fault_of(row: Row, gallery: Gallery) -> str | None:
    """What is wrong with this image; None where all is well."""
    if row.location is None:
        return "it is gone, but not its vector or its job"
    if row.state == "pending":
        return f"its job is pending ({row.reason})"
    path = urlsplit(row.location).path
    if (reason := gallery.dead.get(path)) is not None:
        dead = (row.state, row.reason) == ("dead", reason)
        return None if dead else f"should be dead of {reason}: {_found(row)}"
    if row.state is not None or not row.present:
        return f"should have a vector and no job: {_found(row)}"
    if row.distance is None or row.distance > FARTHEST:
        return f"has the vector of another picture than {path}: distance {row.distance}"
    return None


def _found(row: Row) -> str:
    return f"signature {row.signature}, job {row.state} ({row.reason})"


def apart(right: Right) -> float:
    """How far the two pictures lie apart whose vectors are nearest."""
    vectors: list[list[Any]] = [[float(one) for one in text.strip("[]").split(",")] for text in right.values()]
    return min(_distance(one, other) for at, one in enumerate(vectors) for other in vectors[:at])


def _distance(one: list[Any], other: list[Any]) -> float:
    return float(sum((a - b) ** 2 for a, b in zip(one, other, strict=True)) ** 0.5)
