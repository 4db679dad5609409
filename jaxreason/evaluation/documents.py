"""The JSON document of an evaluation: its layout, written and read.

The document that `pipeline.evaluate` returns and RUN/evaluation/NAME.json holds:

    schema        2-digit year and month of this layout, "26.1"
    name, run     of the file and of the run directory ("" if there is none)
    regime        of the training data; trained_on: its generator; tie_break: of its A*;
                  step: of the checkpoint
    parameters    how many numbers the model has
    width, height cells of a maze, walls included
    settings      {generators, count, temperatures, samples, split, seed, max_new_tokens,
                  batch_size, bin_width}
    skipped       [{generator, reason}] generators that cannot exist at this size
    results       [{generator, temperature, metrics, completions}]: metrics as `tables.summarise`,
                  completions as `judge.Judged.as_json`, which generated and true lengths come from
    examples      [{generator, temperature, solved, problem, response, events, plan}], pictures to
                  draw: `problem` {rows, start, goal} with rows of `.` (free) and `#` (wall);
                  `events` and `plan` are the true ones
    seconds       {generate, judge}
    environment   {jaxreason, jax, python, device, devices, command}

Apart from `seconds` and `environment` it is a function of parameters, settings and device kind.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jaxreason.errors import FailureError
from jaxreason.paths import as_path

SCHEMA = "26.1"

_READ = (
    *("name", "run", "regime", "trained_on", "step", "parameters", "width", "height", "settings"),
    *("skipped", "results", "examples", "seconds", "environment"),
)


def dump(document: Mapping[str, Any]) -> str:
    """The text of a document: the same for the same document."""
    return json.dumps(document, allow_nan=False) + "\n"


def read_evaluation(path: str | Path) -> dict[str, Any]:
    """A document back from its file.

    Raises:
        FailureError: the file is missing, no JSON, or of another kind or schema.
    """
    path = as_path(path)
    try:
        document = json.loads(path.read_text())
    except (OSError, ValueError) as error:  # no text, or no JSON
        raise FailureError(f"{path} cannot be read as an evaluation: {error}") from error
    found = document.get("schema") if isinstance(document, dict) else None
    if found != SCHEMA:
        raise FailureError(
            f"{path} has schema {found!r}; expected {SCHEMA!r}: run `jaxreason evaluate` again"
        )
    missing = [key for key in _READ if key not in document]
    if missing:
        raise FailureError(
            f"{path} lacks {missing[0]!r}, so it is damaged: run `jaxreason evaluate` again"
        )
    return document
