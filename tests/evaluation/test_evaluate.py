"""From problems to the document, with samplers whose answers are known."""

import json

import numpy as np
import pytest
from scripted import scripted

from jaxreason.errors import FailureError, InputError
from jaxreason.evaluation.documents import dump, read_evaluation
from jaxreason.evaluation.generate import generate, prompt_batches
from jaxreason.evaluation.pipeline import evaluate
from jaxreason.evaluation.settings import EvaluationSettings, default_limit, draw_problems
from jaxreason.mazes import GENERATORS, MazeConfig
from jaxreason.tokens import MazeVocabulary

SIZE = 10
MAZE = MazeConfig("wilson", SIZE, SIZE)
VOCABULARY = MazeVocabulary(SIZE, SIZE)
SETTINGS = EvaluationSettings(count=12, temperatures=(0.0, 1.0), batch_size=7)
PROBLEMS, SKIPPED = draw_problems(SETTINGS, MAZE)


def run(answer, settings=SETTINGS, **options):
    problems, _ = draw_problems(settings, MAZE, options.get("tie_break", "paper"))
    make = scripted(VOCABULARY, problems, answer)
    return evaluate(None, {}, VOCABULARY, MAZE, settings, make_sampler=make, **options)


def truth(problem, trace, number):
    return VOCABULARY.encode_completion(trace.events, trace.plan)


def swapped(problem, trace, number):
    group = [other for _, other in PROBLEMS[problem.generator]]
    place = next(i for i, other in enumerate(group) if np.array_equal(other.plan, trace.plan))
    donor = group[(place + 1) % len(group)]
    return VOCABULARY.encode_completion(donor.events, trace.plan)


def broken_plan(problem, trace, number):
    return VOCABULARY.encode_completion(trace.events, trace.plan[1:])


def solution_only(problem, trace, number):
    return VOCABULARY.encode_completion(None, trace.plan)


def endless(problem, trace, number):
    return np.full(100_000, VOCABULARY.id("close"), np.int32)


def shares(document, *path):
    """(generator, temperature) to successes / n."""
    found = {}
    for result in document["results"]:
        value = result["metrics"]
        for key in path:
            value = value[key]
        found[result["generator"], result["temperature"]] = value["value"]
    return found


def every(value):
    return {(name, heat): value for heat in (0.0, 1.0) for name in GENERATORS}


def test_the_truth_is_all_valid_on_every_generator():
    document = run(truth)
    assert SKIPPED == []
    assert shares(document, "plan_valid") == every(1.0)
    assert shares(document, "optimal") == every(1.0)
    for level in ("reference", "strict", "exact"):
        assert shares(document, "trace_valid", level) == every(1.0)
    assert shares(document, "truncated") == every(0.0)
    for result in document["results"]:
        assert result["metrics"]["first_errors"] == {}
        columns = result["completions"]
        assert columns["trace_tokens"] == columns["true_trace_tokens"]
        assert result["metrics"]["table"]["reference"]["both"] == 12


def test_exact_compares_with_the_search_that_made_the_training_data():
    document = run(truth, tie_break="searchformer")
    for level, valid in (("strict", 1.0), ("exact", 1.0), ("reference", 0.0)):
        assert shares(document, "trace_valid", level) == every(valid)
    assert document["tie_break"] == "searchformer"
    assert set(shares(run(truth, tie_break="high_g"), "trace_valid", "exact").values()) == {1.0}


def test_swapped_traces_are_invalid_and_their_plans_valid():
    document = run(swapped)
    assert shares(document, "plan_valid") == every(1.0)
    for level in ("reference", "strict", "exact"):
        assert shares(document, "trace_valid", level) == every(0.0)
        assert shares(document, "trace_valid_within_valid_plans", level) == every(0.0)
    assert all(sum(r["metrics"]["first_errors"].values()) == 12 for r in document["results"])


def test_a_plan_that_lacks_its_start_is_invalid():
    document = run(broken_plan)
    assert shares(document, "plan_valid") == every(0.0)
    for result in document["results"]:
        errors = result["metrics"]["plan_errors"]
        assert set(errors) <= {"illegal_start", "plan_syntax_error"}
        assert result["metrics"]["optimal_within_valid_plans"]["value"] is None


def test_solution_only_has_no_trace():
    document = run(solution_only, regime="solution_only")
    assert shares(document, "plan_valid") == every(1.0)
    assert shares(document, "has_trace") == every(0.0)
    assert shares(document, "truncated") == every(0.0)


def test_what_does_not_end_is_cut_and_counted():
    document = run(endless, EvaluationSettings(count=3, max_new_tokens=32))
    assert shares(document, "truncated") == every(1.0)
    assert shares(document, "plan_valid") == every(0.0)
    assert all(set(r["completions"]["tokens"]) == {32} for r in document["results"])


def test_half_wrong_is_half_with_its_error():
    settings = EvaluationSettings(count=8, temperatures=(1.0,), samples=2, generators=("wilson",))
    document = run(lambda *a: (truth, broken_plan)[a[2]](*a), settings)
    (result,) = document["results"]
    assert result["metrics"]["plan_valid"]["n"] == 16
    assert result["metrics"]["plan_valid"]["value"] == 0.5
    assert result["metrics"]["solved_by_any"]["value"] == 1.0


def test_greedy_takes_one_sample():
    settings = EvaluationSettings(count=4, samples=3, generators=("wilson",))
    greedy, warm = run(truth, settings)["results"]
    assert (greedy["metrics"]["plan_valid"]["n"], warm["metrics"]["plan_valid"]["n"]) == (4, 12)


