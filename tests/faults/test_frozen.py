"""Daemons that stand still past their leases and go on: what they bring late is refused."""

import signal

from tests.faults import barrier
from tests.faults.barrier import Barrier
from tests.faults.scene import Scene
from tests.faults.verdict import unsettled

IMAGES = 48


def test_past_the_lease(scene: Scene) -> None:
    frozen = scene.start()
    with scene.fault(11, "SIGSTOP in fetch past the lease, SIGCONT") as fault:
        with scene.gallery.holding() as held:
            scene.insert(range(IMAGES))
            held.wait_for(4)
            frozen.send(signal.SIGSTOP)
        scene.start()
        scene.wait(lambda: not unsettled(scene.tables), "all of it done by the other")
        frozen.send(signal.SIGCONT)
        line = frozen.wait_for("store.overtaken")
        fault.note = f"{line['count']} late outcomes refused at once"
    assert scene.number("FROM tb_hsx_img_value") == IMAGES


def test_in_a_transaction(scene: Scene) -> None:
    """What it has locked would be locked for ever; the server ends its transaction when its leases are over."""
    at = Barrier(scene.dsn, barrier.STORE)
    frozen = scene.start()
    with scene.fault(11, "SIGSTOP in the store's transaction, SIGCONT when the other has done its work"):
        with at:
            scene.insert(range(IMAGES))
            at.wait_for_someone()
            frozen.send(signal.SIGSTOP)
        scene.start()
        scene.wait(lambda: not unsettled(scene.tables), "all of it done by the other")
        frozen.send(signal.SIGCONT)
        frozen.wait_for("store.overtaken")
