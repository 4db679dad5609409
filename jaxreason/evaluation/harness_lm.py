"""The class that lm-evaluation-harness talks to (extra `evaluation`).

`jaxreason harness RUN --tasks ...` runs the harness on a run. With the harness's own command,

    python -m jaxreason.evaluation.harness_lm run --model jaxreason --model_args run=RUN --tasks ...
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jaxreason.errors import InputError
from jaxreason.evaluation.harness import HarnessModel, load_harness
from jaxreason.evaluation.harness_arguments import settings_of
from jaxreason.evaluation.harness_text import check_generation
from jaxreason.paths import local_path

try:
    from lm_eval.api.model import LM
    from lm_eval.api.registry import model_registry
    from lm_eval.evaluator import simple_evaluate
    from lm_eval.tasks import TaskManager
    from lm_eval.utils import make_table, simple_parse_args_string
except ImportError as error:
    raise InputError(
        "lm-evaluation-harness is not installed; install it with "
        "`pip install 'jaxreason[evaluation]'`"
    ) from error

NAME = "jaxreason"


class JaxreasonLM(LM):
    """A run or a published folder as a model of the harness.

    Args:
        run: directory of the run, or the folder; required unless `model` is given.
        model: a loaded one.
        step: which checkpoint of a run; the newest by default.
        tokenizer: folder of the tokenizer, where it is not in the run.
        fsdp: devices over which parameters and rows are split; 0 for one device alone.
        batch_size: rows of a batch.
        max_batch_size: must be None: batches have `batch_size` rows.
        device: what the harness always passes on; it means nothing here, JAX_PLATFORMS chooses.
        **settings: fields of `HarnessSettings` and `DiffusionSettings`.

    Raises:
        InputError: a field that is unknown or of another kind; as `load_harness`.
    """

    def __init__(
        self,
        run: str | None = None,
        *,
        model: HarnessModel | None = None,
        step: int | None = None,
        tokenizer: str | None = None,
        fsdp: int = 0,
        batch_size: int | str | None = None,
        max_batch_size: int | None = None,
        device: str | None = None,
        **settings: Any,
    ) -> None:
        super().__init__()
        del device
        if max_batch_size is not None:
            raise InputError(f"max_batch_size is {max_batch_size}; give batch_size alone")
        if (run is None) == (model is None):
            raise InputError("expected run=FOLDER in model_args, or a loaded model")
        if model is None:
            assert run is not None
            own = {"run": run, "step": step, "tokenizer": tokenizer, "fsdp": fsdp}
            wanted = settings_of({**own, **settings}, batch_size)
            mesh = _mesh(fsdp) if fsdp else None
            model = load_harness(run, wanted, step=step, tokenizer=tokenizer, mesh=mesh)
        self.model = model
        self.tokenizer = model.tokenizer

    def loglikelihood(self, requests: Sequence[Any]) -> list[tuple[float, bool]]:
        """See `HarnessModel.loglikelihood`."""
        found = self.model.loglikelihood([request.args for request in requests])
        return self._kept("loglikelihood", requests, found)

    def loglikelihood_rolling(self, requests: Sequence[Any]) -> list[float]:
        """See `HarnessModel.loglikelihood_rolling`."""
        found = self.model.loglikelihood_rolling([request.args[0] for request in requests])
        return self._kept("loglikelihood_rolling", requests, found)

    def generate_until(self, requests: Sequence[Any]) -> list[str]:
        """See `HarnessModel.generate_until`."""
        found = self.model.generate_until([request.args for request in requests])
        return self._kept("generate_until", requests, found)

    def apply_chat_template(
        self, chat_history: Sequence[Mapping[str, Any]], add_generation_prompt: bool = True
    ) -> str:
        """The conversation as text; see `HarnessModel.render`."""
        return self.model.render(chat_history, add_generation_prompt)

    def chat_template(self, chat_template: bool | str = False) -> str | None:
        """The template that is used, for the harness's records; None if none is."""
        if not chat_template:
            return None
        name = chat_template if isinstance(chat_template, str) else "default"
        found = self.tokenizer.templates.get(name)
        if found is None:
            raise InputError(f"the tokenizer has no chat template {name!r}")
        return found.source

    @property
    def tokenizer_name(self) -> str:
        """What tells this tokenizer from others, for the harness's caches."""
        return "jaxreason-" + "-".join(str(part) for part in self.tokenizer.identity.values())

    def get_model_info(self) -> dict[str, Any]:
        """What the harness writes beside the results."""
        config = self.model.run.model.config
        return {
            "model_dtype": config.dtype,
            "model_source": self.model.run.experiment.words(),
            "step": self.model.run.step,
            "estimate": "evidence bound" if self.model.diffusion else "exact",
        }

    def _kept(self, name: str, requests: Sequence[Any], found: list[Any]) -> list[Any]:
        for request, answer in zip(requests, found, strict=True):
            self.cache_hook.add_partial(name, request.args, answer)
        return found


