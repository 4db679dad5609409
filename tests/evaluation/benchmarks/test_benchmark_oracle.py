"""Prompts and rules beside lm-evaluation-harness's own tasks."""

import ast
import importlib.resources
import random
from pathlib import Path

import pytest
from benchmark_files import GSM8K, MMLU, write_lines, write_mmlu

from jaxreason.evaluation.benchmarks.asking import ask
from jaxreason.evaluation.benchmarks.questions import Question, read_questions
from jaxreason.evaluation.benchmarks.scoring import score
from jaxreason.evaluation.benchmarks.settings import find_setting

pytestmark = pytest.mark.oracle

TEXTS = (
    *("#### 1,234", "#### 1234.", "#### $18", "$18", "$1,234.00", "The answer is 18.", "-7", "- 7"),
    *("first 3, then 1,234 and no more", "The answer is -7", "The answer is 1,234.0.", "...", ""),
    *("#### 7\n#### 8", "a 8. b", "x=10-7", "####", "#### .", "The answer is 5 and 6", "8,000,"),
)
GOLDS = ("It is so.\n#### 1,234", "#### 18", "#### -7", "#### 8", "3\n#### 7", "#### 8000")


def functions_of(name, *wanted):
    """Functions of a task's file, without importing it: it asks for more libraries."""
    folder = Path(str(importlib.resources.files("lm_eval"))) / "tasks"
    body = ast.parse((folder / name).read_text()).body
    chosen = [node for node in body if isinstance(node, ast.FunctionDef) and node.name in wanted]
    found = {}
    exec(compile(ast.Module(chosen, []), name, "exec"), found)
    return found


def yaml_of(name):
    import yaml

    folder = Path(str(importlib.resources.files("lm_eval"))) / "tasks"

    class Loader(yaml.SafeLoader):
        pass

    Loader.add_constructor("!function", lambda loader, node: None)
    return yaml.load((folder / name).read_text(), Loader)


def theirs(config, text, gold):
    """Filter name to whether their filter and metric call the text right."""
    from lm_eval.api.metrics import exact_match_hf_evaluate
    from lm_eval.filters.extraction import RegexFilter

    options = {k: v for k, v in config["metric_list"][0].items() if k.startswith(("ign", "regex"))}
    found = {}
    for each in config["filter_list"]:
        step = {k: v for k, v in each["filter"][0].items() if k != "function"}
        taken = next(iter(RegexFilter(**step).apply([[text]], [{}])))[0]
        same = exact_match_hf_evaluate(predictions=[taken], references=[gold], **options)
        found[each["name"]] = (taken, bool(same["exact_match"]))
    return found


@pytest.mark.parametrize(
    ("file", "setting"),
    [("gsm8k/gsm8k.yaml", "lm-eval"), ("gsm8k/gsm8k-cot.yaml", "cot")],
)
def test_rules_agree_on_awkward_answers(file, setting):
    config, ours = yaml_of(file), find_setting("gsm8k", setting)
    strict, flexible = ours.metrics
    assert list(ours.until) == config["generation_kwargs"]["until"]
    assert ours.shots == config["num_fewshot"]
    right = 0
    for text in TEXTS:
        for gold in GOLDS:
            wanted = theirs(config, text, gold)
            found = {m: tuple(score(m, [text], [gold])[0]) for m in ours.metrics}
            assert found[strict] == wanted["strict-match"], text
            assert found[flexible] == wanted["flexible-extract"], text
            right += found[flexible][1]
    assert right > 5


def drawn(config, rows, pool):
    """Prompts by their sampler and their way of joining."""
    import jinja2
    from lm_eval.api.samplers import ContextSampler

    sampler = ContextSampler(pool, rnd=1234)
    text = jinja2.Template(config["doc_to_text"])
    target = jinja2.Template(config["doc_to_target"])
    for row in rows:
        shots = sampler.sample(config["num_fewshot"], eval_doc=None)
        solved = [f"{text.render(**shot)} {target.render(**shot)}\n\n" for shot in shots]
        yield "".join(solved) + text.render(**row)


def test_the_same_examples_are_drawn(tmp_path):
    pool = [dict(row, question=f"{n}. {row['question']}") for n in range(9) for row in GSM8K]
    random.Random(0).shuffle(pool)
    data = read_questions("gsm8k", write_lines(tmp_path / "test.jsonl", GSM8K)).questions
    examples = read_questions("gsm8k", write_lines(tmp_path / "train.jsonl", pool)).questions
    ours = ask(find_setting("gsm8k"), data, examples, str)
    assert [each.context for each in ours] == list(drawn(yaml_of("gsm8k/gsm8k.yaml"), GSM8K, pool))


def test_letters_are_asked_for_alike(tmp_path):
    import jinja2

    config = yaml_of("mmlu/default/_default_template_yaml")
    description = yaml_of("mmlu/default/mmlu_high_school_physics.yaml")["description"]
    data = read_questions("mmlu", write_mmlu(tmp_path / "test", "test")).questions
    dev = read_questions("mmlu", write_mmlu(tmp_path / "dev", "dev", 5)).questions
    question, *choices, letter = MMLU["high_school_physics"][0]
    text = jinja2.Template(config["doc_to_text"]).render(question=question, choices=choices)
    asked = ask(find_setting("mmlu"), data, dev, str)[2]
    assert asked.context == description + f"{text} {letter}\n\n" * 5 + text
    assert asked.continuations == tuple(f" {each}" for each in config["doc_to_choice"])


def test_truthfulqa_is_asked_for_alike():
    import jinja2

    config = yaml_of("truthfulqa/truthfulqa_mc1.yaml")
    wanted = jinja2.Template(config["doc_to_text"]).render(question="Is it?").strip()
    question = Question("0", "Is it?", "A", "yes", ("yes", "no"))
    assert ask(find_setting("truthfulqa_mc1"), [question], (), str)[0].context == wanted


def test_the_worked_examples_of_both_prompts():
    import jinja2

    minerva = functions_of("minerva_math/utils.py", "doc_to_text", "list_fewshot_samples")
    doc_to_text, samples = minerva["doc_to_text"], minerva["list_fewshot_samples"]()
    wanted = "".join(f"{doc_to_text(s)} {s['solution']}\n\n" for s in samples)
    question = Question("0", "Why?", "1", "1")
    context = ask(find_setting("math500"), [question], (), str)[0].context
    assert context == wanted + doc_to_text({"problem": "Why?"})
    config = yaml_of("gsm8k/gsm8k-cot.yaml")
    shots = config["fewshot_config"]["samples"]
    text = jinja2.Template(config["doc_to_text"])
    wanted = "".join(f"{text.render(**shot)} {shot['target']}\n\n" for shot in shots)
    context = ask(find_setting("gsm8k", "cot"), [question], (), str)[0].context
    assert context == wanted + text.render(question="Why?")
