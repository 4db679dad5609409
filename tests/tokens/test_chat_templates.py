"""Templates: what they may do, what stops them, and which tokens of a conversation are learned."""

import datetime

import pytest
from golden_chats import AGAIN, ANSWER, ASK, CHATS, SYSTEM, THOUGHT
from tiny_tokenizers import write_tiny_tokenizer

from jaxreason.errors import FailureError, InputError
from jaxreason.tokens.chat_template import JinjaTemplate
from jaxreason.tokens.pretrained_tokenizer import PretrainedTokenizer
from jaxreason.tokens.template_process import TemplateProcess


@pytest.fixture(scope="module")
def strict():
    """A process with little time and memory."""
    return TemplateProcess(seconds=0.3, memory=300 << 20)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("styles")
    for style in ("qwen", "qwen3", "llama2", "generation", "mistral"):
        write_tiny_tokenizer(root / style, chat=style)
    return root


def render(source, messages=(ASK,), **options):
    return JinjaTemplate(source).render(messages, **options).text


def test_the_date_is_the_one_that_is_given():
    source = "{{ strftime_now('%d %b %Y') }}"
    assert render(source) == "26 Jul 2024"
    dated = JinjaTemplate(source, date=datetime.datetime(2031, 2, 3))
    assert dated.render([ASK]).text == "03 Feb 2031"


def test_what_is_no_plain_data_is_named_by_its_type():
    picture = {"role": "user", "content": [{"type": "image", "image": object()}]}
    assert render("{{ messages[0].content[0].image }}", [picture]) == "<object>"


HANGS = {
    "loops": "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
    "equality": "{% set n = namespace(a=[1], b=[1]) %}{% for i in range(60) %}"
    "{% set n.a = [n.a, n.a] %}{% set n.b = [n.b, n.b] %}{% endfor %}{{ n.a == n.b }}",
    "power": "{% set x = 9 ** 9 %}{{ (x ** x) % 7 }}",
}
GROWS = {
    "repeated": "{{ 'a' * 10 ** 10 }}",
    "doubled": "{% set n = namespace(a='a') %}{% for i in range(60) %}"
    "{% set n.a = n.a ~ n.a %}{% endfor %}{{ n.a }}",
    "padded": "{{ 'a'|center(10 ** 11) }}",
    "formatted": "{{ '%999999999999d' % 1 }}",
}


@pytest.mark.parametrize("name", HANGS)
def test_a_template_that_would_not_end_is_ended(strict, name):
    with pytest.raises(FailureError, match=r"T takes more than 0\.3 s"):
        JinjaTemplate(HANGS[name], "T", process=strict).render([ASK])
    assert JinjaTemplate("fine", process=strict).render([ASK]).text == "fine"


@pytest.mark.parametrize("name", GROWS)
def test_a_template_that_fills_the_memory_is_ended(strict, name):
    with pytest.raises(FailureError, match=r"T needs more than 300 MiB"):
        JinjaTemplate(GROWS[name], "T", process=strict).render([ASK])
    assert JinjaTemplate("fine", process=strict).render([ASK]).text == "fine"


def test_an_endless_text_is_cut_off():
    source = "{% for a in range(99999) %}{% for b in range(99) %}1234567{% endfor %}{% endfor %}"
    with pytest.raises(FailureError, match="renders more than 16777216 characters"):
        render(source)


