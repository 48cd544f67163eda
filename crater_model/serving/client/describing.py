"""What can be asked about a model: its card, signatures and versions, and whether it answers."""

from __future__ import annotations

import asyncio
import itertools
import json
from typing import Any

from crater_model.errors import ServingError, VersionGone
from crater_model.serving.client.asking import Asker
from crater_model.serving.client.failures import GONE, Failure, Kind

# What a transport's method is called in the API, for messages.
_API_NAMES = {"predict": "Predict", "describe": "Predict", "metadata": "GetModelMetadata",
              "status": "GetModelStatus", "alone": "Predict", "together": "Predict"}


class Describing:
    """The part of a client that asks about the model; `AsyncClient` is the whole."""

    endpoints: list[str]
    model: str
    timeout_s: float
    label_map: dict[int, str]
    _labels_given: bool
    _asker: Asker

    @property
    def version(self) -> int | None:
        """The version that alone is asked and may answer; None: whichever is the newest, or has
        the label."""
        return self._asker.pool.endpoints[0].transport.model.version

    async def metadata(self) -> dict[str, Any]:
        """{"model", "version", "signatures": {name: {"inputs", "outputs"}}}; each input and
        output is {name: {"dtype", "shape"}}, with -1 for a free dimension."""
        return await self._ask("metadata", self.timeout_s)

    async def describe(self, *, pin: bool = False) -> dict[str, Any]:
        """The model card: what the model says of itself.

        Its `label_map` names the classes of all further detections, unless the client was
        given one; `chip_size` (px) and `scales` (network px per image px) say how to cut a
        large image.

        Args:
          pin: from now on ask for the version that gave this card, and take no other's answer, so
            that all results are one model's: servers may load a new version at any time. Where
            the version is gone, or a server has another model under its number, requests raise
            VersionGone.

        Raises:
          ServingError: the server cannot be reached, or its model has no card.
        """
        try:
            version, text = await self._asker.ask("describe", timeout_s=self.timeout_s)
        except Failure as failure:
            if failure.kind is not Kind.REFUSED:
                raise self._error("describe", failure) from None
            await self.metadata()  # says it where the version is at fault
            raise ServingError(f"{failure.endpoint}: model {self.model!r} does not describe "
                               f"itself ({failure.reason}); serve a model that `crater export` "
                               "wrote") from None
        card = json.loads(text)
        if pin:
            self._asker.pin(version, text)
        if not self._labels_given:
            self.label_map = {int(number): name for number, name in card["label_map"].items()}
        return card

    async def status(self, timeout_s: float | None = None) -> dict[int, str]:
        """Version number -> state, such as {1: "AVAILABLE"}."""
        return await self._ask("status", timeout_s or self.timeout_s)

    async def wait_ready(self, timeout_s: float = 60.0) -> None:
        """Waits until the version that will be asked answers at one of the endpoints.

        A young server may not know the version or its label yet: that is waited for too.

        Raises:
          ServingError: it does not within `timeout_s`, and the message says what stood in the way
            last; or the endpoint is not what it is taken for (another API, no TLS), at once.
        """
        loop = asyncio.get_running_loop()
        deadline, reason = loop.time() + timeout_s, "no answer"
        for endpoint in itertools.cycle(self._asker.pool.endpoints):
            left = deadline - loop.time()
            if left <= 0:
                break
            try:
                await endpoint.transport.ready(min(left, 2.0))
            except Failure as failure:
                failure.endpoint = endpoint.address.text
                error = self._error("metadata", failure)
                if failure.kind is Kind.MISTAKEN:
                    raise error from None
                reason = str(error)
            else:
                await self._asker.bring_back(endpoint)
                return
            await asyncio.sleep(min(0.1, max(0.0, left)))
        raise ServingError(f"{','.join(self.endpoints)}: model {self.model!r} is not ready "
                           f"after {timeout_s:g} s: {reason}")

    async def _ask(self, method: str, timeout_s: float, *arguments: Any) -> Any:
        try:
            return await self._asker.ask(method, *arguments, timeout_s=timeout_s)
        except Failure as failure:
            raise self._error(method, failure) from None

    def _error(self, method: str, failure: Failure) -> ServingError:
        endpoint = failure.endpoint or ",".join(self.endpoints)
        if self._asker.pinned and failure.code in GONE:
            return VersionGone(f"{endpoint}: version {self.version} of model {self.model!r}, "
                               f"which this began with, does not answer any more "
                               f"({failure.reason})")
        return ServingError(f"{endpoint}: {_API_NAMES[method]} of model {self.model!r} failed: "
                            f"{failure.code}: {failure.reason}")
