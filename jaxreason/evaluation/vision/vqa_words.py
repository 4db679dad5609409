"""How VQA compares answers: the normalisation of the official scorer (Antol et al. 2015).

The rules, their order and their oddities are those of github.com/GT-Vision-Lab/VQA:

1. punctuation: each mark is taken out if the answer as given has a space beside that mark
   anywhere, or a comma between digits; else it becomes a space.
2. full stops that no digit follows are taken out, the first 32 of them.
3. lower case, split at white space; `none` and number words to ten become digits, articles go.
4. contractions without their apostrophe get it back; `im` and `ive` do not, as the official table
   has them in upper case only.
"""

import re

_MARKS = ';/[]"{}()=+\\_-><@`,?!'
_COMMA_IN_NUMBER = re.compile(r"\d,\d")
_FULL_STOP = re.compile(r"\.(?!\d)")
_MOST_STOPS = 32
"""The official call hands a flag of value 32 over as the number of replacements."""

_NUMBERS = {
    word: str(number)
    for number, word in enumerate(
        ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
    )
} | {"none": "0"}
_ARTICLES = frozenset(("a", "an", "the"))

_ONE_APOSTROPHE = """
ain't aren't can't could've couldn't didn't doesn't don't hadn't hasn't haven't he'd he's how'd
how'll how's isn't it'd it'll ma'am might've mightn't must've mustn't needn't not've o'clock
oughtn't shan't should've shouldn't somebody'll somebody's someone'd someone'll someone's
something'd something'll that's there'd there're there's they'd they'll they're they've 'twas
wasn't we've weren't what'll what're what's what've when's where'd where's where've who'd who'll
who's who've why'll why're why's won't would've wouldn't y'all you'd you'll you're you've
"""
_TWO_APOSTROPHES = """
couldn't've hadn't've he'd've it'd've mightn't've she'd've shouldn't've somebody'd've someone'd've
something'd've there'd've they'd've we'd've who'd've wouldn't've y'all'll you'd've
"""


def _contractions() -> dict[str, str]:
    """What stands in an answer to what it becomes."""
    found = {form.replace("'", ""): form for form in _ONE_APOSTROPHE.split()}
    for form in [*_TWO_APOSTROPHES.split(), "y'all'd've", "'ow's'at"]:
        marks = [place for place, letter in enumerate(form) if letter == "'"]
        found |= {form[:place] + form[place + 1 :]: form for place in marks}
    # the official table has this one the wrong way round
    return found | {"somebody'd": "somebodyd"}


CONTRACTIONS = _contractions()


def normalise(answer: str) -> str:
    """An answer as the official scorer compares it."""
    return _words(_without_punctuation(answer))


def trimmed(answer: str) -> str:
    """An answer without line breaks, tabs and outer white space: all that is done to answers of
    a question on which all annotators agree.
    """
    return answer.replace("\n", " ").replace("\t", " ").strip()


def _without_punctuation(answer: str) -> str:
    in_number = _COMMA_IN_NUMBER.search(answer) is not None
    cleaned = answer
    for mark in _MARKS:
        spaced = f"{mark} " in answer or f" {mark}" in answer
        cleaned = cleaned.replace(mark, "" if spaced or in_number else " ")
    return _FULL_STOP.sub("", cleaned, count=_MOST_STOPS)


def _words(text: str) -> str:
    words = (_NUMBERS.get(word, word) for word in text.lower().split())
    return " ".join(CONTRACTIONS.get(word, word) for word in words if word not in _ARTICLES)
