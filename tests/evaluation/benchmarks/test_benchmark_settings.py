"""The table of settings is what was published, and every question is put by it."""

import re

import pytest
from benchmark_files import GSM8K, write_lines, write_mmlu

from jaxreason.errors import InputError
from jaxreason.evaluation.benchmarks.asking import ask
from jaxreason.evaluation.benchmarks.prompts import PROMPTS, exemplars
from jaxreason.evaluation.benchmarks.questions import Question, read_questions
from jaxreason.evaluation.benchmarks.scoring import RULES
from jaxreason.evaluation.benchmarks.settings import BENCHMARKS, SETTINGS, find_setting
from jaxreason.evaluation.benchmarks.terminal import settings_lines


def render(messages):
    return "".join(f"<{m['role']}>{m['content']}" for m in messages) + "<assistant>"


def test_every_setting_is_complete_and_shown():
    names = [(setting.benchmark, setting.name) for setting in SETTINGS]
    assert len(set(names)) == len(names)
    assert {benchmark for benchmark, _ in names} == set(BENCHMARKS)
    shown = "\n".join(settings_lines())
    for setting in SETTINGS:
        assert setting.prompt in PROMPTS
        assert set(setting.metrics) <= set(RULES)
        assert setting.generates == (setting.new_tokens > 0)
        assert setting.source in shown
        if setting.pick not in ("none", "first", "drawn"):
            assert len(exemplars(setting.pick)) == setting.shots


def test_the_worked_examples_say_the_right_answers():
    said = [
        re.search(r"answer is (-?\d+)\.?\s*$", solution)[1] for _, solution in exemplars("wei8")
    ]
    assert said == ["6", "5", "39", "8", "9", "29", "33", "8"]
    said = [re.search(r"answer is (\d+)\n$", solution)[1] for _, solution in exemplars("complex4")]
    assert said == ["4", "201", "140", "146"]
    for _, solution in exemplars("minerva4"):
        assert solution.endswith("I hope it is correct.")


def test_drawn_examples_depend_on_the_place_of_a_question_alone(tmp_path):
    found = read_questions("gsm8k", write_lines(tmp_path / "a.jsonl", GSM8K)).questions
    setting = find_setting("gsm8k")
    asked = ask(setting, found[:4], found, render)
    assert [each.context for each in ask(setting, found[:2], found, render)] == [
        each.context for each in asked[:2]
    ]
    parts = asked[0].context.split("\n\n")
    assert len(parts) == 6
    assert parts[-1] == f"Question: {GSM8K[0]['question']}\nAnswer:"
    solved = {f"Question: {row['question']}\nAnswer: {row['answer']}" for row in GSM8K}
    assert set(parts[:-1]) <= solved
    assert len(set(parts[:-1])) == 5
    shots = {each.context.rpartition("\n\n")[0] for each in asked}
    assert len(shots) == 4
    with pytest.raises(InputError, match=r"has 3 questions; gsm8k/lm-eval shows 5 solved ones"):
        ask(setting, found, found[:3], render)


def test_letters_of_mmlu_come_with_examples_of_the_subject(tmp_path):
    found = read_questions("mmlu", write_mmlu(tmp_path / "test", "test")).questions
    dev = read_questions("mmlu", write_mmlu(tmp_path / "dev", "dev", 2)).questions
    setting = find_setting("mmlu").with_changes(shots=1)
    asked = ask(setting, found, dev, render)
    assert asked[2].continuations == (" A", " B", " C", " D")
    assert asked[2].context == (
        "The following are multiple choice questions (with answers) about high school physics.\n\n"
        "What is the unit of force?\nA. the watt\nB. the joule\nC. the newton\nD. the volt\n"
        "Answer: C\n\n"
        "What is the unit of force?\nA. the watt\nB. the joule\nC. the newton\nD. the volt\nAnswer:"
    )
    with pytest.raises(InputError, match=r"has 2 questions of subject 'high_school_physics'"):
        ask(find_setting("mmlu").with_changes(shots=3), found, dev, render)
    chat = ask(find_setting("mmlu", "llada-instruct").with_changes(shots=1), found, dev, render)
    assert chat[0].context.startswith("<user>There is a single choice question about anatomy.")
    assert "Answer: <assistant>A\n<user>" in chat[0].context
    assert chat[0].context.endswith("D. the eye\nA: <assistant>")


@pytest.mark.parametrize(
    ("benchmark", "name", "begins", "ends"),
    [
        ("gsm8k", "qwen-math", "<system>Please reason step by step, and", "<user>Q {x}<assistant>"),
        ("gsm8k", "cot", "Q: There are 15 trees", "The answer is 8.\n\nQ: Q {x}\nA:"),
        ("gsm8k", "d1", "<user>You are a math expert.", "</answer>\n\nQ {x}<assistant><reasoning>"),
        ("math500", "lm-eval", "Problem:\nFind the domain", "Problem:\nQ {x}\n\nSolution:"),
        ("math500", "llada-instruct", "<user>Q {x}\nPlease", "within \\boxed{}.<assistant>"),
    ],
)
def test_prompts_begin_and_end_as_published(benchmark, name, begins, ends):
    question = Question("0", "Q {x}", "1", "1")
    context = ask(find_setting(benchmark, name), [question], (), render)[0].context
    assert context.startswith(begins)
    assert context.endswith(ends)


def test_choices_are_scored_as_texts_where_they_are_not_shown():
    question = Question("0", "Is it?", "B", "no", ("yes", "no"))
    asked = ask(find_setting("truthfulqa_mc1"), [question], (), render)[0]
    assert asked.context.startswith("Q: What is human life expectancy")
    assert asked.context.endswith("held in Barcelona, Spain.\n\nQ: Is it?\nA:")
    assert asked.continuations == (" yes", " no")


@pytest.mark.parametrize(
    ("benchmark", "name", "changes", "words"),
    [
        ("gsm9k", None, {}, "did you mean 'gsm8k'"),
        ("gsm8k", "mmda", {}, "did you mean 'mmada'"),
        ("mmlu", None, {"temperature": 0.5}, "nothing is generated"),
        ("gsm8k", "mmada", {"new_tokens": 128}, "give block and steps as well"),
        ("gsm8k", "mmada", {"block": 48}, "expected a multiple of block"),
        ("gsm8k", "mmada", {"steps": 16, "block": 8}, "does not divide block"),
        ("gsm8k", "lm-eval", {"block": 16}, "diffusion needs both"),
        ("gsm8k", "cot", {"shots": 9}, "has 8 of its own"),
        ("gsm8k", None, {"shots": -1}, "shots is -1"),
        ("gsm8k", None, {"new_tokens": 0}, "new_tokens is 0"),
    ],
)
def test_what_cannot_be_asked_is_said(benchmark, name, changes, words):
    with pytest.raises(InputError, match=words):
        find_setting(benchmark, name).with_changes(**changes)
