"""A run or a published folder as what lm-evaluation-harness asks: probabilities and texts.

Usable without the harness; `harness_lm` is the thin class that it talks to.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from jax.sharding import Mesh

from jaxreason.errors import InputError
from jaxreason.evaluation.field_kinds import check_kinds, check_range
from jaxreason.evaluation.harness_diffusion import bound_pairs, greedy_pairs
from jaxreason.evaluation.harness_diffusion_text import DiffusionSettings, continue_by_diffusion
from jaxreason.evaluation.harness_generation import continue_texts
from jaxreason.evaluation.harness_scoring import score_pairs
from jaxreason.evaluation.harness_text import GenerationSettings, TextRules, generation_settings
from jaxreason.sharding.mesh import BATCH_AXES
from jaxreason.tokens.chat_template import Message
from jaxreason.tokens.pretrained_tokenizer import PretrainedTokenizer
from jaxreason.training.pretrained import tokenizer_of
from jaxreason.training.runs import Run, load_run

MOST_SEED = 2**32 - 1
"""Of what NumPy's generators take."""

_LENGTHS = ("max_position_embeddings", "max_sequence_length", "n_ctx")


@dataclass(frozen=True)
class HarnessSettings:
    """How a model is asked.

    Attributes:
        batch_size: rows of a batch.
        max_length: tokens that the model sees at once; None: what its config.json says.
        max_gen_toks: limit of an answer where a task has none.
        prefix_token_id: id before a text without context; bos if None, else eos.
        add_bos_token: whether special tokens are put around contexts; None: as the tokenizer does.
        think_end_token: a text after which the answer begins; what comes before it is dropped.
        enable_thinking: given to the chat template; None: not given.
        seed: of sampling, and of a diffusion model's masks.
        diffusion: what a diffusion model needs besides.

    Raises:
        InputError: a value of another kind, or out of range.
    """

    batch_size: int = 8
    max_length: int | None = None
    max_gen_toks: int = 256
    prefix_token_id: int | None = None
    add_bos_token: bool | None = None
    think_end_token: str | None = None
    enable_thinking: bool | None = None
    seed: int = 0
    diffusion: DiffusionSettings = field(default_factory=DiffusionSettings)

    def __post_init__(self) -> None:
        check_kinds(self)
        for name, least in (("batch_size", 1), ("max_length", 2), ("max_gen_toks", 1)):
            check_range(name, getattr(self, name), least)
        check_range("prefix_token_id", self.prefix_token_id, 0)
        check_range("seed", self.seed, 0, MOST_SEED)


