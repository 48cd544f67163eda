"""What the storage tests share: the server, and files for an artifact."""

import pytest

from tests.cloud import gcs_server


@pytest.fixture(scope="session")
def server():
    """The address of a running Cloud Storage server with a bucket `craters`."""
    with gcs_server() as url:
        yield url


@pytest.fixture
def cloud(server, monkeypatch):
    """The same, set in the environment."""
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", server)
    return server


@pytest.fixture(scope="session")
def fill():
    """fill(storage, key, files): writes files, path -> bytes, where the artifact is made."""
    def write(storage, key, files):
        for name, data in files.items():
            path = storage.path(key) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
    return write
