"""Requests of EleutherAI's lm-evaluation-harness as token ids, by the rules of its `hf` models.

Those rules (lm_eval 0.4, api/model.py and models/huggingface.py) decide which tokens a text's
probability is of, so results are only comparable under the same ones.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from jaxreason.errors import InputError
from jaxreason.evaluation.field_kinds import check_kind, check_range
from jaxreason.tokens.pretrained_tokenizer import PretrainedTokenizer


class Pair(NamedTuple):
    """Ids whose probability is asked for, and those before them."""

    context: tuple[int, ...]
    continuation: tuple[int, ...]


@dataclass(frozen=True)
class TextRules:
    """How texts become ids.

    Attributes:
        tokenizer: of the model.
        max_length: tokens that the model sees at once.
        prefix: id before a text without context; bos if None, else eos.
        add_bos: whether special tokens are put around contexts; None: as tokenizer.json says,
            unless the text begins with the prefix already.

    Raises:
        InputError: a length below 2; no prefix.
    """

    tokenizer: PretrainedTokenizer
    max_length: int
    prefix: int | None = None
    add_bos: bool | None = None

    def __post_init__(self) -> None:
        if self.max_length < 2:
            raise InputError(f"max_length is {self.max_length}; expected at least 2 tokens")
        _ = self.prefix_id

    @property
    def prefix_id(self) -> int:
        """The id before a text without context."""
        for number in (self.prefix, self.tokenizer.bos, self.tokenizer.eos):
            if number is not None:
                return number
        raise InputError(
            "the tokenizer has neither bos nor eos to begin a text with; give prefix, an id"
        )

    def encode(self, text: str) -> list[int]:
        """Ids of a context, or of a context and its continuation."""
        special = True if self.add_bos is None else self.add_bos
        if text.startswith(self.tokenizer.decode([self.prefix_id], skip_special=False)):
            special = False
        return self.tokenizer.encode(text, special=special).tolist()

    def pair(self, context: str, continuation: str) -> Pair:
        """Ids of both: those of the whole text, cut where those of the context alone end.

        Spaces at the end of the context go to the continuation, whose first word they belong to.

        Raises:
            InputError: a continuation without tokens, or with more than the model sees.
        """
        if context:
            kept = context.rstrip()
            whole, before = self.encode(context + continuation), self.encode(kept)
            pair = Pair(tuple(before), tuple(whole[len(before) :]))
        else:
            ids = self.tokenizer.encode(continuation).tolist()
            pair = Pair((self.prefix_id,), tuple(ids))
            if ids and ids[0] == self.prefix_id:
                pair = Pair(tuple(ids[:1]), tuple(ids[1:]))
        if not pair.continuation or not pair.context:
            raise InputError(
                f"continuation {continuation!r:.100} of context {context[-50:]!r} has no tokens of "
                "its own; there is nothing to score"
            )
        if len(pair.continuation) > self.max_length:
            raise InputError(
                f"continuation {continuation!r:.100} has {len(pair.continuation)} tokens, and the "
                f"model sees {self.max_length}; raise max_length if the model allows it"
            )
        return pair

    def windows(self, text: str) -> list[Pair]:
        """Every token of a text once, each with as much before it as the model sees.

        The first window begins with the prefix; the last one is a full one too, and only its new
        tokens count.
        """
        ids, size = self.encode(text), self.max_length
        windows, done = [], 0
        while done < len(ids):
            end = min(done + size, len(ids))
            seen = [self.prefix_id, *ids[: end - 1]] if done == 0 else ids[end - size - 1 : end - 1]
            new = end - done
            windows.append(Pair(tuple(seen[: len(seen) - new + 1]), tuple(ids[done:end])))
            done = end
        return windows

    def prompt(self, context: str, new_tokens: int) -> tuple[int, ...]:
        """Ids of a text to go on with, its beginning cut off if there is no room for all of it.

        Raises:
            InputError: no room for any of it.
        """
        room = self.max_length - new_tokens
        if room < 1:
            raise InputError(
                f"max_gen_toks is {new_tokens}, and the model sees {self.max_length} tokens; "
                "expected fewer, so that the question has room"
            )
        return tuple(self.encode(context)[-room:]) or (self.prefix_id,)


@dataclass(frozen=True)
class GenerationSettings:
    """What a request says about the text it wants.

    Attributes:
        until: texts that end it.
        new_tokens: the limit.
        temperature: 0 takes the most likely token.
        top_p: of the sampling; None for all tokens.
        top_k: of the sampling; None for all tokens.
        seed: of the sampling; None: that of the model.
        after: a text that ends the reasoning; the answer is what follows the last one.
    """

    until: tuple[str, ...]
    new_tokens: int
    temperature: float = 0.0
    top_p: float | None = None
    top_k: int | None = None
    seed: int | None = None
    after: str | None = None

    def complete(self, text: str) -> bool:
        """Whether nothing that may follow changes the answer."""
        if self.after and self.after not in text:
            return False
        return any(stop in self._said(text) for stop in self.until)

    def answer(self, text: str) -> str:
        """The answer in a text: what comes after the reasoning, up to the first stop."""
        text = self._said(text)
        for stop in self.until:
            text = text.split(stop)[0]
        return text

    def _said(self, text: str) -> str:
        return text.split(self.after)[-1].lstrip() if self.after else text


_LIMITS = ("max_gen_toks", "max_new_tokens", "max_tokens", "max_completion_tokens")
_NEUTRAL: dict[str, Any] = {"num_beams": 1, "repetition_penalty": 1.0, "use_cache": True}
_KINDS: dict[str, Any] = {
    **dict.fromkeys(_LIMITS, int | None),
    "do_sample": bool | None,
    "temperature": float | None,
    "top_p": float | None,
    "top_k": int | None,
    "seed": int | None,
}
_LEAST = {**dict.fromkeys(_LIMITS, 1), "temperature": 0, "top_k": 0, "seed": 0}


def check_generation(given: Mapping[str, Any]) -> None:
    """Makes sure that every one of `generation_kwargs` is known and has a value that it can have.

    Raises:
        InputError: one does not; names it, its value and what is expected.
    """
    for name, value in given.items():
        if name == "until":
            stops = [value] if isinstance(value, str) else value or []
            if not isinstance(stops, list | tuple) or not all(isinstance(s, str) for s in stops):
                raise InputError(f"until is {value!r:.100}; expected texts")
        elif name in _KINDS:
            check_kind(name, value, _KINDS[name])
            check_range(name, value, _LEAST.get(name, 0))
        elif name not in _NEUTRAL or value != _NEUTRAL[name]:
            known = ", ".join(("until", *_KINDS))
            raise InputError(f"generation setting {name}={value!r} is not known; expected {known}")
    top_p = given.get("top_p")
    if top_p is not None and not 0 < top_p <= 1:
        raise InputError(f"top_p is {top_p}; expected above 0, and 1 at most")


def generation_settings(given: Mapping[str, Any], default_tokens: int) -> GenerationSettings:
    """What the `generation_kwargs` of a task mean.

    Sampling is on if `do_sample` says so, else if there is a temperature above 0.

    Args:
        given: `until`, one of the limits, `do_sample`, `temperature`, `top_p`, `top_k`, `seed`.
        default_tokens: the limit where none is given.

    Raises:
        InputError: a field that is unknown here, or of a value that it cannot have.
    """
    check_generation(given)
    until = given.get("until")
    stops = [until] if isinstance(until, str) else list(until or [])
    limits = [given[name] for name in _LIMITS if given.get(name) is not None]
    wanted, temperature = given.get("do_sample"), float(given.get("temperature") or 0.0)
    if wanted and temperature == 0:
        raise InputError("do_sample is true and temperature 0; expected a temperature above 0")
    return GenerationSettings(
        tuple(stop for stop in stops if stop),
        int(limits[0]) if limits else default_tokens,
        0.0 if wanted is False else temperature,
        given.get("top_p"),
        given.get("top_k") or None,
        given.get("seed"),
    )
