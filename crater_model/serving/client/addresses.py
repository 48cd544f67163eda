"""Where servers are, and which model of theirs is asked."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass

from crater_model.errors import ServingError

SCHEMES = ("grpc", "grpcs", "http", "https")
# gRPC's own (its document "naming"): what is resolved, and how.
_TARGET = re.compile(r"(dns|ipv4|ipv6|unix|unix-abstract):(.+)")
_HOST_PORT = re.compile(r"(?:\[[0-9a-fA-F:.%\w]+\]|[^\[\]/:,]+):(\d{1,5})")


@dataclass(frozen=True)
class ModelName:
    """Which model of a server, and which version of it (both None: the newest)."""

    name: str
    version: int | None = None
    label: str | None = None


@dataclass(frozen=True)
class Address:
    """Where a server listens, or several behind one name, and how it is spoken to.

    Attributes:
      text: as it was given, for messages.
      scheme: one of SCHEMES.
      target: HOST:PORT, or a target of gRPC's own.
    """

    text: str
    scheme: str
    target: str

    @property
    def is_rest(self) -> bool:
        return self.scheme in ("http", "https")

    @property
    def is_tls(self) -> bool:
        return self.scheme in ("grpcs", "https")

    @property
    def hosts(self) -> list[str]:
        """The hosts that it names, without brackets; none for a socket."""
        kind, rest = _split(self.target)
        if kind.startswith("unix"):
            return []
        return [part.rpartition(":")[0].strip("[]") for part in
                rest.rpartition("/")[2].split(",")]

    @property
    def is_name(self) -> bool:
        """Whether it has to be looked up, so that what it stands for may change."""
        return any(_ip(host) is None for host in self.hosts)

    @property
    def is_loopback(self) -> bool:
        return all(host == "localhost" or ((ip := _ip(host)) is not None and ip.is_loopback)
                   for host in self.hosts)


def parse_addresses(endpoint: str | Sequence[str], tls: bool = False) -> list[Address]:
    """Reads [SCHEME://]HOST:PORT or targets of gRPC's own, one or several (a sequence, or with
    commas between).

    Args:
      tls: what names no scheme is spoken to with TLS.

    Raises:
      ServingError: one of them is not of these forms, is told to be without TLS, or both APIs are
        named.
    """
    parts = _parts(endpoint) if isinstance(endpoint, str) else [part.strip() for part in endpoint]
    addresses = [_parse(part, tls) for part in parts or [str(endpoint)]]
    if len({address.is_rest for address in addresses}) > 1:
        raise ServingError(f"{','.join(parts)}: names servers of both APIs; expected gRPC ones "
                           "or REST ones, make a client for each")
    return addresses


def _parts(text: str) -> list[str]:
    """The endpoints of a text; a list of ipv4: or ipv6: is one."""
    parts: list[str] = []
    for part in filter(None, map(str.strip, text.split(","))):
        if parts and parts[-1].startswith(("ipv4:", "ipv6:")) and _HOST_PORT.fullmatch(part):
            parts[-1] += f",{part}"
        else:
            parts.append(part)
    return parts


def _parse(text: str, tls: bool) -> Address:
    if _TARGET.match(text) and not _HOST_PORT.fullmatch(text):
        address = Address(text, "grpcs" if tls else "grpc", text)
        if not _is_target(text):
            raise ServingError(f"{text!r}: not a target that gRPC knows, expected one such as "
                               "dns:///NAME:PORT, ipv4:ADDRESS:PORT[,...] or unix:/PATH")
        return address
    scheme, _, rest = text.rpartition("://")
    rest = rest.rstrip("/")
    if (scheme or "grpc") not in SCHEMES or not _is_host_port(rest):
        raise ServingError(f"{text!r}: not an endpoint, expected HOST:PORT such as "
                           "127.0.0.1:8500, or with one of "
                           f"{', '.join(f'{s}://' for s in SCHEMES)} before it, or a target of "
                           "gRPC's such as dns:///NAME:PORT")
    address = Address(text, scheme or ("grpcs" if tls else "grpc"), rest)
    if tls and not address.is_tls:
        raise ServingError(f"{text}: a CA or a certificate was given, and {scheme}:// is without "
                           f"TLS; name it {scheme}s://{rest}, or give none")
    return address


def _is_target(text: str) -> bool:
    kind, rest = _split(text)
    if kind.startswith("unix"):
        return bool(rest.strip("/"))
    if kind == "dns":
        return _is_host_port(rest.rpartition("/")[2])
    version = {"ipv4": 4, "ipv6": 6}[kind]
    return all(_is_host_port(part) and getattr(_ip(part.rpartition(":")[0].strip("[]")),
                                               "version", 0) == version
               for part in rest.split(","))


def _split(target: str) -> tuple[str, str]:
    """(kind, rest) of a target of gRPC's own; ("", all of it) of HOST:PORT."""
    match = None if _HOST_PORT.fullmatch(target) else _TARGET.fullmatch(target)
    return (match[1], match[2]) if match else ("", target)


def _is_host_port(text: str) -> bool:
    match = _HOST_PORT.fullmatch(text)
    return match is not None and 0 < int(match[1]) < 65536


def _ip(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return None
