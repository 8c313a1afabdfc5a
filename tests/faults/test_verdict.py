"""The rule and the report themselves: a rule that sees nothing wrong would let every fault pass."""

import pytest

from tests.faults.gallery import GONE
from tests.faults.report import BEGIN, END, Row, lost, page, rows_in
from tests.faults.scene import Scene
from tests.faults.verdict import FARTHEST, unsettled

TARGET = "INSERT INTO tb_hsx_img_value (image_id, feature_vector, model_version)"
DEEDS = {
    "the vector of another picture": f"""DELETE FROM tb_hsx_img_value WHERE image_id = 1;
        {TARGET} SELECT 1, feature_vector, model_version FROM tb_hsx_img_value WHERE image_id = 2""",
    "should have a vector and no job: signature old": """
        UPDATE tb_hsx_img_value SET model_version = 'old' WHERE image_id = 1""",
    "should have a vector and no job: signature None": "DELETE FROM tb_hsx_img_value WHERE image_id = 1",
    "its job is pending": "INSERT INTO vectord.job (image_id) VALUES (1)",
    "it is gone": "INSERT INTO vectord.job (image_id) VALUES (77)",
    "should be dead of not_found": "UPDATE vectord.job SET reason = 'gone' WHERE image_id = 3",
    "more than one vector": f"""
        ALTER TABLE tb_hsx_img_value DROP CONSTRAINT tb_hsx_img_value_image_id_key;
        {TARGET} SELECT image_id, feature_vector, model_version FROM tb_hsx_img_value WHERE image_id = 2""",
}


@pytest.fixture
def settled(scene: Scene) -> Scene:
    """Two images with vectors, a dead one, and no daemon."""
    daemon = scene.start()
    scene.insert([1, 2])
    scene.insert([3], GONE)
    scene.wait(lambda: not unsettled(scene.tables), "three settled")
    assert daemon.stop() == 0
    assert scene.wrong() == []
    return scene


def test_the_rule_sees_what_is_wrong(settled: Scene) -> None:
    for wrong, sql in DEEDS.items():
        before = settled.wrong()
        settled.tables.execute(sql)
        assert any(wrong in one for one in set(settled.wrong()) - set(before)), wrong


def test_the_right_vectors_tell_the_pictures_apart(scene: Scene) -> None:
    assert scene.nearest() > 100 * FARTHEST


def test_the_report_is_read_as_it_was_written() -> None:
    rows = [
        Row(
            number=2, fault="PostgreSQL stopped", images=3, twice=0, seconds=1.5, note="two daemons", test="a.py::b[c]"
        ),
        Row(number=10, fault="all gone", images=3, twice=1, seconds=0.0, test="a.py::d"),
    ]
    text = page(f"# Title\n\n{BEGIN}\nold\n{END}\nafter\n", rows[::-1])
    assert rows_in(text) == rows
    assert text.startswith("# Title")
    assert text.endswith("after\n")


def test_a_row_that_goes_does_not_go_unsaid() -> None:
    rows = [Row(number=1, fault="f", images=3, twice=0, seconds=1.5, test=test) for test in ("a", "b", "c")]
    assert lost(rows, {"a", "b"}, rows[:1]) == ["b"]
