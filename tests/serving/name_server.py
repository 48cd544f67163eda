"""A name server on loopback: real DNS answers (RFC 1035), changed while it runs."""

from __future__ import annotations

import ipaddress
import socket
import struct
import threading

_A, _IN, _NXDOMAIN = 1, 1, 3


class NameServer:
    """Answers questions for A records over UDP; names are resolved through it as
    dns://127.0.0.1:PORT/NAME:PORT.

    Attributes:
      addresses: name -> its IPv4 addresses; change it at will.
      asked: how many questions for A records came.
    """

    def __init__(self, **addresses: list[str]):
        self.addresses, self.asked = dict(addresses), 0
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def target(self, name: str, port: int) -> str:
        """How gRPC is told to ask this server for the name."""
        return f"dns://127.0.0.1:{self.port}/{name}:{port}"

    def __enter__(self) -> NameServer:
        self._thread.start()
        return self

    def __exit__(self, *_) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as last:
            last.sendto(b"", ("127.0.0.1", self.port))
        self._thread.join()
        self._socket.close()

    def _serve(self) -> None:
        while True:
            question, asker = self._socket.recvfrom(4096)
            if not question:
                return
            self._socket.sendto(self._answer(question), asker)

    def _answer(self, question: bytes) -> bytes:
        labels, end = [], 12
        while length := question[end]:
            labels.append(question[end + 1:end + 1 + length].decode())
            end += 1 + length
        end += 1
        kind = struct.unpack(">H", question[end:end + 2])[0]
        found = self.addresses.get(".".join(labels).lower())
        records = b""
        if kind == _A and found is not None:
            self.asked += 1
            for address in found:  # the name is that of the question, at byte 12
                records += struct.pack(">HHHIH", 0xC00C, _A, _IN, 0, 4)
                records += ipaddress.IPv4Address(address).packed
        header = question[:2] + struct.pack(
            ">HHHHH", 0x8580 | (_NXDOMAIN if found is None else 0), 1, len(records) // 16, 0, 0)
        return header + question[12:end + 4] + records
