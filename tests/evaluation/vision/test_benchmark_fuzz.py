"""A thousand damaged benchmark files: each is read, or refused in one sentence that names it."""

import json
import random
import signal
import tracemalloc

import pytest

from jaxreason.errors import FailureError, InputError
from jaxreason.evaluation.vision.benchmarks import SCORERS, ScoreOptions, score
from jaxreason.evaluation.vision.report import markdown

FILES = 1000
MOST_BYTES = 20_000_000
MOST_SECONDS = 20
VALUES = (
    *("null", "true", "-1", "0", "0.5", "1e400", "NaN", "9" * 19, "9" * 400, "9" * 5000, "[]"),
    *("{}", "[[]]", '""', '".."', '"\\ud800"', '"\\u0000"', '"\\t"', f'"{"x" * 3000}"', '"no"'),
    *("[" * 5000, '{"a":' * 5000, "[0, 1e99]", '[1, "left of"]', '{"a": 1, "a": 2}'),
)
PEOPLE = [{"answer": a, "answer_id": i} for i, a in enumerate(["yes"] * 6 + ["No."] * 4)]
QUESTION = {
    "semantic": [{"operation": "select", "dependencies": [], "argument": "dog (1)"}],
    "entailed": ["1"],
    "question": "What?",
    "imageId": "2405722",
    "isBalanced": True,
    "groups": {"global": "animal", "local": "06-dog"},
    "answer": "dog",
    "types": {"detailed": "categoryThis", "semantic": "cat", "structural": "query"},
}
PROMPT = {
    "tag": "position",
    "include": [
        {"class": "cat", "count": 1},
        {"class": "dog", "count": 1, "position": ["left of", 0], "color": "red"},
    ],
    "prompt": "a photo of a red dog left of a cat",
}
SEEN = {
    "cat": [{"box": [0, 0, 10, 10], "score": 0.9}],
    "dog": [{"box": [-90, 0.5, 10, 10], "score": 0.7, "color": "red"}],
}
DOCUMENTS = {
    "vqav2": (
        {"r.json": [{"question_id": 1, "answer": "yes"}]},
        {
            "a.json": {
                "annotations": [
                    {
                        "question_id": 1,
                        "question_type": "is",
                        "answer_type": "yes/no",
                        "answers": PEOPLE,
                    }
                ]
            }
        },
    ),
    "gqa": (
        {"p.json": [{"questionId": "1", "prediction": "dog"}]},
        {"q.json": {"1": QUESTION}, "c.json": {"1": {"valid": ["dog"], "plausible": ["dog"]}}},
    ),
    "pope": (
        {"p.jsonl": {"question_id": 1, "answer": "No"}},
        {"q.jsonl": {"question_id": 1, "image": "a.jpg", "text": "Is there?", "label": "no"}},
    ),
    "geneval": (
        {"d.jsonl": {"filename": "0.png", "metadata": PROMPT, "detections": SEEN}},
        {"m.jsonl": PROMPT},
    ),
}
MME = {"color.txt": "a.jpg\tIs it?\tYes\tyes\na.jpg\tIs it not?\tNo\tno\n"}


def with_other_value(text, draw):
    """JSON text with one value, somewhere in it, that means something else; or a name less."""
    document, holes = json.loads(text), []

    def walk(node):
        for key, value in node.items() if isinstance(node, dict) else enumerate(node):
            holes.append((node, key))
            if isinstance(value, dict | list):
                walk(value)

    walk(document)
    node, key = draw.choice(holes)
    if isinstance(node, dict) and draw.random() < 0.2:
        node[draw.choice(["unknown", "2"])] = node.pop(key)
        return json.dumps(document)
    node[key] = "<<hole>>"
    return json.dumps(document).replace('"<<hole>>"', draw.choice(VALUES))


def cut_and_flipped(content, draw):
    """The bytes with one thing wrong."""
    place = draw.randrange(len(content))
    match draw.randrange(4):
        case 0:
            return content[:place]
        case 1:
            return content[:place] + bytes([draw.randrange(256)]) + content[place + 1 :]
        case 2:
            return content[:place] + content[place + draw.randrange(1, 50) :]
        case _:
            other = draw.randrange(len(content))
            return content[:place] + content[other : other + 80] + content[place:]


def damaged(content, draw, values):
    """Damaged bytes; `values` says whether the content is JSON."""
    if values and draw.random() < 0.7:
        content = with_other_value(content.decode(), draw).encode()
        if draw.random() < 0.8:
            return content
    return cut_and_flipped(content, draw)


@pytest.mark.parametrize("benchmark", sorted(SCORERS))
def test_a_damaged_file_is_scored_or_refused_in_a_sentence(benchmark, tmp_path):
    if benchmark == "mme":
        parts = {"results": MME}, {}
    else:
        parts = tuple(
            {name: json.dumps(value) for name, value in files.items()}
            for files in DOCUMENTS[benchmark]
        )
    paths = {}
    for files in parts:
        for name, text in files.items():
            where = tmp_path / "results" / "color.txt" if benchmark == "mme" else tmp_path / name
            where.parent.mkdir(exist_ok=True)
            where.write_bytes((text if benchmark != "mme" else MME["color.txt"]).encode())
            paths[where] = where.read_bytes()
    first = tmp_path / "results" if benchmark == "mme" else tmp_path / next(iter(parts[0]))
    options = ScoreOptions(
        (str(first),),
        tuple(str(tmp_path / name) for name in parts[1]),
        partial=benchmark == "mme",
        consistency=benchmark == "gqa",
    )
    assert score(benchmark, options).count > 0
    draw, outcomes = random.Random(benchmark), {"read": 0, "refused": 0}
    signal.signal(signal.SIGALRM, signal.default_int_handler)
    tracemalloc.start()
    try:
        for _ in range(FILES // len(SCORERS)):
            path = draw.choice(sorted(paths))
            path.write_bytes(damaged(paths[path], draw, benchmark != "mme"))
            signal.alarm(MOST_SECONDS)
            tracemalloc.reset_peak()
            try:
                report = score(benchmark, options)
                json.dumps(report.as_json(), allow_nan=False)
                markdown(report)
                outcomes["read"] += 1
            except (InputError, FailureError) as error:
                said = str(error)
                assert "\n" not in said
                assert len(said) < 1000
                named = [other.name for other in paths] + ["question", "prompt ", "subtask"]
                assert any(name in said for name in named), said
                outcomes["refused"] += 1
            finally:
                signal.alarm(0)
            assert tracemalloc.get_traced_memory()[1] < MOST_BYTES
            path.write_bytes(paths[path])
    finally:
        tracemalloc.stop()
    assert outcomes["refused"] > FILES // len(SCORERS) // 2
    assert outcomes["read"] > 0
