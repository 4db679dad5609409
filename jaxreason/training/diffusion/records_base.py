"""The parameters that training on records goes on with, checked against its tokens."""

from typing import Any

import jax

from jaxreason.data.multimodal.records import PICTURED
from jaxreason.errors import InputError
from jaxreason.training.diffusion.checks import check_same_codec, check_shape
from jaxreason.training.precision import in_dtypes_of
from jaxreason.training.runs import load_run, read_experiment
from jaxreason.types import Params


def base_params(experiment: Any) -> Params:
    """The parameters of the base of a settled `RecordsExperiment`, on its mesh.

    Raises:
        InputError: the base has other tokens or another shape.
        FailureError: it is not a run directory, or has no such checkpoint.
    """
    base, known = experiment.base, read_experiment(experiment.base)
    shape, own = known.transformer().config, experiment.transformer().config
    check_shape(base, shape, own)
    for name, theirs, wanted in _meanings(experiment, known):
        if theirs != wanted:
            raise InputError(
                f"base {base} has {name} {theirs}, the tokens of this experiment {wanted}; they "
                "must agree"
            )
    if shape.vocabulary_size != own.vocabulary_size:
        raise InputError(
            f"base {base} has {shape.vocabulary_size} tokens, this experiment "
            f"{own.vocabulary_size}; they must agree"
        )
    run = load_run(base, experiment.base_step, mesh=experiment.device_mesh())
    # Published weights are read as they are stored; what is trained has the model's own dtype.
    trained = jax.eval_shape(experiment.transformer().init, jax.random.key(0))
    return in_dtypes_of(run.params, trained)


def _meanings(experiment: Any, base: Any) -> list[tuple[str, Any, Any]]:
    """What the tokens of a base must agree in: (name, theirs, wanted)."""
    ids = experiment.ids
    if base.kind == experiment.kind:
        theirs, own = base.codec(), experiment.codec()
        if theirs is not None and own is not None:
            check_same_codec(f"base {experiment.base}", theirs, own)
        return [
            ("words", len(base.word_list), len(experiment.word_list)),
            ("word_list", base.word_list, experiment.word_list),
            ("ids", base.ids, ids),
        ]
    if base.kind != "imported":
        raise InputError(
            f"base {experiment.base} was trained on {base.words()}; expected a run of masked "
            "diffusion on records, or imported weights"
        )
    found = [("mask", base.mask, ids.mask), ("eos", base.eos, ids.eos)]
    if any(task in PICTURED for task in experiment.tasks()):
        found.append(("image_offset", base.image_offset, ids.image_offset))
    return found
