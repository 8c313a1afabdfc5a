"""The queue against a model of it: any order of claims, outcomes, crashes, updates and deletions, by several daemons.

Held at every step: what PostgreSQL says of each job is what the model says, a claim carries the present location, and
an image without a job has the vector of its present location. Held at the end: every image has such a vector, or one
dead job with a reason.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from daemon.db.encode import VectorColumn
from daemon.db.jobs import JobQueue
from daemon.db.outcomes import OutcomeWriter, Written
from daemon.errors import Reason
from daemon.policy import RetryPolicy, decide
from daemon.records import Claim, Dead, Failure, Outcome, Released, Retry, Stored
from tests.postgres import DIMENSION, Database

MAX_ATTEMPTS = 3
POLICY = RetryPolicy(max_attempts=MAX_ATTEMPTS, base_seconds=1000.0)
"""Nothing that waits comes due by itself while the test runs."""
IDS = st.integers(1, 4)
WORKERS = st.sampled_from(["one", "two", "three"])
PICK = st.integers(0, 10**6)
REASONS = st.sampled_from(
    [
        Reason.NOT_FOUND,
        Reason.READ_TIMEOUT,
        Reason.RATE_LIMITED,
        Reason.DECODER_CRASH,
        Reason.DECODER_TIMEOUT,
        Reason.ENGINE_FAILED,
        Reason.HOST_UNAVAILABLE,
    ]
)

JOBS = "SELECT image_id, revision, state, attempts, suspect, lease_token, reason FROM vectord.job"
VECTORS = "SELECT image_id, (feature_vector::real[])[1]::int FROM tb_hsx_img_value"


@dataclass
class Job:
    """What the model knows of a job."""

    revision: int = 1
    state: str = "pending"
    attempts: int = 0
    suspect: bool = False
    due: bool = True
    claim: Claim | None = None
    worker: str = ""
    expired: bool = False
    reason: str | None = None

    def lease(self, claim: Claim, worker: str) -> None:
        self.attempts += 1
        self.claim, self.worker, self.expired = claim, worker, False

    def free(self, *, due: bool) -> None:
        self.claim, self.expired, self.due = None, False, due

    @property
    def claimable(self) -> bool:
        return self.state == "pending" and (self.expired if self.claim else self.due)

    @property
    def suspected(self) -> bool:
        """It was in work at the death of so many daemons that it may have been the cause."""
        return self.claim is not None and MAX_ATTEMPTS <= self.attempts < 2 * MAX_ATTEMPTS

    @property
    def exhausted(self) -> bool:
        return self.claim is not None and self.attempts >= 2 * MAX_ATTEMPTS

    def die(self, reason: Reason) -> None:
        self.state, self.reason = "dead", reason.label
        self.free(due=False)


class QueueMachine(RuleBasedStateMachine):
    """Each rule does the same to the database and to the model."""

    database: Database

    def __init__(self) -> None:
        super().__init__()
        self.sql("TRUNCATE ecai.tb_image CASCADE")
        self.locations: dict[Any, int] = {}
        self.vectors: dict[Any, int] = {}
        self.jobs: dict[Any, Job] = {}
        self.claims: list[Claim] = []
        self.next_location = 0
        names, pool = self.database.names, self.database.pool
        self.queues = {
            worker: JobQueue(pool, names, worker=worker, lease_seconds=3600, max_attempts=MAX_ATTEMPTS)
            for worker in ("one", "two", "three")
        }
        column = VectorColumn(dimension=DIMENSION)
        self.writer = OutcomeWriter(pool, names, vector_column=column, signature="s")

    def sql(self, statement: str, parameters: Any = None) -> list[tuple[Any, ...]]:
        """Runs it on a session of the pool, since making one takes longer than all else here."""
        with self.database.pool.transaction() as cursor:
            cursor.execute(statement, parameters)
            return cursor.fetchall() if cursor.description else []

    def new_location(self) -> int:
        self.next_location += 1
        return self.next_location

    @initialize(images=st.sets(IDS, min_size=2))
    def begin(self, images: set[int]) -> None:
        for image in images:
            self.write(image)

    # What the users do.

    @rule(image=IDS)
    def write(self, image: int) -> None:
        """An image comes, or its location changes."""
        location = self.new_location()
        self.sql(
            "INSERT INTO ecai.tb_image (id, url) VALUES (%s, %s) ON CONFLICT (id) DO UPDATE SET url = EXCLUDED.url",
            (image, str(location)),
        )
        self.locations[image] = location
        before = self.jobs.get(image)
        self.jobs[image] = Job(revision=before.revision + 1 if before else 1)

    @rule(image=IDS)
    def touch(self, image: int) -> None:
        """Some other column changes: nothing is to happen."""
        self.sql("UPDATE ecai.tb_image SET md5 = md5(random()::text) WHERE id = %s", (image,))

    @rule(image=IDS)
    def delete(self, image: int) -> None:
        self.sql("DELETE FROM ecai.tb_image WHERE id = %s", (image,))
        for held in (self.locations, self.vectors, self.jobs):
            held.pop(image, None)

    # What the daemons do.

    @rule(worker=WORKERS, limit=st.integers(1, 4))
    def claim(self, worker: str, limit: int) -> None:
        claimable = {image for image, job in self.jobs.items() if job.claimable}
        claims = self.queues[worker].claim(limit)
        buried = self.bury(claimable)
        put_off = self.put_off(claimable)
        assert len(claims) + len(buried) + len(put_off) == min(limit, len(claimable))
        suspects = [claim for claim in claims if self.jobs[claim.image_id].suspected]
        assert len(suspects) == 1 or not (suspects or put_off)
        for claim in claims:
            job = self.jobs[claim.image_id]
            assert job.claimable
            assert not job.exhausted
            job.lease(claim, worker)
            assert (claim.revision, claim.attempt, claim.suspect) == (job.revision, job.attempts, job.suspect)
            assert claim.location == str(self.locations[claim.image_id])
        self.claims += claims

    @property
    def candidates(self) -> list[Claim]:
        """Claims to go on with: those that hold, and the last few that hold no more."""
        live = [claim for claim in self.claims if self.holds(claim)]
        return live + [claim for claim in self.claims if claim not in live][-2:]

    def bury(self, claimable: set[Any]) -> set[Any]:
        """Those that the claim found to have outlived every daemon."""
        dead = {row[0] for row in self.sql(JOBS) if row[6] == Reason.DAEMON_LOST.label}
        buried = {image for image in dead & claimable if self.jobs[image].exhausted}
        for image in buried:
            self.jobs[image].die(Reason.DAEMON_LOST)
        return buried

    def put_off(self, claimable: set[Any]) -> set[Any]:
        """Those that the claim left to their dead daemon for a while longer, since one of them is to be tried alone."""
        leases = dict(self.sql("SELECT image_id, lease_token FROM vectord.job WHERE lease_until > now()"))
        due = {image: self.jobs[image] for image in claimable if self.jobs[image].suspected}
        found = {image for image, job in due.items() if job.claim and leases.get(image) == job.claim.token}
        for image in found:
            self.jobs[image].expired = False
        return found

    @rule(worker=WORKERS)
    def die(self, worker: str) -> None:
        """A daemon is killed, or held up for longer than its leases last: they run out."""
        self.sql("UPDATE vectord.job SET lease_until = now() - interval '1 second' WHERE worker = %s", (worker,))
        for job in self.jobs.values():
            job.expired = job.expired or (job.claim is not None and job.worker == worker)

    @rule(worker=WORKERS, limit=st.integers(1, 4))
    def claim_and_die(self, worker: str, limit: int) -> None:
        self.claim(worker, limit)
        self.die(worker)

    @rule(worker=WORKERS, reason=REASONS, again=REASONS)
    def fail_twice(self, worker: str, reason: Reason, again: Reason) -> None:
        """One job after the other, as it comes due again."""
        for why in (reason, again):
            self.time_passes()
            self.claim(worker, 1)
            live = [claim for claim in self.claims if self.holds(claim)]
            self.write_outcomes([outcome(claim, why, 0) for claim in live])

    @rule(worker=WORKERS)
    def beat(self, worker: str) -> None:
        """A heartbeat brings back leases that ran out and were not taken over."""
        mine = [job for job in self.jobs.values() if job.claim is not None and job.worker == worker]
        assert self.queues[worker].renew(self.claims) == sum(job.claim is not None for job in self.jobs.values())
        for job in self.jobs.values():
            job.expired = False
        assert all(not job.expired for job in mine)

    @rule()
    def time_passes(self) -> None:
        """Whatever waits for its next try comes due."""
        self.sql("UPDATE vectord.job SET not_before = now() WHERE state = 'pending'")
        for job in self.jobs.values():
            job.due = job.state == "pending"

    @precondition(lambda self: self.claims)
    @rule(
        picks=st.lists(PICK, min_size=1, max_size=4, unique=True), reason=st.none() | REASONS, draw=st.floats(0, 0.99)
    )
    def finish(self, picks: list[int], reason: Reason | None, draw: float) -> None:
        """Work on some claims ends, of whatever age they are: with vectors, or with a failure each."""
        claims = {id(claim): claim for claim in (self.candidates[pick % len(self.candidates)] for pick in picks)}
        self.write_outcomes([outcome(claim, reason, draw) for claim in claims.values()])

    @precondition(lambda self: self.claims)
    @rule(pick=PICK, through_queue=st.booleans())
    def release(self, pick: int, through_queue: bool) -> None:  # noqa: FBT001 - drawn
        claim = self.candidates[pick % len(self.candidates)]
        if not through_queue:
            self.write_outcomes([Released(claim=claim)])
            return
        held = self.holds(claim)
        assert self.queues["one"].release([claim]) == int(held)
        if held:
            self.apply(Released(claim=claim))

    def write_outcomes(self, outcomes: list[Outcome]) -> None:
        held = [one for one in outcomes if self.holds(one.claim)]
        written = self.writer.write(outcomes)
        # Of one image, a stale claim and the present one may be among them.
        assert written.overtaken == tuple(one.claim for one in outcomes if one not in held)
        assert total(written) == len(held)
        for one in held:
            self.apply(one)

    def holds(self, claim: Claim) -> bool:
        job = self.jobs.get(claim.image_id)
        return job is not None and job.claim == claim

    def apply(self, done: Outcome) -> None:
        image, job = done.claim.image_id, self.jobs[done.claim.image_id]
        match done:
            case Stored():
                self.vectors[image] = self.locations[image]
                del self.jobs[image]
            case Dead():
                job.die(done.reason)
            case Released():
                job.attempts -= 1
                job.free(due=True)
            case Retry():
                job.attempts -= 0 if done.charged else 1
                job.suspect = job.suspect or done.reason in {Reason.DECODER_CRASH, Reason.DECODER_TIMEOUT}
                job.reason = done.reason.label
                job.free(due=done.delay == 0)

    # What always holds.

    @invariant()
    def the_database_is_as_the_model_says(self) -> None:
        rows = {row[0]: row[1:] for row in self.sql(JOBS)}
        assert rows == {
            image: (
                job.revision,
                job.state,
                job.attempts,
                job.suspect,
                job.claim.token if job.claim else None,
                job.reason,
            )
            for image, job in self.jobs.items()
        }
        assert dict(self.sql(VECTORS)) == self.vectors

    @invariant()
    def an_image_without_a_job_has_its_vector(self) -> None:
        for image, location in self.locations.items():
            assert image in self.jobs or self.vectors[image] == location

    def teardown(self) -> None:
        """Once everything works, everything gets done."""
        for _ in range(2 * MAX_ATTEMPTS + 1 + len(self.jobs)):
            for worker in self.queues:
                self.die(worker)
            self.time_passes()
            self.claim("one", 10)
            live = [job.claim for job in self.jobs.values() if job.claim is not None]
            self.write_outcomes([outcome(claim, None, 0) for claim in live])
        self.the_database_is_as_the_model_says()
        for image, location in self.locations.items():
            job = self.jobs.get(image)
            assert self.vectors.get(image) == location if job is None else job.state == "dead" and job.reason


def outcome(claim: Claim, reason: Reason | None, draw: float) -> Outcome:
    if reason is None:
        return Stored(claim=claim, vector=np.array([float(str(claim.location)), 0, 0, 1], dtype=np.float32))
    return decide(Failure(claim=claim, stage="load", reason=reason), POLICY, draw)


def total(written: Written) -> int:
    return written.stored + written.dead + written.retried + written.released


def test_the_queue_is_as_its_model(database: Database) -> None:
    class Machine(QueueMachine):
        pass

    Machine.database = database
    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=150,
            stateful_step_count=40,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
