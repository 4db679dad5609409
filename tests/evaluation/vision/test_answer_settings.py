"""How answers are cleaned, and the table of settings."""

import pytest

from jaxreason.errors import InputError
from jaxreason.evaluation.vision.answer_settings import (
    FINISHES,
    SETTINGS,
    AnswerSettings,
    yes_or_no,
)

SHORT = {"suffix": " Say.", "length": 4, "steps": 4, "block": 4, "resolution": 8}


@pytest.mark.parametrize(
    ("answer", "cleaned"),
    [
        ("yes, it is", "Yes"),
        ("I would say no", "No"),
        ("No, yes", "No"),
        ("yes or no", "Yes"),
        ("maybe", "maybe"),
        ("snow", "No"),  # the published code looks inside words
        ("", ""),
    ],
)
def test_yes_or_no_answers_are_cleaned_as_published(answer, cleaned):
    assert yes_or_no(answer) == cleaned


def test_other_finishes():
    assert FINISHES["mme"]("perhaps it might be a dog") == "perhaps it might"
    assert FINISHES["mme"]("a b c d e") == "a b c d e"  # short enough
    assert FINISHES["lower"](" A Dog. ") == "a dog"
    assert FINISHES["as_is"](" A Dog. ") == "A Dog."


def test_the_table_is_the_published_one():
    for name, source in SETTINGS.items():
        settings = source.settings
        assert (settings.length, settings.steps, settings.block) == (2, 2, 2), name
        assert (settings.temperature, settings.resolution, settings.fit) == (0, 512, "crop")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"fit": "stretch"}, "fit is 'stretch'; expected one of crop, squash"),
        ({"finish": "x"}, "finish is 'x'"),
        ({"resolution": 0}, "resolution is 0"),
        ({"block": 3}, "block 3 does not divide length 4"),
    ],
)
def test_settings_that_do_not_fit_are_refused(change, message):
    with pytest.raises(InputError, match=message):
        AnswerSettings(**{**SHORT, **change})
