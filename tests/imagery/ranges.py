"""A web server on loopback that answers parts of files, as an archive's does.

It is a process of its own: GDAL holds Python's lock while it waits for the answer.
"""

from __future__ import annotations

import re
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


class Archive(ThreadingHTTPServer):
    """Serves a folder; what is below /private/ is answered 403. /sent says how many bytes of files
    it has sent."""

    daemon_threads = True

    def __init__(self, folder: Path):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.folder, self.sent = folder, 0


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Archive

    def log_message(self, *_) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer(False)

    def do_GET(self) -> None:
        self._answer(True)

    def _answer(self, with_body: bool) -> None:
        name = self.path.split("?")[0]
        path = self.server.folder / name.lstrip("/")
        if name == "/sent":
            return self._send(200, str(self.server.sent).encode(), {}, True)
        if name.startswith("/private/") or not path.is_file():
            return self._send(403 if name.startswith("/private/") else 404, b"", {}, with_body)
        data, headers, code = path.read_bytes(), {"Accept-Ranges": "bytes"}, 200
        if part := re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", "")):
            first, last = int(part[1]), min(int(part[2] or len(data) - 1), len(data) - 1)
            headers["Content-Range"] = f"bytes {first}-{last}/{len(data)}"
            data, code = data[first:last + 1], 206
        if with_body:
            self.server.sent += len(data)
        self._send(code, data, headers, with_body)

    def _send(self, code: int, data: bytes, headers: dict[str, str], with_body: bool) -> None:
        self.send_response(code)
        for key, value in {**headers, "Content-Length": str(len(data))}.items():
            self.send_header(key, value)
        self.end_headers()
        if with_body:
            self.wfile.write(data)


@contextmanager
def archive(folder: Path) -> Iterator[str]:
    """The address of a running server of the files below a folder."""
    server = subprocess.Popen([sys.executable, "-m", "tests.imagery.ranges", str(folder)],
                              stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
                              cwd=Path(__file__).parents[2])
    try:
        assert server.stdout is not None
        yield f"http://127.0.0.1:{int(server.stdout.readline())}"
    finally:
        server.terminate()
        server.wait(10)


def sent(url: str) -> int:
    """How many bytes of files the server has sent."""
    return int(urllib.request.urlopen(f"{url}/sent").read())


if __name__ == "__main__":
    with Archive(Path(sys.argv[1])) as running:
        print(running.server_port, flush=True)
        running.serve_forever()
