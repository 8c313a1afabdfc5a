"""When all vectors are made anew, and whose model counts where two daemons differ: decided here, pure.

A signature is a model and a generation, `vectord:mobilenetv2_1.0_224:1a2b3c4d` and `:g0`. The database keeps the model
that counts and the highest generation; together they are the present signature.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

NEVER = "never"
ALWAYS = "always"
"""The modes of `reprocess.on_start`. Anything else is a tag."""

SWEEP_PAYLOAD = "sweep"
"""What a notification says when the sweep, and not only the claim, should look at once."""


class Standing(StrEnum):
    """How a daemon's signature stands beside the present one."""

    PRESENT = "present"
    """It is the same."""
    RAISED = "raised"
    """The same model, but the generation was raised meanwhile: the daemon goes on with the present signature."""
    SUPERSEDED = "superseded"
    """Another model counts since. This daemon neither feeds the queue nor stores, or the two would undo each other."""


def standing(own: str, present: str | None) -> Standing:
    """How `own` stands. Where no daemon has told its model yet (`present` is None), whoever comes is right."""
    if present is None or own == present:
        return Standing.PRESENT
    return Standing.RAISED if model_of(own) == model_of(present) else Standing.SUPERSEDED


def model_of(signature: str) -> str:
    """A signature without its generation."""
    model, mark, generation = signature.rpartition(":g")
    return model if mark and generation.isdigit() else signature


def with_generation(model: str, generation: int) -> str:
    """The signature of a model in a generation: the reverse of `model_of`."""
    return f"{model_of(model)}:g{generation}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """What one instance (a daemon of one machine, over all its restarts) left behind.

    `stopped`: its last run was asked to end. A crash, a watchdog or a power cut leaves it False.
    """

    model: str
    boot_id: str
    stopped: bool

    @classmethod
    def read(cls, values: Any) -> "Mark | None":
        """A mark out of its JSON; None where that is something else."""
        try:
            return cls(model=str(values["model"]), boot_id=str(values["boot_id"]), stopped=values["stopped"] is True)
        except (KeyError, TypeError):
            return None


@dataclass(frozen=True, slots=True, kw_only=True)
class StartFacts:
    """All that start-up goes by.

    `model` and `boot_id` are this run's, `last` is this instance's mark, `present_model` what the database goes by,
    `holder_alive` whether some daemon with that model was seen lately, `running` whether the last reprocess still
    runs, and `tag_known` whether this tag has raised the generation before.
    """

    mode: str
    model: str
    boot_id: str
    last: Mark | None
    present_model: str | None
    holder_alive: bool
    running: bool
    tag_known: bool


def takes_over(facts: StartFacts) -> bool:
    """Whether this daemon's model becomes the one that counts.

    The newer configuration wins, not the later start: an instance whose model is still the one it had before knows
    nothing new, so a restart or a reboot of it never takes the table back from a daemon that lives.
    """
    if facts.present_model in {None, facts.model} or facts.last is None:
        return True
    return facts.last.model != facts.model or not facts.holder_alive


def raises_generation(facts: StartFacts) -> bool:
    """Whether this start makes everything anew, by `reprocess.on_start`. A superseded daemon has no say."""
    if facts.mode == NEVER or not takes_over(facts):
        return False
    if facts.mode == ALWAYS:
        return operator_restarted(facts) and not facts.running
    return not facts.tag_known


def operator_restarted(facts: StartFacts) -> bool:
    """Whether somebody stopped this instance and started it again.

    A first start has no mark, a crash leaves no clean one, and a machine that booted since was rebooted.
    """
    return facts.last is not None and facts.last.stopped and facts.last.boot_id == facts.boot_id
