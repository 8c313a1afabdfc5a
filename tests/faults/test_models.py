"""The model that changes in the middle, a reprocess that is interrupted again and again, daemons that disagree."""

import re
from pathlib import Path

import pytest

from tests.faults.scene import Scene
from tests.faults.verdict import unsettled
from tests.whole import call

IMAGES = 100
PLAIN = ("-m", "daemon")
OTHER = {"VECTORD_MODEL__SCALING": "unit"}
VERSIONS = "SELECT model_version, count(*) FROM tb_hsx_img_value GROUP BY 1 ORDER BY 1"


@pytest.fixture
def backfill(scene: Scene) -> Scene:
    """Images that were there before the daemon, which come slowly."""
    scene.gallery.pause = 0.02
    scene.insert(range(IMAGES))
    return scene


@pytest.mark.slow
def test_changed_in_a_backfill(backfill: Scene) -> None:
    first = backfill.start()
    with backfill.fault(14, "the model changed in the middle of a backfill", model=OTHER) as fault:
        backfill.wait_for_vectors(IMAGES // 4)
        first.stop()
        fault.note = f"{backfill.number('FROM tb_hsx_img_value')} had the old model's vectors"
        second = backfill.start(PLAIN, **OTHER)
    assert backfill.tables.execute(VERSIONS) == [(second.heard("daemon.ready")[0]["signature"], IMAGES)]


@pytest.mark.slow
def test_a_reprocess_interrupted_ten_times(backfill: Scene) -> None:
    backfill.gallery.pause = 0.0
    # Few enough that most are in work at each death.
    backfill.insert(range(IMAGES, 2 * IMAGES))
    daemon = backfill.start(PLAIN)
    backfill.wait(lambda: not unsettled(backfill.tables), "the first vectors")
    backfill.gallery.pause = 0.02
    with backfill.fault(14, "a reprocess, its daemon killed ten times") as fault:
        asked = call(backfill.variables, "reprocess")
        assert asked.returncode == 0, asked.stderr
        done = []
        for turn in range(1, 11):
            wait_for_renewed(backfill, turn * 8)
            daemon.kill()
            done.append(renewed(backfill))
            daemon = backfill.start(PLAIN)
        fault.note = f"vectors made anew at each kill: {', '.join(map(str, done))}"
    # It went on where it was: nothing that was done was done again.
    assert done == sorted(done)
    assert re.search(":g1$", backfill.tables.execute(VERSIONS)[0][0])


def wait_for_renewed(scene: Scene, least: int) -> None:
    scene.wait(lambda: renewed(scene) >= least, "a little more of it")


def renewed(scene: Scene) -> int:
    return scene.number("FROM tb_hsx_img_value WHERE model_version LIKE '%:g1'")


@pytest.mark.slow
def test_two_daemons_that_disagree(backfill: Scene, tmp_path: Path) -> None:
    """The newer configuration wins; the older one stands back, says so, and never undoes the other's work."""
    older = backfill.start()
    with backfill.fault(14, "two daemons with different models", model=OTHER) as fault:
        backfill.wait_for_vectors(IMAGES // 4)
        newer = backfill.start(PLAIN, **OTHER, VECTORD_DATABASE__STATE_DIR=str(tmp_path))
        assert newer.wait_for("model.replaced")["level"] == "warning"
        said = older.wait_for("signature.superseded")
        assert (said["level"], said["remedy"]) == ("warning", "stop one of the daemons")
        fault.note = "the newer wins"
    theirs = newer.heard("daemon.ready")[0]["signature"]
    assert backfill.tables.execute(VERSIONS) == [(theirs, IMAGES)]
    # The older one, started again, is still the older one: no ping-pong.
    older.kill()
    again = backfill.start()
    backfill.insert(range(IMAGES, IMAGES + 20))
    backfill.wait(lambda: not unsettled(backfill.tables), "new images")
    assert again.heard("signature.superseded") or not again.health("/ready")["ready"]
    assert backfill.tables.execute(VERSIONS) == [(theirs, IMAGES + 20)]
