"""One endpoint asked over REST, for where only HTTP passes.

Masks as JSON numbers are some ten times the bytes: where gRPC passes, use it. Needs no
TensorFlow.
"""

from __future__ import annotations

import asyncio
import base64
import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import quote

import numpy as np
import requests

from crater_model.serving.client import refusals
from crater_model.serving.client.addresses import Address, ModelName
from crater_model.serving.client.answers import OUTPUTS, check_outputs
from crater_model.serving.client.credentials import Credentials
from crater_model.serving.client.failures import Failure, Kind, from_http, from_requests

_DTYPES = {"float": "float32", "double": "float64", "half": "float16"}  # others: as they are
# Connections that were silent for so long are not used again: what stands between forgets them.
IDLE_S = 30.0


class RestTransport:
    """HTTP connections to one server. Each method raises Failure.

    Attributes:
      model: what is asked for. Answers do not say which version they are of; where the model has
        one, it is in the address, and no other can answer.
    """

    def __init__(self, address: Address, model: ModelName, credentials: Credentials,
                 connections: int):
        self.model = model
        self._root = f"{address.scheme}://{address.target}/v1/models/"
        self._credentials = credentials
        self._lock, self._used = threading.Lock(), time.monotonic()
        self._session = requests.Session()
        adapter = requests.adapters.HTTPAdapter(pool_connections=1, pool_maxsize=connections)
        self._session.mount(f"{address.scheme}://", adapter)
        # An empty proxy is none, whatever the environment names.
        self._proxies = {"http": "", "https": ""} if address.is_loopback else None
        self._threads = ThreadPoolExecutor(connections, "crater-rest")
        self._mask_size: int | None = None
        self._judging = asyncio.Lock()

    async def predict(self, images: list[bytes], timeout_s: float) -> dict[str, np.ndarray]:
        """The outputs over a batch of PNG or JPEG images."""
        rows = await self._predictions("serving_default", images, timeout_s)
        if not all(isinstance(row, dict) for row in rows):
            raise _wrong("its predictions are no objects")
        outputs = {name: np.array([row[name] for row in rows])
                   for name in (rows[0] if rows else ()) if all(name in row for row in rows)}
        check_outputs(outputs, len(images))
        return await self._with_shapes(outputs, timeout_s)

    async def alone(self, image: bytes, timeout_s: float) -> dict[str, np.ndarray]:
        """The outputs over one image that was refused (see `refusals.alone`); one after the other,
        so that those of this client are not joined with each other."""
        async with self._judging:
            return await refusals.alone(lambda images: self.predict(images, timeout_s), image)

    async def together(self, count: int, timeout_s: float) -> None:
        """See `refusals.together`."""
        await refusals.together(lambda images: self.predict(images, timeout_s), count)

    async def describe(self, timeout_s: float) -> tuple[int, str]:
        """The version that answers and its model card as JSON."""
        version = (await self.metadata(timeout_s))["version"]
        card = (await self._predictions("describe", [b""], timeout_s, version))[0]
        return version, card

    async def metadata(self, timeout_s: float) -> dict[str, Any]:
        """Model, version and signatures (see `AsyncClient.metadata`)."""
        answer = await self._ask("GET", "/metadata", None, timeout_s)
        try:
            signatures = answer["metadata"]["signature_def"]["signature_def"]
            return {
                "model": answer["model_spec"]["name"],
                "version": int(answer["model_spec"]["version"]),
                "signatures": {name: {side: _tensors(signature[side])
                                      for side in ("inputs", "outputs")}
                               for name, signature in sorted(signatures.items())
                               if not name.startswith("__")}}
        except (KeyError, TypeError, ValueError) as error:
            raise _wrong(f"no metadata as TF Serving gives it ({error!r})") from None

    async def status(self, timeout_s: float) -> dict[int, str]:
        """Version number -> state."""
        answer = await self._ask("GET", "", None, timeout_s)
        try:
            return {int(entry["version"]): entry["state"]
                    for entry in answer["model_version_status"]}
        except (KeyError, TypeError, ValueError) as error:
            raise _wrong(f"no status as TF Serving gives it ({error!r})") from None

    async def ready(self, timeout_s: float) -> None:
        """Returns where the version that will be asked answers. (The status would not do: it does
        not look at labels.)"""
        await self.metadata(timeout_s)

    async def probe(self, timeout_s: float) -> None:
        """`ready` over a new connection: the old ones may be dead without knowing it."""
        self._forget_connections()
        await self.ready(timeout_s)

    def close(self) -> None:
        """Closes the connections."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._session.close()

    async def _predictions(self, signature: str, values: list[bytes], timeout_s: float,
                           version: int | None = None) -> list:
        body = {"signature_name": signature,
                "instances": [{"b64": base64.b64encode(value).decode()} for value in values]}
        answer = await self._ask("POST", ":predict", body, timeout_s, version)
        rows = answer.get("predictions") if isinstance(answer, dict) else None
        if not isinstance(rows, list) or len(rows) != len(values):
            raise _wrong("it has no prediction for each image")
        return rows

    async def _with_shapes(self, outputs: dict[str, np.ndarray],
                           timeout_s: float) -> dict[str, np.ndarray]:
        """JSON says nothing of the shapes below a list that is empty."""
        masks = outputs["detection_masks"]
        if masks.ndim == 4:
            self._mask_size = masks.shape[-1]
            return outputs
        if self._mask_size is None:
            signature = (await self.metadata(timeout_s))["signatures"]["serving_default"]
            self._mask_size = signature["outputs"]["detection_masks"]["shape"][-1]
        side, count = max(0, self._mask_size), len(masks)
        return outputs | {OUTPUTS[0]: np.zeros((count, 0, 4)),
                          "detection_masks": np.zeros((count, 0, side, side))}

    async def _ask(self, method: str, path: str, body: Any, timeout_s: float,
                   version: int | None = None) -> Any:
        """Asks in a thread; the wait ends in time even where the server sends drop by drop."""
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(timeout_s):
                return await loop.run_in_executor(self._threads, self._exchange, method,
                                                  self._url(version) + path, body, timeout_s)
        except TimeoutError:
            raise Failure(Kind.DOWN, "timeout", f"no answer within {timeout_s:.3g} s") from None

    def _url(self, version: int | None) -> str:
        url = self._root + quote(self.model.name, safe="")
        version = self.model.version if version is None else version
        if version is not None:
            return f"{url}/versions/{version}"
        return f"{url}/labels/{quote(self.model.label, safe='')}" if self.model.label else url

    def _exchange(self, method: str, url: str, body: Any, timeout_s: float) -> Any:
        data = None if body is None else json.dumps(body).encode()
        with self._lock:
            if time.monotonic() - self._used > IDLE_S:
                self._forget_connections()
            self._used = time.monotonic()
        authorization, files = self._credentials.authorization(), self._credentials
        try:
            answer = self._session.request(
                method, url, data=data, timeout=timeout_s, proxies=self._proxies,
                headers={"Content-Type": "application/json"}, allow_redirects=False,
                auth=_Header(authorization) if authorization else None,
                # With each request: an environment's bundle would go before the session's.
                verify=str(files.ca) if files.ca else None,
                cert=(str(files.certificate), str(files.key)) if files.certificate else None)
            value = answer.json() if answer.content else None
        except requests.exceptions.JSONDecodeError:
            value = None
        except requests.RequestException as error:
            raise from_requests(error, timeout_s) from None
        finally:
            self._used = time.monotonic()
        if answer.status_code != 200:
            reason = value.get("error") if isinstance(value, dict) else None
            raise from_http(answer.status_code, str(reason or answer.reason))
        if value is None:
            raise _wrong("it is not JSON")
        return value

    def _forget_connections(self) -> None:
        """Those that are in use are closed after their answers."""
        self._session.close()


class _Header(requests.auth.AuthBase):
    """A header of our own; without it, one made of the user's .netrc would go before it."""

    def __init__(self, value: str):
        self._value = value

    def __call__(self, request):
        request.headers["Authorization"] = self._value
        return request


def _tensors(described: dict[str, Any]) -> dict[str, dict]:
    found = {}
    for name, info in sorted(described.items()):
        dtype = info["dtype"].removeprefix("DT_").lower()
        found[name] = {"dtype": _DTYPES.get(dtype, dtype),
                       "shape": [int(dim["size"]) for dim in info["tensor_shape"].get("dim", [])]}
    return found


def _wrong(text: str) -> Failure:
    return Failure(Kind.FINAL, "wrong answer", f"{text}; is this TF Serving's REST port?")
