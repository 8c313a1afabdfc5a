"""What becomes of a failure: decided by its reason's class, the attempt, and nothing else."""

from dataclasses import replace
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.errors import FailureClass, Reason
from daemon.policy import LONGEST_DELAY, SYSTEM_DELAY_ATTEMPTS, Pause, RetryPolicy, backoff, decide
from daemon.records import Claim, Dead, Failure, Retry

POLICY = RetryPolicy(max_attempts=5, base_seconds=8.0)
OF_CLASS = {kind: [reason for reason in Reason if reason.failure_class is kind] for kind in FailureClass}


def failure(reason: Reason, *, attempt: int = 1, suspect: bool = False, retry_after: float | None = None) -> Failure:
    claim = Claim(image_id=1, revision=1, token=UUID(int=1), location="x", attempt=attempt, suspect=suspect)
    return Failure(claim=claim, stage="load", reason=reason, detail="why", retry_after=retry_after)


@pytest.mark.parametrize("reason", OF_CLASS[FailureClass.PERMANENT])
def test_a_permanent_fault_is_final_at_once(reason: Reason) -> None:
    fault = failure(reason, retry_after=5.0)
    assert decide(fault, POLICY, 0.5) == Dead(claim=fault.claim, stage="load", reason=reason, detail="why")


@pytest.mark.parametrize("reason", OF_CLASS[FailureClass.TRANSIENT])
@pytest.mark.parametrize(
    ("attempt", "retry_after", "draw", "delay"),
    [
        (1, None, 0.0, 4.0),
        (1, None, 0.5, 6.0),
        (2, None, 0.0, 8.0),
        (3, None, 0.5, 24.0),
        (4, None, 0.0, 32.0),
        # Retry-After is honoured where it is longer, and never for more than the longest.
        (1, 100.0, 0.0, 100.0),
        (4, 1.0, 0.0, 32.0),
        (1, 1e9, 0.0, LONGEST_DELAY),
        (1, 0.0, 0.0, 4.0),
    ],
)
def test_a_transient_fault_is_tried_again_later(
    reason: Reason, attempt: int, retry_after: float | None, draw: float, delay: float
) -> None:
    fault = failure(reason, attempt=attempt, retry_after=retry_after)
    assert decide(fault, POLICY, draw) == Retry(
        claim=fault.claim, stage="load", reason=reason, detail="why", delay=delay, charged=True
    )


@pytest.mark.parametrize("reason", OF_CLASS[FailureClass.TRANSIENT])
@pytest.mark.parametrize(("attempt", "final"), [(4, False), (5, True), (6, True)])
def test_a_transient_fault_is_final_after_the_last_attempt(reason: Reason, attempt: int, final: bool) -> None:  # noqa: FBT001 - a parameter of the test
    assert isinstance(decide(failure(reason, attempt=attempt), POLICY, 0.5), Dead) is final


@pytest.mark.parametrize("reason", OF_CLASS[FailureClass.CRASH])
@pytest.mark.parametrize("attempt", [1, 5, 9])
def test_a_crash_is_tried_again_alone_and_then_final(reason: Reason, attempt: int) -> None:
    first = decide(failure(reason, attempt=attempt), POLICY, 0.5)
    assert isinstance(first, Retry)
    assert (first.delay, first.charged) == (0.0, True)
    assert isinstance(decide(failure(reason, attempt=attempt, suspect=True), POLICY, 0.5), Dead)


@pytest.mark.parametrize("reason", OF_CLASS[FailureClass.SYSTEM])
@pytest.mark.parametrize("attempt", [1, 5, 99])
@pytest.mark.parametrize("suspect", [True, False])
def test_a_fault_of_the_system_charges_nobody(reason: Reason, attempt: int, suspect: bool) -> None:  # noqa: FBT001 - a parameter of the test
    outcome = decide(failure(reason, attempt=attempt, suspect=suspect), POLICY, 0.0)
    assert isinstance(outcome, Retry)
    assert (outcome.charged, outcome.delay) == (False, backoff(POLICY, SYSTEM_DELAY_ATTEMPTS, 0.0))


@pytest.mark.parametrize("reason", [one for one in Reason if one.failure_class is not FailureClass.SYSTEM])
@pytest.mark.parametrize("attempt", [1, 99])
def test_a_location_that_a_caller_gave_says_nothing_of_the_image(reason: Reason, attempt: int) -> None:
    own = failure(reason, attempt=attempt, suspect=True, retry_after=5.0)
    outcome = decide(replace(own, claim=replace(own.claim, lent=True)), POLICY, 0.5)
    assert isinstance(outcome, Retry)
    assert (outcome.delay, outcome.charged) == (0.0, False)


@pytest.mark.parametrize("reason", OF_CLASS[FailureClass.SYSTEM])
def test_a_location_that_a_caller_gave_waits_for_the_system_like_any_other(reason: Reason) -> None:
    own = failure(reason)
    outcome = decide(replace(own, claim=replace(own.claim, lent=True)), POLICY, 0.0)
    assert isinstance(outcome, Retry)
    assert (outcome.charged, outcome.delay) == (False, backoff(POLICY, SYSTEM_DELAY_ATTEMPTS, 0.0))


def test_a_fault_of_the_system_waits_as_long_as_it_is_told() -> None:
    outcome = decide(failure(Reason.HOST_UNAVAILABLE, retry_after=7.0), POLICY, 0.5)
    assert isinstance(outcome, Retry)
    assert outcome.delay == 7.0


def test_every_reason_has_a_name_of_its_own_and_comes_back_by_it() -> None:
    labels = [reason.label for reason in Reason]
    assert len(set(labels)) == len(labels)
    assert [Reason.from_label(label) for label in labels] == list(Reason)
    with pytest.raises(ValueError, match="no such reason"):
        Reason.from_label("bad luck")


@given(st.integers(1, 10**9), st.floats(0, 1, exclude_max=True), st.floats(0.001, 10**4))
def test_a_pause_lies_between_half_of_the_backoff_and_all_of_it(attempt: int, draw: float, base: float) -> None:
    policy = RetryPolicy(base_seconds=base)
    least, most = backoff(policy, attempt, 0.0), 2 * backoff(policy, attempt, 0.0)
    assert least <= backoff(policy, attempt, draw) <= most <= LONGEST_DELAY
    assert backoff(policy, attempt + 1, 0.0) >= least


@given(
    st.sampled_from(list(Reason)),
    st.integers(1, 100),
    st.booleans(),
    st.none() | st.floats(0, 10**12),
    st.floats(0, 1, exclude_max=True),
)
def test_whatever_fails_ends_or_waits_for_a_bounded_time(
    reason: Reason,
    attempt: int,
    suspect: bool,  # noqa: FBT001 - drawn
    retry_after: float | None,
    draw: float,
) -> None:
    fault = failure(reason, attempt=attempt, suspect=suspect, retry_after=retry_after)
    outcome = decide(fault, POLICY, draw)
    assert outcome.claim == fault.claim
    if isinstance(outcome, Retry):
        assert 0 <= outcome.delay <= LONGEST_DELAY
        assert outcome.charged is (reason.failure_class is not FailureClass.SYSTEM)
    else:
        assert isinstance(outcome, Dead)


def test_a_stage_pauses_longer_each_time_until_it_works_again() -> None:
    pause = Pause()
    assert [pause.next() for _ in range(8)] == [0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10.0, 10.0]
    pause.reset()
    assert pause.next() == 0.2
