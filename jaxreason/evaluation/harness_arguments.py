"""What stands in the harness's `model_args`, as settings; nothing here needs the harness."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from jaxreason.errors import InputError
from jaxreason.evaluation.field_kinds import check_kind, check_range
from jaxreason.evaluation.harness import HarnessSettings
from jaxreason.evaluation.harness_diffusion_text import DiffusionSettings

_OWN: dict[str, Any] = {
    "run": str,
    "step": int | None,
    "tokenizer": str | None,
    "fsdp": int,
}


def settings_of(given: Mapping[str, Any], batch_size: int | str | None = None) -> HarnessSettings:
    """Settings out of `model_args`, those of diffusion models among them.

    Also makes sure that which run, step, tokenizer and devices are of the kinds that they must be.

    Raises:
        InputError: an unknown name, a value of another kind or out of range.
    """
    for name, kind in _OWN.items():
        if name in given:
            check_kind(name, given[name], kind)
    check_range("step", given.get("step"), 0)
    check_range("fsdp", given.get("fsdp"), -1)
    given = {name: value for name, value in given.items() if name not in _OWN}
    own = {field.name for field in dataclasses.fields(HarnessSettings)} - {"diffusion"}
    diffusion = {field.name for field in dataclasses.fields(DiffusionSettings)}
    for name in given:
        if name not in own | diffusion:
            known = ", ".join(sorted(own | diffusion))
            raise InputError(f"model_args has {name!r}; expected run, step, tokenizer, {known}")
    chosen = {name: value for name, value in given.items() if name in own}
    if batch_size is not None:
        if not str(batch_size).isdecimal():
            raise InputError(f"batch_size is {batch_size!r}; expected a number")
        chosen["batch_size"] = int(batch_size)
    masked = {name: value for name, value in given.items() if name in diffusion}
    return HarnessSettings(**chosen, diffusion=DiffusionSettings(**masked))
