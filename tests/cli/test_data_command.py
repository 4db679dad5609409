"""`jaxreason data list`, `show` and `check` on small files."""

import json

import pytest
from tiny_tokenizers import write_tiny_tokenizer

from jaxreason.cli.main import main


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    write_tiny_tokenizer(folder)
    files = {
        "gsm8k.jsonl": [{"question": f"{i}+1?", "answer": f"so\n#### {i + 1}"} for i in range(4)],
        "pairs.jsonl": [{"prompt": "Hi?", "chosen": "Good", "rejected": "Bad"}] * 2,
        "bad.jsonl": [{"text": "abc"}, {"txt": "x"}, {"text": 3}, {"text": "abcdef"}],
        "answers.jsonl": [
            {"prompt": f"{i}?", "answer": x} for i, x in enumerate(("1", "", "####"))
        ],
        "none.jsonl": [{"a": 1}],
    }
    for name, rows in files.items():
        (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def run(capsys, *arguments):
    code = main(["data", *map(str, arguments)])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_provided_data_sets_are_listed_and_described(capsys):
    code, out, _ = run(capsys, "list")
    assert code == 0
    for name in ("gsm8k", "math500", "ultrafeedback", "imagenet_captions", "llava", "clevr"):
        assert f"\n{name} " in f"\n{out}"
    code, out, _ = run(capsys, "show", "gsm8k")
    assert code == 0
    assert "openai/gsm8k" in out
    assert 'DataConfig(known="gsm8k", path="...", kind="prompts")' in out


def test_records_are_shown_as_a_reader_sees_them(capsys, folder):
    code, out, _ = run(capsys, "show", "gsm8k", "--path", folder / "gsm8k.jsonl", "-n", "1")
    assert code == 0
    assert "line 1\n[user] 0+1?\n[answer] 1\n--- 4 records of kind prompts" in out
    code, out, _ = run(capsys, "show", folder / "gsm8k.jsonl", "--first", "3")
    assert "read as chat; --kind prompts is possible as well" in out
    assert out.count("[user]") == 1
    code, out, _ = run(capsys, "show", folder / "pairs.jsonl", "--columns", "question", "prompt")
    assert "[chosen]\n[assistant] Good\n[rejected]\n[assistant] Bad" in out


def test_records_are_shown_as_a_model_sees_them(capsys, folder):
    code, out, _ = run(capsys, "show", folder / "pairs.jsonl", "--tokenizer", folder, "-n", "1")
    assert code == 0
    assert "tokens)" in out
    assert "<|im_start|>user\nHi?<|im_end|>\n<|im_start|>assistant\n«Good<|im_end|>»" in out
    assert "«Bad<|im_end|>»" in out
    plain = ("--tokenizer", folder, "--template", "plain", "-n", "1")
    _, out, _ = run(capsys, "show", folder / "gsm8k.jsonl", *plain)
    assert "0+1?«so\n#### 1" in out
    kind = ("--tokenizer", folder, "--kind", "prompts", "-n", "1")
    _, out, _ = run(capsys, "show", folder / "gsm8k.jsonl", *kind)
    assert out.count("«") == 0
    assert "<|im_start|>assistant\n\n[answer] so\n#### 1" in out


def test_a_check_names_everything_that_is_wrong(capsys, folder):
    code, out, _ = run(capsys, "check", folder / "bad.jsonl")
    assert code == 1
    assert "4 records, kind text, 2 bad" in out
    assert "column 'text': 3\n  column 'txt': 1" in out
    assert "characters: 3 at least, median 4, 95 % up to 6, 6 at most" in out
    assert "bad.jsonl, line 2: columns are 'txt'" in out
    assert "bad.jsonl, line 3: text is 3; expected text" in out
    code, out, _ = run(capsys, "check", folder / "pairs.jsonl", "--tokenizer", folder)
    assert code == 0
    assert "2 records, kind preference, 0 bad" in out
    assert "tokens:" in out


def test_a_check_names_prompts_that_cannot_be_judged(capsys, folder):
    code, out, _ = run(capsys, "check", folder / "answers.jsonl", "--kind", "prompts")
    assert code == 1
    assert "3 records, kind prompts, 2 bad" in out
    for line, text in ((2, ""), (3, "####")):
        said = f"answers.jsonl, line {line}: answer {text!r} holds nothing"
        assert said in out
    code, out, _ = run(capsys, "check", folder / "gsm8k.jsonl", "--kind", "prompts")
    assert code == 0
    assert "4 records, kind prompts, 0 bad" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["show", "none.jsonl"], "columns 'a' are of no kind; rename them with --columns"),
        (["show", "gsm8k.jsonl", "--kind", "chats"], "data.kind is 'chats'"),
        (["show", "gsm8k.jsonl", "--path", "x"], "is no provided data set"),
        (["show", "gsm8k.jsonl", "--first", "9"], "first is 9; the data set has 4 records"),
        (["show", "gsm8k.jsonl", "-n", "0"], "count is 0"),
        (["check", "nothing.jsonl"], "no such file or folder"),
        (["shows"], "subcommand 'shows' of `jaxreason data` is unknown"),
    ],
)
def test_requests_that_cannot_be_met(capsys, folder, arguments, message):
    given = [str(folder / a) if a.endswith(".jsonl") else a for a in arguments]
    code, _, err = run(capsys, *given)
    assert code in (1, 2)
    assert message in err
    assert err.count("\n") == 1
