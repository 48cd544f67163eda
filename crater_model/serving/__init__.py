"""Serving: a local server with TF Serving's API, its client, and the serving image.

Importing this package imports neither TensorFlow nor gRPC; its modules do that when used.
"""

from typing import Any

__all__ = ["AsyncClient", "Client"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        from crater_model.serving import client

        return getattr(client, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
