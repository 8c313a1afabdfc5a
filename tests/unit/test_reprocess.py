from dataclasses import replace

import pytest

from daemon.reprocess import (
    Mark,
    Standing,
    StartFacts,
    model_of,
    raises_generation,
    standing,
    takes_over,
    with_generation,
)

MODEL = "vectord:mobilenetv2_1.0_224:1a2b3c4d"
OTHER = "vectord:mobilenetv2_0.5_224:99999999"
CLEAN = Mark(model=MODEL, boot_id="boot", stopped=True)
FACTS = StartFacts(
    mode="always",
    model=MODEL,
    boot_id="boot",
    last=CLEAN,
    present_model=MODEL,
    holder_alive=False,
    running=False,
    tag_known=False,
)


@pytest.mark.parametrize(
    ("own", "present", "expected"),
    [
        (f"{MODEL}:g0", None, Standing.PRESENT),
        (f"{MODEL}:g0", f"{MODEL}:g0", Standing.PRESENT),
        (f"{MODEL}:g0", f"{MODEL}:g1", Standing.RAISED),
        (f"{MODEL}:g2", f"{MODEL}:g1", Standing.RAISED),
        (f"{MODEL}:g0", f"{OTHER}:g0", Standing.SUPERSEDED),
    ],
)
def test_how_a_signature_stands(own: str, present: str | None, expected: Standing) -> None:
    assert standing(own, present) is expected


def test_a_generation_is_put_on_and_taken_off() -> None:
    assert with_generation(f"{MODEL}:g3", 12) == f"{MODEL}:g12"
    assert model_of(f"{MODEL}:g12") == MODEL
    assert model_of(MODEL) == MODEL
    assert model_of("MobileNetV2-GPU") == "MobileNetV2-GPU"


@pytest.mark.parametrize(
    ("what", "changes", "expected"),
    [
        ("an operator's restart", {}, True),
        ("mode never", {"mode": "never"}, False),
        ("the first start ever", {"last": None}, False),
        ("a crash, a watchdog, kill -9", {"last": replace(CLEAN, stopped=False)}, False),
        ("a reboot after a clean stop", {"boot_id": "another boot"}, False),
        ("a power cut", {"boot_id": "another boot", "last": replace(CLEAN, stopped=False)}, False),
        ("an operator's restart while a reprocess runs", {"running": True}, False),
        ("a new tag", {"mode": "2026-11-23"}, True),
        ("a new tag on the first start", {"mode": "2026-11-23", "last": None}, True),
        ("a new tag after a crash", {"mode": "2026-11-23", "last": replace(CLEAN, stopped=False)}, True),
        ("a new tag while a reprocess runs", {"mode": "2026-11-23", "running": True}, True),
        ("a known tag", {"mode": "2026-11-23", "tag_known": True}, False),
        ("superseded", {"present_model": OTHER, "holder_alive": True}, False),
        ("superseded, with a new tag", {"mode": "x", "present_model": OTHER, "holder_alive": True}, False),
    ],
)
def test_who_raises_the_generation(what: str, changes: dict[str, object], expected: bool) -> None:  # noqa: FBT001 - a table
    assert raises_generation(replace(FACTS, **changes)) is expected, what  # type: ignore[arg-type] # a table of any field


@pytest.mark.parametrize(
    ("what", "changes", "expected"),
    [
        ("nobody told a model yet", {"present_model": None, "last": None}, True),
        ("the same model", {"holder_alive": True}, True),
        ("a new instance", {"present_model": OTHER, "holder_alive": True, "last": None}, True),
        (
            "its configuration changed",
            {"present_model": OTHER, "holder_alive": True, "last": replace(CLEAN, model="vectord:x:1")},
            True,
        ),
        (
            "the same configuration as before, and the newer daemon lives",
            {"present_model": OTHER, "holder_alive": True},
            False,
        ),
        ("the same configuration as before, and the newer daemon is gone", {"present_model": OTHER}, True),
    ],
)
def test_whose_model_counts(what: str, changes: dict[str, object], expected: bool) -> None:  # noqa: FBT001 - a table
    assert takes_over(replace(FACTS, **changes)) is expected, what  # type: ignore[arg-type] # a table of any field


@pytest.mark.parametrize("values", [None, 3, "text", [], {}, {"model": "x"}])
def test_a_mark_that_cannot_be_read_is_none(values: object) -> None:
    assert Mark.read(values) is None


def test_a_mark_is_read_back() -> None:
    assert Mark.read({"model": MODEL, "boot_id": "boot", "stopped": True}) == CLEAN
