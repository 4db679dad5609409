"""One server of each kind for all tests here, each test in a folder of its own."""

import contextlib
import uuid

import pytest
from object_stores import STORES


@pytest.fixture(scope="session")
def _started():
    with pytest.MonkeyPatch.context() as patch, contextlib.ExitStack() as servers:
        urls: dict[str, str] = {}

        def url(scheme):
            if scheme not in urls:
                urls[scheme] = servers.enter_context(STORES[scheme](patch))
            return urls[scheme]

        yield url


@pytest.fixture(params=sorted(STORES))
def store(request, _started):
    """The URL of an empty folder in an object store."""
    return f"{_started(request.param)}/{uuid.uuid4().hex}"