@pytest.mark.parametrize(
    "source",
    [
        "{{ ''.__class__.__mro__ }}",
        "{{ messages.append(1) }}",
        "{{ cycler.__init__.__globals__.os.getcwd() }}",
        "{{ (messages|attr('__class__')).__mro__ }}",
        "{{ '{0.__class__.__mro__}'.format(messages) }}",
        "{{ ''['__class__']['__mro__'] }}",
        "{{ namespace(__class__=1) }}",
        "{% set n = namespace() %}{% set n._x = 1 %}",
        "{{ raise_exception.__globals__.sys.exit() }}",
        "{% include '/etc/passwd' %}",
        "{% import 'os' as os %}",
        "{% macro f() %}{{ f() }}{{ f() }}{% endmacro %}{{ f() }}",
        "{{ range(10 ** 9) }}",
    ],
)
def test_a_template_cannot_leave_the_sandbox(source):
    with pytest.raises(InputError, match="T refuses the messages"):
        JinjaTemplate(source, "T").render([ASK])


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("{% if %}", r"not valid Jinja: .*\(line 1\)"),
        ("{% nothing %}", "unknown tag 'nothing'"),
        ("{% generation %}", "not valid Jinja"),
        ("{{" + "(" * 9000, "not valid Jinja"),
        ("{% for i in [1] %}" * 60 + "{% endfor %}" * 60, "not valid Jinja"),
        ("{{ x|nothing }}", "No filter named 'nothing'"),
    ],
)
def test_a_template_with_a_mistake_is_named(source, said):
    with pytest.raises(FailureError, match=said):
        render(source)


@pytest.mark.parametrize(
    ("messages", "said"),
    [
        ([], "no messages"),
        ("hi", "messages is a str; expected a list"),
        ({"role": "user"}, "messages is a dict"),
        ([3], "message 3 is no mapping"),
        ([{1: "x"}], "has the key 1; expected texts"),
    ],
)
def test_what_are_no_messages(messages, said):
    with pytest.raises(InputError, match=said):
        render("x", messages)


def test_messages_that_contain_themselves():
    deep = {"role": "user"}
    deep["content"] = [deep]
    with pytest.raises(InputError, match="nested too deeply, or contain themselves"):
        render("x", [deep])


def test_prompt_and_continuation_exclude_each_other():
    with pytest.raises(InputError, match="both set"):
        render("x", prompt=True, continue_last=True)
    with pytest.raises(InputError, match="does not keep the text of the last message"):
        render("x", [{"role": "user", "content": "lost"}], continue_last=True)


def learned(folder, messages, **options):
    tokenizer = PretrainedTokenizer(folder)
    tokens, assistant = tokenizer.encode_training_chat(messages, **options)
    assert tokens.tolist() == tokenizer.encode_chat(messages).tolist()
    parts, before = [], False
    for token, inside in zip(tokens, assistant, strict=True):
        if inside:
            parts = parts if before else [*parts, []]
            parts[-1].append(token)
        before = inside
    return [tokenizer.decode(part, skip_special=False) for part in parts]


TURNS = [SYSTEM, ASK, ANSWER, AGAIN, THOUGHT]


@pytest.mark.parametrize("style", ["qwen", "generation"])
def test_each_answer_is_learned_with_the_token_that_ends_it(folders, style):
    answers = [ANSWER["content"] + "<|im_end|>", THOUGHT["content"] + "<|im_end|>"]
    assert learned(folders / style, TURNS) == answers
    assert learned(folders / style, TURNS, learn="last") == answers[1:]
    assert learned(folders / style, TURNS[:-1]) == answers[:1]


def test_answers_without_marks_in_templates_without_headers(folders):
    assert learned(folders / "llama2", TURNS[1:4]) == [" It is 4. </s>"]


def test_templates_that_rewrite_earlier_turns_are_refused_but_for_the_last(folders):
    with pytest.raises(InputError, match=r"message 2 .*drop the reasoning of earlier turns"):
        learned(folders / "qwen3", TURNS)
    with pytest.raises(InputError, match=r"message 2 .*not how the answer begins"):
        learned(folders / "mistral", TURNS)  # the system's words are those of a last question
    assert learned(folders / "qwen3", TURNS, learn="last") == [THOUGHT["content"] + "<|im_end|>"]
    one = learned(folders / "qwen3", [ASK, THOUGHT])
    assert one == [THOUGHT["content"] + "<|im_end|>"]


def test_what_cannot_be_learned(folders):
    with pytest.raises(InputError, match="no message has the role 'assistant'"):
        learned(folders / "qwen", CHATS["one"])
    with pytest.raises(InputError, match="first message is the assistant's"):
        learned(folders / "qwen", [ANSWER])
    with pytest.raises(InputError, match="learn is 'some'; expected one of all, last"):
        learned(folders / "qwen", TURNS, learn="some")
