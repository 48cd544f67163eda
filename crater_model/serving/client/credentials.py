"""How a client knows its servers, and how it shows who it is."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from crater_model.errors import ServingError
from crater_model.serving.client.addresses import Address
from crater_model.serving.client.failures import Failure, Kind


@dataclass(frozen=True)
class Credentials:
    """What a client shows and trusts.

    Attributes:
      ca: PEM file of the authorities that sign the servers' certificates; None: those that this
        computer trusts.
      certificate, key: PEM files of the client's own (mutual TLS).
      token: a bearer token, or the Path of a file that holds it, which is read for each request,
        since such files are renewed.
    """

    ca: str | os.PathLike | None = None
    certificate: str | os.PathLike | None = None
    key: str | os.PathLike | None = None
    token: str | Path | None = None

    @property
    def need_tls(self) -> bool:
        """Whether they mean nothing without TLS."""
        return bool(self.ca or self.certificate or self.key)

    def check(self, address: Address) -> None:
        """Looks before the first request.

        Raises:
          ServingError: a file cannot be read, one of certificate and key is missing, or the token
            would go over a network in the clear.
        """
        if bool(self.certificate) != bool(self.key):
            there, missing = ("certificate", "key") if self.certificate else ("key", "certificate")
            raise ServingError(f"{address.text}: a client's {there} was given and no {missing}; "
                               "give both")
        for name in ("ca", "certificate", "key"):
            if file := getattr(self, name):
                _read(Path(file), name)
        if self.token and not address.is_tls and not address.is_loopback:
            raise ServingError(f"{address.text}: the token would go over the network in the clear; "
                               "name a server with TLS (grpcs://, https://, or give a CA)")
        if isinstance(self.token, Path):
            _read(self.token, "token")

    def pem(self, name: str) -> bytes | None:
        """The content of `ca`, `certificate` or `key`."""
        file = getattr(self, name)
        return _read(Path(file), name) if file else None

    def authorization(self) -> str | None:
        """The header's value as it is now; raises Failure where the token's file is gone."""
        if not isinstance(self.token, Path):
            return f"Bearer {self.token}" if self.token else None
        try:
            return f"Bearer {_read(self.token, 'token').decode().strip()}"
        except (ServingError, UnicodeDecodeError) as error:
            raise Failure(Kind.FINAL, "no token", str(error)) from None


def _read(file: Path, what: str) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise ServingError(f"{file}: cannot be read as the {what}: "
                           f"{error.strerror or error}") from None
