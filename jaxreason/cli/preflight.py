"""`jaxreason preflight FILE --topology NAME`: will it fit, and what will it cost?"""

import json
import sys
from collections.abc import Sequence
from typing import Any

from jaxreason.cli.options import parse_options
from jaxreason.cli.processes import take
from jaxreason.errors import InputError
from jaxreason.paths import local_path

HELP = "compile a run for TPUs or GPUs that need not be here: does it fit, what does it send"

_USAGE = f"""usage: jaxreason preflight FILE --topology NAME [--slices N] [--json] [--search]
                           [--FIELD VALUE ...]

{HELP}.

  FILE             a Python file that defines `experiment`
  --topology NAME  the slice, such as v5e-4, v6e-16, v5p-16, tpu7x-8
                   (v5p and tpu7x count TensorCores, two to a chip),
                   or a machine with GPUs: a100-80gb, h100, h200, b200, with several h200x8
  --slices N       that many slices, joined by the data-centre network, or that many machines
                   with GPUs (default: 1)
  --json           print one JSON object instead of a table
  --search         for each remat policy, find the largest batch that fits of those that are a
                   power of two times the smallest one that the mesh can split
  --FIELD VALUE    any field of the experiment, as for `jaxreason train`

compiled are the programs of a training step: the update and, in reinforcement learning, sampler
and scores. Not compiled: initialisation, evaluation (validation loss, held-out answers), the
drawing and scoring of completions before preference learning, and the scores that process rewards
are made of; their memory is not judged.

of GPUs memory alone is judged. Parameters, gradients, optimizer, masks and bases are exact, from
shapes. Activations and temporaries are those of a program compiled for the GPUs if they are here,
else for as many TPUs: an estimate, and what was compiled is said. No GPU and no TPU is needed.

exit codes: 0 it fits, 1 it does not fit or cannot be compiled, 2 bad input
"""


def run(argv: Sequence[str]) -> int:
    """Runs the subcommand; returns 0 if everything fits, else 1.

    Raises:
        InputError: bad experiment file, field or topology.
        FailureError: libtpu is not there, or a program does not compile.
    """
    arguments = list(argv)
    if not arguments or arguments[0] in ("-h", "--help"):
        print(_USAGE)
        return 0 if arguments else 2
    if arguments[0].startswith("-"):
        raise InputError(f"expected an experiment file before {arguments[0]!r}: preflight FILE ...")
    file = local_path(arguments.pop(0), "experiment file")
    name = take(arguments, "--topology")
    slices = _count(take(arguments, "--slices") or "1")
    as_json, search = _flag(arguments, "--json"), _flag(arguments, "--search")

    from jaxreason.sharding.gpus import GpuTopology, any_topology, gpus_here
    from jaxreason.sharding.topologies import prepare_libtpu

    if name is None:
        raise InputError("--topology is missing; give a slice, such as --topology v5p-16")
    found = any_topology(name)
    if not (isinstance(found, GpuTopology) and gpus_here(found, slices)):
        prepare_libtpu()
    from jaxreason.training.preflight.run import preflight
    from jaxreason.training.runs import load_experiment

    default = load_experiment(file)
    experiment = parse_options(type(default), arguments, f"jaxreason preflight {file}", default)
    if search:
        return _search(experiment, name, slices, as_json)
    judged = preflight(experiment, name, slices, _say)
    if as_json:
        print(json.dumps(judged.as_json(), indent=1))
    else:
        from jaxreason.training.preflight.tables import show

        show(judged, sys.stdout)
    return 0 if judged.fits else 1


def _search(experiment: Any, name: str, slices: int, as_json: bool) -> int:
    """Finds batches, prints them; returns 0 if any fits, else 1."""
    from jaxreason.training.preflight.run import search_batches, search_json
    from jaxreason.training.preflight.tables import show_search

    found = search_batches(experiment, name, slices, _say)
    if as_json:
        print(json.dumps(search_json(found, name, slices), indent=1))
    else:
        show_search(found, sys.stdout)
    return 0 if any(one.rows for one in found) else 1


def _flag(arguments: list[str], option: str) -> bool:
    """Remove `option` from the arguments; whether it was there."""
    found = option in arguments
    arguments[:] = [argument for argument in arguments if argument != option]
    return found


def _count(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise InputError(f"--slices is {text!r}; expected a whole number of at least 1")
    return int(text)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
