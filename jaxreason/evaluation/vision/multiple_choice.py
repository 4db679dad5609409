"""The letter that an answer to a multiple-choice question names, by the rules of MMMU.

Yue et al. 2023 (arXiv 2311.16502), eval_utils.py of github.com/MMMU-Benchmark/MMMU.
"""

from collections.abc import Mapping

from jaxreason.errors import InputError


def named_choice(answer: str, choices: Mapping[str, str]) -> str | None:
    """The letter an answer names, or None.

    Looked for in turn: letters in brackets, letters between spaces, and in answers of more than
    five words the texts of the choices, in any case. Of several the one named last counts. Where
    the official scorer would draw a letter at random, this gives None: count it as wrong, or draw.

    Args:
        answer: of the model.
        choices: letter to text.

    Raises:
        InputError: no choices.

    Example:
        `named_choice("It is (B), not (A).", {"A": "cat", "B": "dog"})` is "A", the last one.
    """
    if not choices:
        raise InputError("there are no choices; expected a letter and a text for each")
    for mark in ",.!?;:'":
        answer = answer.strip(mark)
    text = f" {answer} "
    ways = [
        {letter: f"({letter})" for letter in choices},
        {letter: f" {letter} " for letter in choices},
    ]
    for way in ways:
        named = {letter: text.rfind(sign) for letter, sign in way.items() if sign in text}
        if named:
            return max(named, key=named.__getitem__)
    if len(text.split()) <= 5:
        return None
    lowered = text.lower()
    named = {letter: lowered.rfind(words.lower()) for letter, words in choices.items()}
    last = max(named, key=named.__getitem__)
    return last if named[last] >= 0 else None
