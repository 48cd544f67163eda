"""One endpoint asked over REST, for where only HTTP passes.

Masks as JSON numbers are some ten times the bytes: where gRPC passes, use it. Needs no
TensorFlow.
"""

from __future__ import annotations

import asyncio
import base64
import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import quote

import numpy as np
import requests

from crater_model.serving.client.answers import OUTPUTS, check_outputs
from crater_model.serving.client.endpoints import Address, ModelName
from crater_model.serving.client.failures import Failure, Kind, from_http

_DTYPES = {"float": "float32", "double": "float64", "half": "float16"}  # others: as they are


class RestTransport:
    """HTTP connections to one server. Each method raises Failure."""

    def __init__(self, address: Address, model: ModelName, connections: int):
        path = f"/v1/models/{quote(model.name, safe='')}"
        if model.version is not None:
            path += f"/versions/{model.version}"
        elif model.label:
            path += f"/labels/{quote(model.label, safe='')}"
        self._url = f"{address.scheme}://{address.netloc}{path}"
        self._session = requests.Session()
        adapter = requests.adapters.HTTPAdapter(pool_connections=1, pool_maxsize=connections)
        self._session.mount(f"{address.scheme}://", adapter)
        # An empty proxy is none, whatever the environment names.
        self._proxies = {"http": "", "https": ""} if address.is_loopback else None
        self._threads = ThreadPoolExecutor(connections, "crater-rest")
        self._mask_size: int | None = None

    async def predict(self, images: list[bytes], timeout_s: float) -> dict[str, np.ndarray]:
        """The outputs over a batch of PNG or JPEG images."""
        rows = await self._predictions("serving_default", images, timeout_s)
        if not all(isinstance(row, dict) for row in rows):
            raise _wrong("its predictions are no objects")
        outputs = {name: np.array([row[name] for row in rows])
                   for name in (rows[0] if rows else ()) if all(name in row for row in rows)}
        check_outputs(outputs, len(images))
        return await self._with_shapes(outputs, timeout_s)

    async def describe(self, timeout_s: float) -> str:
        """The model card as JSON."""
        return (await self._predictions("describe", [b""], timeout_s))[0]

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
                               for name, signature in sorted(signatures.items())}}
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

    async def probe(self, timeout_s: float) -> bool:
        """Whether it takes requests."""
        return "AVAILABLE" in (await self.status(timeout_s)).values()

    def close(self) -> None:
        """Closes the connections."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._session.close()

    async def _predictions(self, signature: str, values: list[bytes], timeout_s: float) -> list:
        body = {"signature_name": signature,
                "instances": [{"b64": base64.b64encode(value).decode()} for value in values]}
        answer = await self._ask("POST", ":predict", body, timeout_s)
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

    async def _ask(self, method: str, path: str, body: Any, timeout_s: float) -> Any:
        """Asks in a thread; the wait ends in time even where the server sends drop by drop."""
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(timeout_s):
                return await loop.run_in_executor(self._threads, self._exchange, method, path,
                                                  body, timeout_s)
        except TimeoutError:
            raise Failure(Kind.DOWN, "timeout", f"no answer within {timeout_s:.3g} s") from None

    def _exchange(self, method: str, path: str, body: Any, timeout_s: float) -> Any:
        data = None if body is None else json.dumps(body).encode()
        try:
            answer = self._session.request(
                method, self._url + path, data=data, timeout=timeout_s, proxies=self._proxies,
                headers={"Content-Type": "application/json"}, allow_redirects=False)
            value = answer.json() if answer.content else None
        except requests.Timeout:
            raise Failure(Kind.DOWN, "timeout", f"no answer within {timeout_s:.3g} s") from None
        except requests.exceptions.JSONDecodeError:
            value = None
        except requests.RequestException as error:
            cause = getattr(error.args[0], "reason", error) if error.args else error
            raise Failure(Kind.DOWN, "no connection", str(cause)) from None
        if answer.status_code != 200:
            reason = value.get("error") if isinstance(value, dict) else None
            raise from_http(answer.status_code, str(reason or answer.reason))
        if value is None:
            raise _wrong("it is not JSON")
        return value


def _tensors(described: dict[str, Any]) -> dict[str, dict]:
    found = {}
    for name, info in sorted(described.items()):
        dtype = info["dtype"].removeprefix("DT_").lower()
        found[name] = {"dtype": _DTYPES.get(dtype, dtype),
                       "shape": [int(dim["size"]) for dim in info["tensor_shape"].get("dim", [])]}
    return found


def _wrong(text: str) -> Failure:
    return Failure(Kind.FINAL, "wrong answer", f"{text}; is this TF Serving's REST port?")
