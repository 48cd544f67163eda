"""Who makes an artifact, written down in the bucket: one process at a time, on any machine."""

from __future__ import annotations

import secrets
import threading
from datetime import UTC, datetime
from typing import Any

from crater_model.errors import CraterError
from crater_model.storage.locks import now, taken
from crater_model.storage.objects import Conflict, Objects


class Lease:
    """A JSON object that names the owner, replaced by generation only.

    Its holder writes it again and again (`renew`); one that has not been written for `seconds`
    is taken for abandoned. The object is also where the holder says which folder of the bucket
    its unfinished files are in, so that who takes over takes both or neither.

    Args:
      name: of the object.
      owner: takes over from itself at once: it is the same run, on another machine.
      what: the artifact, for messages.

    Attributes:
      token: of this holder alone.
      what: the artifact.
      state: what the object says: `owner` (None where nobody holds it), `token`, `since`,
        `seconds`, `beat` (times written), and what `renew` was given.

    Raises:
      CraterError: another owner holds it.
    """

    def __init__(self, objects: Objects, name: str, owner: str, seconds: float, what: str):
        self._objects, self._name, self.what = objects, name, what
        self._lock, self.seconds, self.token = threading.Lock(), seconds, secrets.token_hex(4)
        found = objects.read(name)
        self._refuse_living(found, owner)
        self.state = {**found.value, "owner": owner, "token": self.token, "since": now(),
                      "seconds": seconds, "beat": 0}
        try:
            self._generation = objects.write(name, self.state, found.generation)
        except Conflict:  # the other was faster
            self._refuse_living(objects.read(name), owner)
            raise CraterError(f"{what}: others want to make it, too; try again") from None

    def renew(self, **more: Any) -> None:
        """A sign of life, and what else is to be said.

        Raises:
          CraterError: another has taken over.
        """
        with self._lock:
            state = {**self.state, **more, "beat": self.state["beat"] + 1}
            try:
                self._generation = self._objects.write(self._name, state, self._generation)
            except Conflict:
                by = self._objects.read(self._name).value
                raise CraterError(
                    f"{self.what}: {by.get('owner') or 'nobody'} has taken over since "
                    f"{by.get('since')}; nothing more is kept of what {self.state['owner']} makes "
                    "here") from None
            self.state = state

    def remove(self) -> None:
        """Removes the object, where it is still this holder's."""
        with self._lock:
            self._objects.delete([self._name], self._generation)

    def _refuse_living(self, found, owner: str) -> None:
        holder = found.value.get("owner")
        if holder is None or holder == owner:
            return
        age = (datetime.now(UTC) - found.updated).total_seconds()
        left = found.value["seconds"] - age
        if left > 0:
            raise CraterError(taken(
                self.what, holder, found.value["since"],
                f" (last sign of life {max(age, 0):.0f} s ago; free after {left:.0f} s without)"))
