"""Object stores on this machine: memory://, and servers that speak as gs:// and s3:// do."""

import contextlib
import importlib.util
import socket
import uuid
from collections.abc import Iterator

import pytest


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _need(*packages: str) -> None:
    for package in packages:
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"needs the package {package}, which the extra `dev` installs")


@contextlib.contextmanager
def gs_server(patch: pytest.MonkeyPatch) -> Iterator[str]:
    """Google Cloud Storage for gcsfs, Orbax and TensorStore; gives the URL of a bucket."""
    _need("gcsfs", "gcp_storage_emulator")
    from gcp_storage_emulator.server import create_server

    port = _free_port()
    server = create_server("127.0.0.1", port, in_memory=True, default_bucket="bucket")
    patch.setenv("STORAGE_EMULATOR_HOST", f"http://127.0.0.1:{port}")
    patch.setenv("TENSORSTORE_GCS_HTTP_URL", f"http://127.0.0.1:{port}")
    patch.setenv("GOOGLE_AUTH_TOKEN_FOR_TESTING", "nobody")
    patch.setenv("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")
    server.start()
    try:
        yield "gs://bucket"
    finally:
        server.stop()


@contextlib.contextmanager
def s3_server(patch: pytest.MonkeyPatch) -> Iterator[str]:
    """Amazon S3 for s3fs; gives the URL of a bucket."""
    _need("s3fs", "moto", "flask", "flask_cors")
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", port := _free_port(), verbose=False)
    patch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
    patch.setenv("AWS_ACCESS_KEY_ID", "nobody")
    patch.setenv("AWS_SECRET_ACCESS_KEY", "nothing")
    patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    server.start()
    try:
        import s3fs

        s3fs.S3FileSystem().mkdir("bucket")
        yield "s3://bucket"
    finally:
        server.stop()


@contextlib.contextmanager
def memory_store(patch: pytest.MonkeyPatch) -> Iterator[str]:
    """A bucket of its own in the memory of this process."""
    del patch
    yield f"memory://{uuid.uuid4().hex}"


STORES = {"memory": memory_store, "gs": gs_server, "s3": s3_server}