def parse_settings(text: str) -> dict[str, Any]:
    """`a=1,b=x` as the harness reads it."""
    return simple_parse_args_string(text)


def evaluate_tasks(
    model_args: Mapping[str, Any],
    tasks: Sequence[str],
    *,
    batch_size: int = 8,
    seed: int = 0,
    **options: Any,
) -> tuple[dict[str, Any], str]:
    """Runs tasks on a run.

    Args:
        model_args: arguments of `JaxreasonLM`.
        tasks: names that the harness knows, or YAML files of tasks.
        batch_size: rows of a batch.
        seed: of the choice of solved examples.
        **options: of `lm_eval.simple_evaluate`.

    Returns:
        What the harness reports, and its table.

    Raises:
        InputError: a setting that cannot be, before tasks are looked for; an unknown task or file;
            as `JaxreasonLM`.
    """
    settings_of(model_args, batch_size)
    if isinstance(options.get("gen_kwargs"), str):
        options["gen_kwargs"] = parse_settings(options["gen_kwargs"])
    check_generation(options.get("gen_kwargs") or {})
    names, folders = [], []
    for task in tasks:
        path = local_path(task, "task")
        if path.suffix in (".yaml", ".yml"):
            names.append(_task_name(path))
            folders.append(str(path.parent.resolve()))
        else:
            names.append(task)
    manager = TaskManager(include_path=list(dict.fromkeys(folders)) or None)
    unknown = [name for name in names if not manager.match_tasks([name])]
    if unknown:
        raise InputError(
            f"task {unknown[0]!r} is unknown; `python -m lm_eval ls tasks` lists those there are"
        )
    model = JaxreasonLM(**model_args, batch_size=batch_size)
    results = simple_evaluate(
        model=model,
        tasks=list(dict.fromkeys(names)),
        task_manager=manager,
        random_seed=seed,
        numpy_random_seed=seed,
        torch_random_seed=seed,
        fewshot_random_seed=seed,
        **options,
    )
    if results is None:
        raise InputError("another process reports the results; run the harness in one process")
    return dict(results), make_table(results)


def _task_name(path: Path) -> str:
    try:
        lines = path.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"task file {path} cannot be read: {error}") from error
    for line in lines:
        field, colon, value = line.partition(":")
        if colon and field in ("task", "group") and value.strip():
            return value.split("#")[0].strip().strip("'\"")
    raise InputError(f"task file {path} has no line `task: NAME`")


def _mesh(fsdp: int) -> Any:
    import jax

    from jaxreason.sharding.mesh import MeshConfig, make_mesh

    return make_mesh(MeshConfig(fsdp=fsdp), jax.devices()[:fsdp] if fsdp > 0 else None)


def register() -> None:
    """Makes `jaxreason` a model that the harness knows by name."""
    if NAME not in model_registry:
        model_registry.register(NAME, target=JaxreasonLM)


if __name__ == "__main__":
    from lm_eval.__main__ import cli_evaluate

    register()
    cli_evaluate()
