"""Tokenizers and templates beside transformers itself: the golden values, and much more."""

import json
import sys
from pathlib import Path

import golden_chats
import pytest
from tiny_tokenizers import STYLES, write_tiny_tokenizer

from jaxreason.errors import InputError
from jaxreason.tokens.chat_template import JinjaTemplate
from jaxreason.tokens.pretrained_tokenizer import PretrainedTokenizer

pytestmark = pytest.mark.oracle
sys.path.insert(0, str(Path(__file__).parent.parent / "golden"))


@pytest.mark.parametrize("style", STYLES)
def test_the_golden_values_are_what_transformers_gives(tmp_path, style):
    import generate_chats

    facts = json.loads(json.dumps(generate_chats.facts(tmp_path, style)))
    assert facts == golden_chats.golden()[style]


CONFIGURATIONS = {
    "older names": {"additional_special_tokens": ["<a>", "<|im_start|>"]},
    "newer names": {"extra_special_tokens": ["<a>"], "pad_token": "<pad>"},
    "a model's own": {"image_token": "<image>", "audio_token": "<audio>"},
    "named extras": {"extra_special_tokens": {"boi_token": "<boi>"}},
    "objects": {"eos_token": {"__type": "AddedToken", "content": "<|im_end|>"}},
    "bos asked for": {"bos_token": "<|endoftext|>", "add_bos_token": True},
    "unknown": {"unk_token": "<unk>", "mask_token": "<mask>", "cls_token": None},
    "split": {"split_special_tokens": True},
    "templates": {
        "chat_template": [
            {"name": "default", "template": "{{ eos_token }}D"},
            {"name": "tool_use", "template": "T{{ tools|length }}"},
        ]
    },
    "one template": {"chat_template": "{{ bos_token }}|{{ pad_token }}|{{ unk_token }}|"},
}


def both(folder, chat="none", class_name="PreTrainedTokenizerFast", **fields):
    """Our tokenizer of a folder with other fields, and theirs."""
    from generate_chats import load

    write_tiny_tokenizer(folder, chat=chat)
    (folder / "config.json").write_text('{"model_type": "llama"}')
    path = folder / "tokenizer_config.json"
    config = json.loads(path.read_text()) | {"tokenizer_class": class_name} | fields
    path.write_text(json.dumps(config))
    return PretrainedTokenizer(folder), load(folder)


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_configurations_mean_what_they_mean_there(tmp_path, name):
    ours, theirs = both(tmp_path, **CONFIGURATIONS[name])
    assert ours.size == len(theirs)
    assert ours.special == theirs.special_tokens_map
    assert (ours.bos, ours.eos) == (theirs.bos_token_id, theirs.eos_token_id)
    text = "a<a> <pad><image><boi><unk><mask> b<|im_end|><|im_start|> c"
    for special in (False, True):
        ids = theirs(text, add_special_tokens=special)["input_ids"]
        assert ours.encode(text, special).tolist() == ids
    for skip in (False, True):
        assert ours.decode(ids, skip) == theirs.decode(ids, skip_special_tokens=skip)
    for tools in (None, [golden_chats.TOOL]):
        if theirs.chat_template is not None:
            expected = theirs.apply_chat_template([golden_chats.ASK], tools, tokenize=False)
            assert ours.render([golden_chats.ASK], tools=tools) == expected


def test_templates_in_files_of_their_own(tmp_path):
    (tmp_path / "additional_chat_templates").mkdir()
    (tmp_path / "additional_chat_templates" / "tool_use.jinja").write_text("of a file\n\n")
    ours, theirs = both(tmp_path, chat="qwen", chat_template="of the configuration")
    for tools in (None, [golden_chats.TOOL]):
        expected = theirs.apply_chat_template([golden_chats.ASK], tools, tokenize=False)
        assert ours.render([golden_chats.ASK], tools=tools) == expected


def test_special_tokens_of_older_folders(tmp_path):
    from generate_chats import load

    write_tiny_tokenizer(tmp_path, chat="llama2")
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "add_bos_token": True}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    special = {"bos_token": {"content": "<s>", "lstrip": False}, "eos_token": "</s>"}
    (tmp_path / "special_tokens_map.json").write_text(json.dumps(special))
    ours, theirs = PretrainedTokenizer(tmp_path), load(tmp_path)
    assert ours.special == theirs.special_tokens_map
    assert ours.encode("a</s> b", True).tolist() == theirs("a</s> b")["input_ids"]


