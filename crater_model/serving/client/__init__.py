"""Images in, detections in image pixels out, from one or many servers of a model.

It speaks TF Serving's API with PNG or JPEG bytes, so that the same client works against
the serving image and against `crater serve`. In the order the data takes: `images` (encode,
batch), `endpoints` (which server is next), `over_grpc` and `over_rest` (ask it),
`failures` (what to do when it fails), `answers` (arrays to `Detections`); `aio` brings
them together and `sync` is its face for threads.
"""

from crater_model.serving.client.aio import AsyncClient
from crater_model.serving.client.sync import Client

__all__ = ["AsyncClient", "Client"]
