"""Looks at the weights, and at what starting with this model would do to the vectors that are there. No framework."""

import os
from pathlib import Path

from daemon.db.figures import Figure
from daemon.doctor.findings import Finding, ok, problem, warning
from daemon.engine import WeightsFile
from daemon.engine.weights import BASE_URL, IMAGENET, UNTRAINED, find_weights, imagenet_name, load_weights
from daemon.errors import EngineError
from daemon.reprocess import model_of
from daemon.sections import Model

BY_HAND = "name a Keras .h5 or .keras file of MobileNetV2 in model.weights"


def look_at_weights(model: Model, state_dir: Path) -> tuple[WeightsFile | None, Finding]:
    """The weights, read to the end, where they are there; nothing is fetched."""
    if model.weights == UNTRAINED:
        return None, problem("weights", "untrained ones are for the demo alone", BY_HAND)
    name = imagenet_name(model.alpha, model.input_size)
    kept = state_dir / "weights" / name
    remedy = f"where it cannot, put that file into {kept.parent}"
    # Path.is_file raises where a folder may not be searched.
    if model.weights == IMAGENET and not os.path.isfile(kept):  # noqa: PTH113
        return None, warning("weights", f"not here yet: the first start fetches {BASE_URL}{name}", remedy)
    # A path, and so nothing that is fetched.
    path = str(kept) if model.weights == IMAGENET else model.weights
    try:
        found = find_weights(path, alpha=model.alpha, input_size=model.input_size, state_dir=state_dir)
        load_weights(found, model.alpha)
    except EngineError as error:
        if model.weights == IMAGENET:
            return None, warning("weights", f"{error}; the next start fetches {BASE_URL}{name} anew", remedy)
        return None, problem("weights", str(error), BY_HAND)
    return found, ok("weights", f"{found.path}, MobileNetV2 with alpha {model.alpha}, SHA-256 {found.digest[:8]}…")


def judge_model(own: str, present: str | None) -> Finding:
    """`own` is the signature that this configuration makes, `present` the one that counts in the database."""
    if present is None:
        return ok("model", f"{model_of(own)}, the first one in this database")
    if model_of(own) == model_of(present):
        return ok("model", f"{model_of(own)}, as in the database")
    told = f"the database goes by {model_of(present)}, and this configuration makes {model_of(own)}"
    remedy = "start it if every vector is to be made anew; otherwise give [model] and loader.srgb their old values"
    return warning("model", told, remedy)


def judge_foreign(foreign: Figure, *, kept: bool) -> Finding:
    """Vectors that other programs made."""
    if foreign.number and kept:
        told = f"{foreign} vectors were made by other programs: searches mix two spaces"
        return warning("foreign vectors", told, 'set reprocess.foreign = "replace", unless they are to stay')
    return ok("foreign vectors", f"{foreign} to be replaced" if foreign.number else "none")