def test_the_same_arguments_give_the_same_document():
    first, second = run(truth), run(truth)
    for document in (first, second):
        del document["seconds"]
    assert dump(first) == dump(second)


def test_the_document_survives_its_file(tmp_path):
    document = run(swapped)
    (tmp_path / "a.json").write_text(dump(document))
    assert read_evaluation(tmp_path / "a.json") == document
    half = json.dumps({key: document[key] for key in ("schema", "name", "run")})
    for text in (b"{", b"[]", b"\xff", b'{"schema": "0"}', half.encode()):
        (tmp_path / "a.json").write_bytes(text)
        with pytest.raises(FailureError, match=r"a\.json"):
            read_evaluation(tmp_path / "a.json")


def test_examples_hold_solved_and_failed_problems():
    flip = {}

    def sometimes(problem, trace, number):
        right = flip.setdefault(problem.digest(), len(flip) % 2 == 0)
        return (truth if right else broken_plan)(problem, trace, number)

    document = run(sometimes)
    solved = [example["solved"] for example in document["examples"]]
    assert solved.count(True) == solved.count(False) == 2 * len(GENERATORS)
    for example in document["examples"]:
        rows = example["problem"]["rows"]
        x, y = example["problem"]["start"]
        assert len(rows) == SIZE
        assert rows[y][x] == "."


def mixed_problems():
    return [problem for group in PROBLEMS.values() for problem, _ in group]


def test_batches_have_few_shapes_and_hold_every_problem_once():
    problems = mixed_problems()
    batches = list(prompt_batches(VOCABULARY, problems, 7, buckets=3))
    assert len({batch.tokens.shape for batch in batches}) <= 3
    assert all(batch.tokens.shape[0] == 7 for batch in batches)
    places = np.concatenate([batch.places for batch in batches])
    assert sorted(places.tolist()) == list(range(len(problems)))
    for batch in batches:
        for row, place in enumerate(batch.places.tolist()):
            prompt = VOCABULARY.encode_prompt(problems[place])
            assert batch.lengths[row] == prompt.size
            assert batch.tokens[row, : prompt.size].tolist() == prompt.tolist()
            assert (batch.tokens[row, prompt.size :] == VOCABULARY.pad).all()


def test_batches_do_not_depend_on_the_order_of_the_problems():
    problems = mixed_problems()
    order = np.random.default_rng(0).permutation(len(problems))
    here = list(prompt_batches(VOCABULARY, problems, 7))
    there = list(prompt_batches(VOCABULARY, [problems[i] for i in order], 7))
    for one, other in zip(here, there, strict=True):
        assert np.array_equal(one.tokens, other.tokens)
        assert one.places.tolist() == order[other.places].tolist()


def test_completions_go_back_to_their_problems_in_any_order():
    make = scripted(VOCABULARY, PROBLEMS, truth)
    pairs = [pair for group in PROBLEMS.values() for pair in group]
    for order in (range(len(pairs)), np.random.default_rng(1).permutation(len(pairs))):
        problems = [pairs[i][0] for i in order]
        done = []
        got = generate(
            make(1.0, 2, 2000), {}, VOCABULARY, problems, samples=2, on_batch=done.append
        )
        assert sum(done) == len(pairs)
        for place, i in enumerate(order):
            expected = VOCABULARY.decode_words(truth(*pairs[i], 0)[:-1])
            assert got.words[2 * place] == got.words[2 * place + 1] == expected


def test_a_sampler_with_another_number_of_samples_is_refused():
    make = scripted(VOCABULARY, PROBLEMS, truth)
    with pytest.raises(InputError, match="samples=2"):
        generate(make(1.0, 1, 50), {}, VOCABULARY, mixed_problems(), samples=2)


def test_the_default_limit_holds_every_true_completion():
    longest = max(truth(p, t, 0).size for group in PROBLEMS.values() for p, t in group)
    assert default_limit(PROBLEMS, "correct") >= longest
    longest = max(solution_only(p, t, 0).size for group in PROBLEMS.values() for p, t in group)
    assert longest <= default_limit(PROBLEMS, "solution_only") < default_limit(PROBLEMS, "correct")


def test_test_problems_share_none_with_training():
    train, _ = draw_problems(EvaluationSettings(count=50, split="train"), MAZE)
    seen = {problem.digest() for group in train.values() for problem, _ in group}
    assert not seen & {problem.digest() for problem in mixed_problems()}


def test_generators_that_cannot_exist_are_listed_with_the_reason():
    flat = MazeConfig("free_space", 2, 2)
    problems, skipped = draw_problems(EvaluationSettings(count=1, split="train"), flat)
    assert "wilson" not in problems
    reasons = {item["generator"]: item["reason"] for item in skipped}
    assert "too small for wilson" in reasons["wilson"]
    settings = EvaluationSettings(count=1, generators=("wilson",))
    with pytest.raises(InputError, match="none can be evaluated"):
        evaluate(None, {}, MazeVocabulary(2, 2), flat, settings)


@pytest.mark.parametrize(
    ("field", "wrong"),
    [
        ("generators", ("prim",)),
        ("generators", ()),
        ("generators", ("wilson", "wilson")),
        ("count", 0),
        ("samples", 0),
        ("split", "dev"),
        ("temperatures", (-1.0,)),
        ("temperatures", (float("nan"),)),
        ("max_new_tokens", 0),
        ("seed", -1),
    ],
)
def test_settings_out_of_range_are_named(field, wrong):
    with pytest.raises(InputError, match=field):
        EvaluationSettings(**{field: wrong})
