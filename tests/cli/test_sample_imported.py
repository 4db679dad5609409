"""Imported weights answer a prompt, with the ids and the mask mode that were imported."""

import json

import golden_llada
import jax
import numpy as np
import pytest
from saved_runs import save_run

from jaxreason.cli.main import main
from jaxreason.errors import InputError
from jaxreason.sampling.diffusion.config import TextDiffusionConfig
from jaxreason.sampling.diffusion.infill import span
from jaxreason.training.diffusion.imported import ImportedModel
from jaxreason.training.diffusion.imported_sampling import text_infiller, text_sampler
from jaxreason.training.runs import Run, load_run

# Greedy continuation of 7 22 35 48 by the reference, see tests of the sampler.
PROMPT, GREEDY = "7 22 35 48", [20, 16, 55, 16, 42, 36, 20, 41]


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    """A tiny LLaDA whose turn ends with 42."""
    made = tmp_path_factory.mktemp("imported") / "run"
    imported = ImportedModel(
        golden_llada.golden_config(), 59, 58, "full", 50, 4, params_dtype="float32", eot=42
    )
    save_run(made, imported.as_json(), golden_llada.golden_params())
    return made


def test_a_prompt_of_ids_is_answered_up_to_the_end_of_the_turn(directory, capsys):
    words = ["sample", str(directory), "--prompt", PROMPT, "--length", "8", "--block", "8"]
    assert main(words) == 0
    assert [int(word) for word in capsys.readouterr().out.split()] == GREEDY[:4]


def test_a_prompt_of_text_is_a_turn_of_a_conversation(directory, tmp_path, capsys):
    tokenizers = pytest.importorskip("tokenizers")
    words = ["<|startoftext|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>", "unk"]
    words += [f"w{i}" for i in range(5, 60)]
    model = tokenizers.models.WordLevel({word: i for i, word in enumerate(words)}, "unk")
    file = tokenizers.Tokenizer(model)
    file.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
    file.add_special_tokens(words[:4])
    file.save(str(tmp_path / "tokenizer.json"))
    asked = ["sample", str(directory), "--prompt", "w7 w8", "--length", "4", "--block", "4"]
    assert main([*asked, "--tokenizer", str(tmp_path / "tokenizer.json")]) == 0
    answer = capsys.readouterr().out.split()
    # <bos> <header> user </header> w7 w8 <eot> <header> assistant </header>
    assert main(["sample", str(directory), "--prompt", "0 1 4 2 7 8 3 1 4 2", *asked[4:]]) == 0
    ids = [int(word) for word in capsys.readouterr().out.split()]
    assert answer == [words[i] for i in ids if i > 3]


def test_a_gap_gets_neither_end_tokens_nor_images(directory):
    run = load_run(directory)
    fill = text_infiller(run, TextDiffusionConfig(12))
    text = np.random.default_rng(0).integers(0, 40, (4, 12))
    out = fill(run.params, span(text, 2, 11, mask_id=59), jax.random.key(0))
    assert not np.isin(out.tokens, [42, 58, 59, *range(50, 54)]).any()


def test_other_runs_have_no_prompt(directory, tmp_path, capsys):
    assert main(["sample", str(directory)]) == 2
    assert "kind 'imported'); give it a --prompt" in capsys.readouterr().err
    assert main(["sample", str(directory), "--prompt", "two words"]) == 2
    assert "without a tokenizer it must be ids" in capsys.readouterr().err
    assert main(["sample", str(directory), "--prompt", "70", "--length", "8", "--block", "8"]) == 2
    assert "prompt 0 has id 70 at place 0; the model has ids 0 to 59" in capsys.readouterr().err
    trap = ImportedModel(golden_llada.golden_config(), 59, 58, "causal_trap")
    with pytest.raises(InputError, match="mask_mode is 'causal_trap'"):
        text_sampler(Run(trap, trap.transformer(), {}, 0), TextDiffusionConfig(8))
    (tmp_path / "config.json").write_text(json.dumps({"kind": "maze"}))
    assert main(["sample", str(tmp_path)]) == 2
    assert "(kind 'maze'); `jaxreason evaluate`" in capsys.readouterr().err
    assert main(["sample", str(tmp_path), "--prompt", "1"]) == 2
    assert "of kind 'maze'; a prompt is for imported" in capsys.readouterr().err
