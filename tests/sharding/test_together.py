"""How processes end together: one exit code, one sentence; the store they share is a dict here."""

import json

import pytest

from jaxreason.errors import FailureError, InputError, Preempted
from jaxreason.sharding import together
from jaxreason.sharding.together import _Together


class Store:
    """The coordinator's store as far as it is used."""

    def __init__(self):
        self.items = {}

    def key_value_set(self, key, value):
        self.items[key] = value

    def key_value_dir_get(self, directory):
        return [item for item in self.items.items() if item[0].startswith(directory)]

    def said(self, process, code, sentence=""):
        """What a process has said about its end."""
        self.items[f"jaxreason/ended/{process}"] = json.dumps([code, sentence])
        if code not in (0, 42):
            self.items[f"jaxreason/left/{process}"] = json.dumps([code, ""])


class Ended(BaseException):
    """Stands for the end of the process."""


class JaxRuntimeError(Exception):
    """Stands for JAX's, which is told by its name."""


@pytest.fixture
def store(monkeypatch):
    from jax._src import distributed

    store = Store()

    def end(code):
        raise Ended(code)

    monkeypatch.setattr(distributed.global_state, "client", store)
    monkeypatch.setattr(together.jax, "process_count", lambda: 2)
    monkeypatch.setattr(together.jax, "process_index", lambda: 0)
    monkeypatch.setattr(together, "say_before_end", lambda tell: None)
    monkeypatch.setattr(together, "leave_with", lambda code: None)
    monkeypatch.setattr(together, "end_lost", lambda sentence: end(43))
    monkeypatch.setattr(together.os, "_exit", end)
    for name in ("_POLL_SECONDS", "_GRACE_SECONDS", "_PATIENCE_SECONDS"):
        monkeypatch.setattr(together, name, 0.0)
    return store


def ended_with(error, store, other, sentence=""):
    """Exit code of this process, 0, after an error, when process 1 has said `other`."""
    part = _Together()
    code, text = part.failing(error)
    store.said(1, other, sentence)
    try:
        return part.end(code, text)
    except Ended as end:
        return end.args[0]


def test_a_stopped_run_is_no_failure_of_anyone(store):
    part = _Together()
    assert part.failing(Preempted("stopped by SIGTERM")) == (42, "stopped by SIGTERM")
    assert store.items == {}, "the others save, too; nothing may end them"
    store.said(1, 42)
    assert part.end(42, "stopped by SIGTERM") == 42


@pytest.mark.parametrize(
    ("error", "code"), [(InputError("bad"), 2), (FailureError("full"), 1), (ValueError("bug"), 1)]
)
def test_an_error_here_is_told_at_once_and_ends_all_with_its_code(store, error, code, capsys):
    _Together().failing(error)
    assert json.loads(store.items["jaxreason/ended/0"])[0] == code
    assert ended_with(error, store, code) == code
    shown = capsys.readouterr().err
    assert str(error) in shown
    assert shown.startswith("ValueError: bug\n") == (type(error) is ValueError), "its traceback"


@pytest.mark.parametrize(
    ("here", "there", "all_"),
    [
        (FailureError("full"), 43, 1),
        (FailureError("full"), 42, 1),
        (Preempted("stopped"), 0, 42),
        (Preempted("stopped"), 43, 43),
        (Preempted("stopped"), 2, 2),
    ],
)
def test_failure_and_bad_input_win_over_start_again_and_that_over_done(store, here, there, all_):
    assert ended_with(here, store, there) == all_


def test_one_sentence_of_all_is_said_once_and_one_of_one_with_its_process(store, capsys):
    ended_with(InputError("bad"), store, 2, "bad")
    assert capsys.readouterr().err == "jaxreason: bad\n"
    store.items.clear()
    ended_with(InputError("bad"), store, 2)
    assert capsys.readouterr().err == "jaxreason: process 0: bad\n"


def test_an_error_of_the_network_is_43_and_leaves_its_traceback(store, capsys):
    error = JaxRuntimeError("UNAVAILABLE: Socket closed")
    with pytest.raises(Ended) as end:
        _Together().failing(error)
    assert end.value.args == (43,)
    assert "Socket closed" in capsys.readouterr().err
    assert store.items == {}


@pytest.mark.parametrize(("code", "expected"), [(2, 2), (1, 1), (43, 43)])
def test_a_process_that_waits_ends_like_the_one_that_failed(store, code, expected):
    store.said(1, code, "over there")
    with pytest.raises(Ended) as end:
        _Together().watch()
    assert end.value.args == (expected,)


def test_a_process_that_is_done_does_not_wait_for_ever(store, monkeypatch):
    monkeypatch.setattr(together, "_LEISURE_SECONDS", -1.0)
    with pytest.raises(Ended) as end:
        _Together().end(0, "")
    assert end.value.args == (43,)
