"""What a run keeps of its base: the tokenizer, and a description that is checked when read."""

import json
import shutil

import pytest
import tiny_models
from saved_runs import save_run

from jaxreason.errors import FailureError, InputError
from jaxreason.training.converting import export_run, import_run
from jaxreason.training.files import write_atomically
from jaxreason.training.post_training import origin_json
from jaxreason.training.pretrained import keep_tokenizer, tokenizer_of, tokenizer_texts
from jaxreason.training.runs import load_run


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    folder = tmp_path_factory.mktemp("published") / "qwen2"
    tiny_models.write_tiny_model(folder, "qwen2", settings={"eos_token_id": 3})
    return folder


def test_a_run_keeps_the_tokenizer_and_refuses_another(base, tmp_path):
    keep_tokenizer(base, tmp_path / "run")
    assert tokenizer_of(tmp_path / "run").identity == tokenizer_of(base).identity
    keep_tokenizer(base, tmp_path / "run")  # a run that goes on
    shutil.copytree(base, tmp_path / "other")
    document = json.loads((tmp_path / "other" / "tokenizer_config.json").read_text())
    changed = json.dumps(document | {"eos_token": "two"})
    (tmp_path / "other" / "tokenizer_config.json").write_text(changed)
    with pytest.raises(InputError, match=r"another tokenizer .*tokenizer_config.json differs"):
        keep_tokenizer(tmp_path / "other", tmp_path / "run")
    for name in (
        "chat_template.jinja",
        "generation_config.json",
        "additional_chat_templates/x.jinja",
    ):
        shutil.copytree(base, tmp_path / "b", dirs_exist_ok=True)
        (tmp_path / "b" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "b" / name).write_text("{}")
        with pytest.raises(InputError, match=rf"another tokenizer .*{name} differs"):
            keep_tokenizer(tmp_path / "b", tmp_path / "run")
        shutil.rmtree(tmp_path / "b")
    (tmp_path / "bare").mkdir()
    assert tokenizer_of(tmp_path / "bare") is None
    keep_tokenizer(tmp_path / "bare", tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_a_run_of_chats_keeps_what_ends_a_turn_up_to_its_export(base, tmp_path):
    more = tmp_path / "base"
    shutil.copytree(base, more)
    document = json.loads((more / "tokenizer_config.json").read_text())
    (more / "tokenizer_config.json").write_text(
        json.dumps(document | {"eos_token": "<|endoftext|>"})
    )
    (more / "generation_config.json").write_text('{"eos_token_id": 295, "max_new_tokens": 9}')
    keep_tokenizer(more, tmp_path / "plain")
    assert tokenizer_of(tmp_path / "plain").stops == (295,)
    keep_tokenizer(more, tmp_path / "chat", chat=True)
    assert tokenizer_of(tmp_path / "chat").stops == (295, 297)
    keep_tokenizer(more, tmp_path / "chat", chat=True)
    save_run(tmp_path / "chat", {"kind": "x", "origin": origin_json(more)}, load_run(more).params)
    export_run(tmp_path / "chat", tmp_path / "out")
    said = json.loads((tmp_path / "out" / "generation_config.json").read_text())
    assert said == {"eos_token_id": [295, 297], "max_new_tokens": 9}


def test_named_templates_come_along(base, tmp_path):
    more = tmp_path / "base"
    shutil.copytree(base, more)
    (more / "additional_chat_templates").mkdir()
    (more / "additional_chat_templates" / "tool_use.jinja").write_text("tools")
    whole = tokenizer_of(more).identity
    assert whole != tokenizer_of(base).identity
    import_run(more, tmp_path / "run")
    keep_tokenizer(more, tmp_path / "kept")
    export_run(tmp_path / "run", tmp_path / "out")
    for place in ("run", "kept", "out"):
        assert tokenizer_of(tmp_path / place).identity == whole


def test_a_tokenizer_half_written_into_a_store_is_written_again(base, monkeypatch):
    """Its files appear one by one; one process after the other may look at any moment."""
    run = "memory://kept-tokenizers/run"

    def stop(path, content):
        if path.name == "tokenizer.json":
            raise KeyboardInterrupt
        write_atomically(path, content)

    with monkeypatch.context() as patch:
        patch.setattr("jaxreason.training.pretrained.write_atomically", stop)
        with pytest.raises(KeyboardInterrupt):
            keep_tokenizer(base, run)
    assert tokenizer_texts(run) == {}
    with monkeypatch.context() as patch:
        patch.setattr("jax.process_index", lambda: 1)
        keep_tokenizer(base, run)  # no refusal, and nothing is written
    assert tokenizer_texts(run) == {}
    for _ in range(2):
        keep_tokenizer(base, run)
        assert tokenizer_texts(run) == tokenizer_texts(base)


def test_a_run_with_impossible_fields_is_refused_by_name(base, tmp_path):
    import_run(base, tmp_path / "run")
    file = tmp_path / "run" / "config.json"
    document = json.loads(file.read_text())
    model = document["model"]
    for changes, said in (
        ({"model": model | {"layers": 10**9}}, "model.layers is 1000000000; expected at most"),
        ({"settings": "abc"}, "settings is 'abc'; expected an object"),
        ({"settings": None}, "settings is None; expected an object"),
        ({"model": model | {"window_layers": ["a", "b"]}}, r"window_layers\[0\] is 'a'"),
    ):
        file.write_text(json.dumps(document | changes))
        with pytest.raises(FailureError, match=said):
            export_run(tmp_path / "run", tmp_path / "out")
