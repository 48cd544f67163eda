"""Images in, detections in image pixels out, from one or many servers of a model.

It speaks TF Serving's API with PNG or JPEG bytes, so that the same client works against
the serving image and against `crater serve`. In the order the data takes: `images` (encode,
batch), `addresses`, `credentials` and `endpoints` (which server is next, and how it is spoken to),
`asking` (retries), `over_grpc` with `connections` and `tensors`, and `over_rest` (ask it),
`failures` and `refusals` (what to do when it fails, and whose fault it is), `answers` (arrays to
`Detections`); `describing` asks about the model, `aio` brings them together and `sync` is its
face for threads.
"""

from crater_model.serving.client.aio import AsyncClient
from crater_model.serving.client.sync import Client

__all__ = ["AsyncClient", "Client"]
