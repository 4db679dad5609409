"""What answers of a model depend on, so that answers of two models never end up in one file."""

import dataclasses
import hashlib
import json
from typing import Any

from jaxreason.training.fingerprint import fingerprint
from jaxreason.training.runs import Run

_IDS = ("mask", "eos", "eot")


def digest(value: Any) -> str:
    """16 hexadecimal digits of a JSON value (or of what has a text), the same for the same one."""
    text = json.dumps(value, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def model_identity(run: Run) -> dict[str, Any]:
    """`{step, model, weights}`: the checkpoint, and digests of the architecture and of all weights.

    The weights are read where they are, so a folder whose files were replaced, or a run that was
    trained again, is another model under the same path.
    """
    shape = dataclasses.asdict(run.model.config)
    ids = {name: getattr(run.experiment, name, None) for name in _IDS}
    return {
        "step": run.step,
        "model": digest([shape, ids]),
        "weights": digest(fingerprint(run.params)),
    }
