"""The letter that an answer names, by MMMU's rules."""

import pytest

from jaxreason.errors import InputError
from jaxreason.evaluation.vision.multiple_choice import named_choice

CHOICES = {"A": "a cat", "B": "two dogs", "C": "42", "D": "Cat food"}


@pytest.mark.parametrize(
    ("answer", "letter"),
    [
        ("B", "B"),
        ("(C)", "C"),
        ("B.", "B"),
        ("'B'", "B"),
        ("The answer is B", "B"),
        ("It is (B), not (A).", "A"),  # the last one
        ("A or B", "B"),
        ("(A) or B", "A"),  # brackets count more
        ("A B (D) C", "D"),
        ("B: two dogs", None),  # no space after the letter
        ("b", None),
        ("a cat", None),  # texts are looked for in more than five words only
        ("I can see that there are Two Dogs", "B"),
        ("I see a cat and then two dogs here", "B"),
        ("of all I take cat food, not a cat", "A"),
        ("", None),
        ("Because it barks", None),
    ],
)
def test_the_letter_an_answer_names(answer, letter):
    assert named_choice(answer, CHOICES) == letter


def test_no_choices_are_refused():
    with pytest.raises(InputError, match="there are no choices"):
        named_choice("A", {})
