"""The same Dockerfile built and pushed with buildah, which needs no daemon."""

import json
import os
import shutil
import subprocess

import pytest

from crater_model.serving.image import BaseImageUnavailable, TagTaken, build_image, find_engine
from tests.serving.container_engine import registry


def buildah(*arguments: str) -> str:
    done = subprocess.run(["buildah", *arguments], capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.fixture
def buildah_base(tmp_path, monkeypatch):
    """An empty base image in a storage of its own; loopback registries need no TLS."""
    if not shutil.which("buildah") or os.geteuid() != 0:
        pytest.skip("buildah is not installed, or this is not root")
    storage = tmp_path / "storage.conf"
    storage.write_text(f'[storage]\ndriver = "vfs"\ngraphroot = "{tmp_path}/graph"\n'
                       f'runroot = "{tmp_path}/run"\n')
    registries = tmp_path / "registries.conf"
    registries.write_text('[[registry]]\nlocation = "127.0.0.1"\ninsecure = true\n')
    monkeypatch.setenv("CONTAINERS_STORAGE_CONF", str(storage))
    monkeypatch.setenv("CONTAINERS_REGISTRIES_CONF", str(registries))
    monkeypatch.setenv("BUILDAH_ISOLATION", "chroot")
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/nobody.sock")
    container = buildah("from", "scratch")
    buildah("config", "--env", "PATH=/bin", container)
    buildah("commit", container, "localhost/base:1")
    buildah("rm", container)
    return "localhost/base:1"


@pytest.mark.slow
def test_build_and_push_without_a_daemon(buildah_base, blob_model, tmp_path):
    assert find_engine() == "buildah"
    if not shutil.which("docker-registry"):
        pytest.skip("docker-registry is not installed")
    with registry(tmp_path) as address:
        registries = tmp_path / "registries.conf"
        registries.write_text(f'[[registry]]\nlocation = "{address}"\ninsecure = true\n')
        made = build_image(blob_model / "3", f"{address}/crater:3", base=buildah_base, push=True)
        shown = json.loads(buildah("inspect", "--type", "image", made.reference))
        assert (made.engine, made.base) == ("buildah", buildah_base)
        assert made.image_id == f"sha256:{shown['FromImageID']}"
        config = shown["OCIv1"]["config"]
        assert made.labels.items() <= config["Labels"].items()
        assert config["Labels"]["crater.data"] == "sha256:00ff"
        assert config["User"] == "65532:65532"
        assert config["Entrypoint"][:2] == ["/bin/sh", "/models/serve.sh"]
        assert made.pushed == f"{address}/crater@{made.digest}"
        buildah("rmi", "--force", made.reference)
        # The tag is free here, but not in the registry.
        with pytest.raises(TagTaken, match=r"holds version 3 \(sha256:.* in the registry"):
            build_image(blob_model / "12", made.reference, base=buildah_base, push=True)
        buildah("rmi", "--force", made.reference)
        buildah("pull", made.pushed)


@pytest.mark.slow
def test_a_base_that_cannot_be_had(buildah_base, blob_model):
    with pytest.raises(BaseImageUnavailable, match="127.0.0.1:1/no/base:1: this base image"):
        build_image(blob_model / "3", "crater:none", base="127.0.0.1:1/no/base:1")
