"""The program that renders chat templates, in a process of its own.

A template comes with a folder from somewhere and is a program. Jinja's sandbox keeps it from the
interpreter, but not from running for ever or filling the memory, and nothing inside a process can
stop a single long operation (`'a' * 10 ** 10`, the comparison of deeply shared lists). So each
rendering has a budget of processor time, which the operating system enforces by ending this
process, and one of memory; the parent starts another process when it has to.

Run as a file: reads one JSON request per line and writes one JSON answer per line. Knows nothing
of this package; it needs jinja2. What templates see is what they see in Hugging Face transformers'
`apply_chat_template` (transformers 5, utils/chat_template_utils.py), except for the date.
"""

import datetime
import json
import resource
import signal
import sys
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import jinja2
from jinja2 import nodes
from jinja2.exceptions import SecurityError, TemplateError, TemplateSyntaxError
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment


class Rendering:
    """What one rendering has given so far.

    Attributes:
        date: what `strftime_now` formats.
        length: characters given.
        spans: (start, end) of what stood inside generation tags.
    """

    def __init__(self, date: datetime.datetime) -> None:
        self.date, self.length = date, 0
        self.spans: list[tuple[int, int]] = []


class _Generation(Extension):
    """`{% generation %} ... {% endgeneration %}`: what the model is to learn to say."""

    tags = {"generation"}  # noqa: RUF012 (declared as Jinja does)

    def parse(self, parser: Parser) -> nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.CallBlock(self.call_method("_note"), [], [], body).set_lineno(line)

    def _note(self, caller: Callable[[], str]) -> str:
        text, rendering = caller(), self.environment.rendering  # type: ignore[attr-defined]
        rendering.spans.append((rendering.length, rendering.length + len(text)))
        return text


class _Dict:
    """`dict` for templates, without the attributes of the type."""

    def __call__(self, *arguments: Any, **named: Any) -> dict[Any, Any]:
        return dict(*arguments, **named)

    def fromkeys(self, *arguments: Any) -> dict[Any, Any]:
        """`dict.fromkeys`."""
        return dict.fromkeys(*arguments)


class _Namespace(jinja2.utils.Namespace):
    """`namespace` for templates, which takes no names that begin with an underscore."""

    def __init__(*arguments: Any, **named: Any) -> None:  # so that `self` can be a name
        attributes = dict(*arguments[1:], **named)
        for name in attributes:
            _check_name(name)
        jinja2.utils.Namespace.__init__(arguments[0], attributes)

    def __setitem__(self, name: str, value: Any) -> None:
        _check_name(name)
        super().__setitem__(name, value)


def _check_name(name: Any) -> None:
    if isinstance(name, str) and name.startswith("_"):
        raise SecurityError(f"a namespace takes no name like {name!r}")


def _raise(message: Any) -> None:
    raise TemplateError(message)


def _json(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: Any = None,
    sort_keys: bool = False,
) -> str:
    return json.dumps(
        value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
    )


@lru_cache(maxsize=64)
def compiled(source: str) -> jinja2.Template:
    """The template, in an environment of its own."""
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, loopcontrols]
    )
    environment.filters["tojson"] = _json
    environment.globals |= {
        "raise_exception": _raise,
        "dict": _Dict(),
        "namespace": _Namespace,
        "strftime_now": lambda form: environment.rendering.date.strftime(form),  # type: ignore[attr-defined]
    }
    return environment.from_string(source)


def rendered(request: dict[str, Any]) -> dict[str, Any]:
    """The answer to one request: `text` and `spans`, or an `error` of a kind.

    Args:
        request: `source`, `variables`, `date` (ISO) and `limit` (characters).
    """
    try:
        template = compiled(request["source"])
    except TemplateSyntaxError as error:
        return {"kind": "syntax", "error": f"{error.message} (line {error.lineno})"}
    except MemoryError:
        return {"kind": "memory", "error": ""}
    except Exception as error:  # Python's compiler has its own words for too many nested blocks
        return {"kind": "syntax", "error": f"{type(error).__name__}: {error}"}
    rendering = Rendering(datetime.datetime.fromisoformat(request["date"]))
    template.environment.rendering = rendering  # type: ignore[attr-defined]
    pieces = []
    try:
        for piece in template.generate(**request["variables"]):
            pieces.append(piece)
            rendering.length += len(piece)
            if rendering.length > request["limit"]:
                return {"kind": "long", "error": ""}
        return {"text": "".join(pieces), "spans": rendering.spans}
    except MemoryError:
        return {"kind": "memory", "error": ""}
    except TemplateError as error:
        return {"kind": "template", "error": str(error)}
    except Exception as error:  # templates meet whatever the data's types raise
        return {"kind": "template", "error": f"{type(error).__name__}: {error}"}


def main() -> None:
    """Answers requests until there are no more.

    Arguments of the program: seconds of processor time per request, bytes of memory in all.
    """
    seconds, memory = float(sys.argv[1]), int(sys.argv[2])
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent is told, and closes the pipe
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    if sys.platform == "linux":
        soft = memory if hard == resource.RLIM_INFINITY else min(memory, hard)
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
    for line in sys.stdin.buffer:
        signal.setitimer(signal.ITIMER_PROF, seconds)
        try:
            answer = json.dumps(rendered(json.loads(line)))
        except (MemoryError, RecursionError):
            answer = json.dumps({"kind": "memory", "error": ""})
        signal.setitimer(signal.ITIMER_PROF, 0)
        sys.stdout.write(answer + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