TEMPLATES = (
    "{% for m in messages %}{% if loop.first %}{% continue %}{% endif %}{{ m.role }}\n{% endfor %}",
    "{% for m in messages %}{{ loop.index }}{% if loop.index > 1 %}{% break %}{% endif %}"
    "{% endfor %}",
    "   {% if true %}   \n  x\n   {% endif %}\n\n  y  \n\n",
    "{%- set ns = namespace(n=0) -%}{%- for m in messages -%}{%- set ns.n = ns.n + 1 -%}"
    "{%- endfor -%}{{ ns.n }}",
    "{{ messages | tojson }}{{ messages | tojson(indent=2) }}{{ tools | tojson(sort_keys=true) }}",
    "{{ messages | tojson(ensure_ascii=true) }}{{ messages | tojson(separators=(',', ':')) }}",
    "{{ '<a & b>' }}{{ '<a & b>' | e }}{{ messages | map(attribute='role') | join(', ') }}",
    "{% macro turn(m, end='|') %}{{ m.role ~ end }}{% endmacro %}{{ turn(messages[0]) }}"
    "{{ turn(messages[-1], end='!') }}",
    "{{ dict(a=1, **{'b': 2}) }}{{ dict.fromkeys(['a'], 0) }}{{ {'z': 1, 'a': [2]} }}",
    "{{ messages[0].items() | list }}{{ messages[0].get('nothing', 'default') }}",
    "{{ nothing }}{{ nothing is defined }}{{ messages[0].nothing is defined }}{{ none }}",
    "{{ strftime_now('%Y-%m-%d %H:%M %A %B %j') }}{{ 7 // 2 }}{{ 7 / 2 }}{{ -7 % 3 }}{{ 2 ** 5 }}",
    "{{ messages | selectattr('role', 'equalto', 'user') | list | length }}{{ 'ab'[::-1] }}",
    "{{ messages | groupby('role') }}{{ [3, 1, 2] | sort | join }}{{ 'a-b'.split('-') }}",
    "{% filter upper %}{% for m in messages %}{{ m.role }}{% endfor %}{% endfilter %}",
    "{% set x %}{% for m in messages %}{{ m.role }};{% endfor %}{% endset %}[{{ x }}]{# gone #}",
    "{% call(x) (caller is defined) %}{{ x }}{% endcall %}",
    "{% generation %}a{% generation %}b{% endgeneration %}{% endgeneration %}c",
    "{% for m in messages recursive %}{{ m.role }}{% endfor %}{% raw %}{{ raw }}{% endraw %}",
    "{{ raise_exception('no: ' + messages[0].role) }}",
    "{{ messages[0]['role']['nothing']['more'] }}",
    "{{ 'a' + 1 }}",
    "{{ messages[0].content.nothing() }}",
    "{{ messages[7].content }}",
    "{{ thinking }}{{ messages[-1].reasoning_content }}{{ messages[-1].thinking }}",
    "{{ documents[0].title if documents else 'none' }}{{ extra }}{{ 1.0 }}{{ 1e22 }}{{ true }}",
    "{{ '%s and %05d' % ('a', 7) }}{{ '{:>5}'.format('x') }}{{ 'x' | indent }}{{ 'a b' | title }}",
    "{{ [1, 2] + [3] }}{{ (1, 2) }}{{ [1] is sequence }}{{ {} is mapping }}{{ 'x' is string }}",
    "{{ messages | last }}{{ messages | first | length }}{{ messages | reverse | list }}",
    "{{ lipsum is defined }}{{ joiner is defined }}{{ cycler is defined }}{{ range(3) | list }}",
    "{% include 'x' %}",
    "{% if %}",
)


@pytest.mark.parametrize("source", TEMPLATES)
def test_templates_render_as_there(source):
    from generate_chats import Date
    from transformers.utils import chat_template_utils

    chat_template_utils.datetime = Date
    for messages in golden_chats.CHATS.values():
        for more in ({}, {"extra": [None, {"ü": "<x>"}], "tools": [golden_chats.TOOL]}):
            kept = [{k: v for k, v in m.items() if v is not None} for m in messages]
            given = {"documents": [{"title": "T", "text": "x"}], **more}
            try:
                [expected], [spans] = chat_template_utils.render_jinja_template(
                    [kept],
                    chat_template=source,
                    return_assistant_tokens_mask=True,
                    **given,
                )
            except Exception:  # whatever a template raises
                with pytest.raises((InputError, RuntimeError)):
                    JinjaTemplate(source).render(messages, **given)
                continue
            rendered = JinjaTemplate(source).render(messages, **given)
            assert rendered.text == expected
            assert list(rendered.spans) == spans
