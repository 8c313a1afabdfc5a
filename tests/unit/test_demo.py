"""The demo's pictures: whatever their files are named, they can be served, stored and printed."""

import os
from pathlib import Path

import requests

from daemon.demo import pictures as gallery
from daemon.demo.run import named
from daemon.demo.tables import Neighbour

LONGEST_LOCATION = 500
"""Of the table that `init` makes: `users_source.sql`."""


def test_files_may_have_any_name(tmp_path: Path) -> None:
    long = tmp_path / ("花" * 60) / ("朵" * 70 + ".jpg")
    long.parent.mkdir()
    long.write_bytes(b"long")
    (tmp_path / "b[").mkdir()
    (tmp_path / "b[" / "x] ?#%.jpg").write_bytes(b"odd")
    Path(os.fsdecode(bytes(tmp_path) + b"/\xbb\xa8.jpg")).write_bytes(b"gbk")
    found = dict(enumerate(gallery.find(tmp_path, None), start=1))
    assert len(found) == 3
    with gallery.serve(found) as base:
        urls = {number: gallery.url(base, number, picture) for number, picture in found.items()}
        served = {number: requests.get(url, timeout=60).content for number, url in urls.items()}
        assert requests.get(base + "/4/none.jpg", timeout=60).status_code == 404
        assert requests.get(base + "/../../etc/passwd", timeout=60).status_code == 404
    assert served == {number: picture.path.read_bytes() for number, picture in found.items()}
    assert max(map(len, urls.values())) <= LONGEST_LOCATION
    for picture in found.values():
        assert picture.name.encode().decode() == picture.name


def test_files_that_print_alike_are_shown_apart() -> None:
    names = (b"a\xff.jpg", b"a\xfe.jpg", b"b.jpg")
    found = {n: gallery.Picture(path=Path(os.fsdecode(name)), label="") for n, name in enumerate(names)}
    nearest = [Neighbour(image=image, other=2, similarity=0.5) for image in (0, 1)]
    assert named(nearest, found) == [("a?.jpg", [("b.jpg", 0.5)])] * 2
