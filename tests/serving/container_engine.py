"""A private Docker engine, and a stand-in for the base image of the serving image.

The engine is a real dockerd with folders of its own. TF Serving's image cannot be pulled
everywhere, so the stand-in offers its command, `tensorflow_model_server`, by way of this
project's server under the same flags; Python, its libraries and this repository come from
the machine at run time, so that the stand-in holds a shell and a script and is made at once.
"""

from __future__ import annotations

import io
import os
import shutil
import socket
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
_SHIM = '#!/bin/sh\nexec "$CRATER_PYTHON" -m crater_model.serving "$@"\n'


def why_no_engine() -> str:
    """What keeps a Docker engine from being started here; '' when nothing does."""
    if os.geteuid() != 0:
        return "a Docker engine of its own needs root"
    missing = [name for name in ("dockerd", "docker", "busybox") if not shutil.which(name)]
    return f"{', '.join(missing)} not installed" if missing else ""


@contextmanager
def docker_engine() -> Iterator[str]:
    """Runs dockerd and gives its DOCKER_HOST; stops it and removes its folders at the end."""
    folder = Path(tempfile.mkdtemp(prefix="dkr."))  # short: a socket's path has 107 bytes
    host = f"unix://{folder}/docker.sock"
    with open(folder / "log", "wb") as log:
        daemon = subprocess.Popen(
            ["dockerd", "--data-root", folder / "data", "--exec-root", folder / "exec",
             "-H", host, "-p", folder / "docker.pid", "--iptables=false", "--ip6tables=false",
             "--bridge=none"], stdout=log, stderr=log, start_new_session=True)
    try:
        deadline = time.monotonic() + 60
        while subprocess.run(["docker", "-H", host, "version"], capture_output=True,
                             check=False).returncode:
            if daemon.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError((folder / "log").read_text()[-2000:])
            time.sleep(0.1)
        yield host
    finally:
        daemon.terminate()
        try:
            daemon.wait(30)
        except subprocess.TimeoutExpired:
            daemon.kill()
            daemon.wait()
        subprocess.run(["umount", folder / "exec" / "netns" / "default"], capture_output=True,
                       check=False)
        shutil.rmtree(folder, ignore_errors=True)


def import_base(name: str, server: str = _SHIM) -> None:
    """Makes the stand-in base image `name` in the engine that DOCKER_HOST names.

    Args:
      server: a script in the place of `tensorflow_model_server`.
    """
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as tar:
        for folder in ("bin", "lib", "lib64", "usr", "usr/lib", "opt", "opt/bin", "etc", "tmp"):
            entry = tarfile.TarInfo(folder)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o1777 if folder == "tmp" else 0o755
            tar.addfile(entry)
        tar.add(os.path.realpath(shutil.which("busybox")), "bin/busybox")
        link = tarfile.TarInfo("bin/sh")
        link.type, link.linkname = tarfile.SYMTYPE, "busybox"
        tar.addfile(link)
        shim = tarfile.TarInfo("opt/bin/tensorflow_model_server")
        shim.size, shim.mode = len(server), 0o755
        tar.addfile(shim, io.BytesIO(server.encode()))
    subprocess.run(["docker", "import", "--change", "ENV PATH=/opt/bin:/bin", "-", name],
                   input=data.getvalue(), check=True, capture_output=True)


def run_options() -> dict:
    """Arguments of the SDK's `containers.run` that lend the stand-in this Python, read-only."""
    lent = ["/lib", "/lib64", "/usr/lib", "/usr/lib64", sys.prefix, sys.base_prefix,
            str(REPOSITORY)]
    return {
        "volumes": [f"{path}:{path}:ro" for path in dict.fromkeys(lent) if os.path.exists(path)],
        "environment": {
            "CRATER_PYTHON": sys.executable, "PYTHONPATH": str(REPOSITORY), "HOME": "/tmp",
            "CRATER_SERVING_HOST": "127.0.0.1", "PYTHONDONTWRITEBYTECODE": "1", "TF_CPP_MIN_LOG_LEVEL": "2",
            "CUDA_VISIBLE_DEVICES": ""}}


@contextmanager
def registry(folder: Path) -> Iterator[str]:
    """Runs Debian's docker-registry on a free port and gives HOST:PORT."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    file = folder / "registry.yml"
    file.write_text("version: 0.1\nstorage:\n  filesystem:\n"
                    f"    rootdirectory: {folder}/registry\nhttp:\n  addr: {address}\n")
    process = subprocess.Popen(["docker-registry", "serve", file], stdout=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL)
    try:
        host, port = address.split(":")
        deadline = time.monotonic() + 30
        while True:
            try:
                socket.create_connection((host, int(port)), 1).close()
                break
            except OSError:
                if time.monotonic() > deadline or process.poll() is not None:
                    raise
                time.sleep(0.05)
        yield address
    finally:
        process.terminate()
        process.wait(10)