class HarnessModel:
    """Answers requests with a loaded model.

    Args:
        run: of `load_run`; a next-token model, or imported LLaDA or MMaDA weights.
        tokenizer: the model's.
        settings: how it is asked.
        mesh: where its parameters are; None for one device.

    Raises:
        InputError: a model that has no texts; no length to be found; a batch that cannot be split
            over the mesh.
    """

    def __init__(
        self,
        run: Run,
        tokenizer: PretrainedTokenizer,
        settings: HarnessSettings | None = None,
        mesh: Mesh | None = None,
    ) -> None:
        self.run, self.tokenizer, self.mesh = run, tokenizer, mesh
        self.settings = HarnessSettings() if settings is None else settings
        kind = run.model.config.attention
        self.diffusion = kind == "bidirectional" and hasattr(run.experiment, "mask")
        if not self.diffusion and kind != "causal":
            raise InputError(
                f"the run was trained on {run.experiment.words()} with {kind!r} attention; "
                "expected a next-token model, or imported LLaDA or MMaDA weights"
            )
        if tokenizer.size > run.model.config.vocabulary_size:
            raise InputError(
                f"the tokenizer has {tokenizer.size} ids and the model "
                f"{run.model.config.vocabulary_size}; expected the model's own tokenizer"
            )
        prefix = self.settings.prefix_token_id
        check_range("prefix_token_id", prefix, 0, tokenizer.size - 1)
        ways = 1 if mesh is None else int(np.prod([mesh.shape[axis] for axis in BATCH_AXES]))
        if self.settings.batch_size % ways:
            raise InputError(
                f"batch_size is {self.settings.batch_size}; the mesh splits rows {ways} ways, so "
                f"expected a multiple of {ways}"
            )
        self.rules = TextRules(
            tokenizer,
            _max_length(run, self.settings),
            self.settings.prefix_token_id,
            self.settings.add_bos_token,
        )

    def loglikelihood(self, requests: Sequence[tuple[str, str]]) -> list[tuple[float, bool]]:
        """Log-probability in nats of each continuation given its context, and whether it is what
        greedy decoding gives. Of a diffusion model the evidence bound, a lower one on average.
        """
        return self._score([self.rules.pair(*request) for request in requests])

    def loglikelihood_rolling(self, texts: Sequence[str]) -> list[float]:
        """Log-probability in nats of each text; one that is longer than what the model sees is
        scored window by window.
        """
        windows = [self.rules.windows(text) for text in texts]
        scores = iter(self._score([window for each in windows for window in each], False))
        return [sum(next(scores)[0] for _ in each) for each in windows]

    def generate_until(
        self,
        requests: Sequence[tuple[str, Mapping[str, Any]]],
        on_done: Callable[[int], None] | None = None,
    ) -> list[str]:
        """The text that follows each context, up to what the request says or the end of a turn.

        Args:
            requests: contexts, and what `generation_settings` knows.
            on_done: called with the number of texts done after each group of equal settings.
        """
        groups: dict[GenerationSettings, list[int]] = {}
        for i, (_, given) in enumerate(requests):
            wanted = generation_settings(given, self.settings.max_gen_toks)
            groups.setdefault(wanted, []).append(i)
        texts = [""] * len(requests)
        for wanted, members in groups.items():
            prompts = [self.rules.prompt(requests[i][0], wanted.new_tokens) for i in members]
            for i, text in zip(members, self._continue(prompts, wanted), strict=True):
                texts[i] = text
            if on_done is not None:
                on_done(len(members))
        return texts

    def render(self, messages: Sequence[Message], prompt: bool = True) -> str:
        """A conversation as the model's template writes it, for an answer or, without `prompt`, to
        be gone on with.
        """
        thinking = self.settings.enable_thinking
        more = {} if thinking is None else {"enable_thinking": thinking}
        return self.tokenizer.render(messages, prompt, continue_last=not prompt, **more)

    def _score(self, pairs: Sequence[Any], greedy: bool = True) -> list[tuple[float, bool]]:
        shared: dict[str, Any] = {
            "max_length": self.rules.max_length,
            "batch_size": self.settings.batch_size,
            "mesh": self.mesh,
        }
        model, params = self.run.model, self.run.params
        if not self.diffusion:
            return score_pairs(model, params, pairs, **shared)
        shared["mask_id"] = self.run.experiment.mask
        asked = self.settings.diffusion
        bounds = bound_pairs(
            model, params, pairs, draws=asked.draws, seed=self.settings.seed, **shared
        )
        same = np.zeros(len(pairs), bool)
        if greedy and asked.check_greedy:
            same = greedy_pairs(model, params, pairs, **shared)
        return list(zip(bounds.tolist(), same.tolist(), strict=True))

    def _continue(
        self, prompts: Sequence[Sequence[int]], wanted: GenerationSettings
    ) -> Sequence[str]:
        if self.tokenizer.eos is not None:
            ending = self.tokenizer.decode([self.tokenizer.eos], skip_special=False)
            wanted = replace(wanted, until=(*wanted.until, *((ending,) if ending else ())))
        wanted = replace(wanted, after=self.settings.think_end_token)
        shared: dict[str, Any] = {
            "decode": self.tokenizer.decode,
            "batch_size": self.settings.batch_size,
            "seed": self.settings.seed,
            "mesh": self.mesh,
        }
        model, params, known = self.run.model, self.run.params, self.run.experiment
        if not self.diffusion:
            return continue_texts(
                model, params, prompts, wanted, stops=self.tokenizer.chat_stops, **shared
            )
        asked = self.settings.diffusion
        ids = {"mask_id": known.mask, "eos": known.eos, "eot": known.eot}
        return continue_by_diffusion(model, params, prompts, wanted, asked, **ids, **shared)


def _max_length(run: Run, settings: HarnessSettings) -> int:
    if settings.max_length is not None:
        return settings.max_length
    stated = getattr(run.experiment, "settings", None) or {}
    for name in _LENGTHS:
        if isinstance(stated.get(name), int):
            return int(stated[name])
    raise InputError(
        "max_length is not given, and the model's config.json does not say how many tokens it sees"
    )


def load_harness(
    path: str | Path,
    settings: HarnessSettings | None = None,
    *,
    step: int | None = None,
    tokenizer: str | Path | None = None,
    mesh: Mesh | None = None,
) -> HarnessModel:
    """A run directory or a published folder, ready to be asked.

    LoRA's matrices stay beside the kernels, as they were trained: merged and rounded to bfloat16,
    part of a small update would be lost.

    Args:
        path: of the run or the folder.
        settings: how it is asked.
        step: which checkpoint of a run; the newest by default.
        tokenizer: folder of its tokenizer, where it is not in the run.
        mesh: devices over which parameters and rows are split; None for one.

    Raises:
        InputError: no tokenizer; as `HarnessModel` and `load_run`.
        FailureError: as `load_run`.
    """
    found = tokenizer_of(path if tokenizer is None else tokenizer)
    if found is None:
        raise InputError(
            f"{path} has no tokenizer; give the folder of one (tokenizer.json) as tokenizer"
        )
    run = load_run(path, step, mesh=mesh, merge=False)
    return HarnessModel(run, found, settings, mesh)
