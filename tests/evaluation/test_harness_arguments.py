"""What stands in `model_args`, as the harness has read it: 'a=1,b=x' with numbers and booleans."""

import pytest

from jaxreason.errors import InputError
from jaxreason.evaluation.harness import HarnessSettings
from jaxreason.evaluation.harness_arguments import settings_of
from jaxreason.evaluation.harness_diffusion_text import DiffusionSettings


def test_settings_of_both_kinds_of_models():
    given = {"run": "a", "step": 3, "fsdp": -1, "max_length": 64, "draws": 4, "threshold": 1}
    found = settings_of({**given, "enable_thinking": False, "tokenizer": None}, "16")
    diffusion = DiffusionSettings(draws=4, threshold=1)
    assert found == HarnessSettings(16, 64, enable_thinking=False, diffusion=diffusion)
    assert settings_of({}) == HarnessSettings()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"max_length": "abc"}, "max_length is 'abc'; expected a whole number or none"),
        ({"max_length": 64.0}, "max_length is 64.0; expected a whole number"),
        ({"max_length": ""}, "max_length is ''; expected a whole number"),
        ({"max_length": True}, "max_length is True; expected a whole number"),
        ({"max_length": -5}, "max_length is -5; expected at least 2"),
        ({"max_gen_toks": None}, "max_gen_toks is None; expected a whole number$"),
        ({"max_gen_toks": 0}, "max_gen_toks is 0; expected at least 1"),
        ({"prefix_token_id": "bos"}, "prefix_token_id is 'bos'; expected a whole number or none"),
        ({"prefix_token_id": -1}, "prefix_token_id is -1; expected at least 0"),
        ({"add_bos_token": 1}, "add_bos_token is 1; expected true or false or none"),
        ({"enable_thinking": "no"}, "enable_thinking is 'no'; expected true or false"),
        ({"think_end_token": 7}, "think_end_token is 7; expected text or none"),
        ({"seed": "x"}, "seed is 'x'; expected a whole number"),
        ({"seed": -1}, "seed is -1; expected 0 to 4294967295"),
        ({"seed": 2**32}, "seed is 4294967296; expected 0 to 4294967295"),
        ({"draws": "many"}, "draws is 'many'; expected a whole number"),
        ({"check_greedy": "off"}, "check_greedy is 'off'; expected true or false"),
        ({"block": 0}, "block is 0; expected at least 1"),
        ({"remasking": "best"}, "remasking is 'best'; expected one of 'low_confidence', 'random'"),
        ({"cache": False}, "cache is False; expected one of 'none'"),
        ({"guidance": float("inf")}, "guidance is inf; expected a number"),
        ({"threshold": "high"}, "threshold is 'high'; expected a number or none"),
        ({"run": 7}, "run is 7; expected text"),
        ({"tokenizer": True}, "tokenizer is True; expected text or none"),
        ({"step": "last"}, "step is 'last'; expected a whole number or none"),
        ({"step": -1}, "step is -1; expected at least 0"),
        ({"fsdp": "all"}, "fsdp is 'all'; expected a whole number"),
        ({"fsdp": -2}, "fsdp is -2; expected at least -1"),
        ({"lenght": 3}, "model_args has 'lenght'; expected run, step"),
    ],
)
def test_a_setting_that_cannot_be_is_named(given, said):
    with pytest.raises(InputError, match=said):
        settings_of(given)


@pytest.mark.parametrize("size", ["auto", "-1", 8.0, "0"])
def test_batches_are_of_some_size(size):
    with pytest.raises(InputError, match="batch_size is "):
        settings_of({}, size)
