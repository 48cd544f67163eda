"""The running server of the serving tests' model."""

from tests.serving.conftest import blob_model, blob_server  # noqa: F401 (fixtures)
