"""What the build context holds; needs no engine."""

import inspect
import json
import re
import shutil
import stat
import subprocess

import pytest
from google.protobuf import text_format
from tensorflow_serving.config import model_server_config_pb2

from crater_model.errors import ConfigError, CraterError, ServingError
from crater_model.revision import source_revision
from crater_model.serving import flags
from crater_model.serving.__main__ import main
from crater_model.serving.client import AsyncClient
from crater_model.serving.config import batching_of, models_of
from crater_model.serving.image import (
    EngineUnavailable,
    build_image,
    default_base,
    find_engine,
    run_image,
    write_context,
)
from crater_model.serving.labels import fingerprint, labels_of


def options_of(context) -> dict:
    """The flags of the image, as TF Serving reads them."""
    text = (context / "Dockerfile").read_text()
    words = json.loads(re.search(r"^ENTRYPOINT (\[.*?\])$", text.replace("\\\n", ""), re.M)[1])
    return flags.parse(words[2:])


def test_context_is_complete(blob_model, tmp_path):
    folder = write_context(blob_model, tmp_path / "context", base="local/base:1")
    names = sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())
    assert [n for n in names if not n.startswith("model/12/variables/")] == [
        "Dockerfile", "batching.config", "model/12/assets.extra/model_card.json",
        "model/12/assets.extra/tf_serving_warmup_requests", "model/12/fingerprint.pb",
        "model/12/saved_model.pb", "models.config", "monitoring.config", "serve.sh"]
    for path in folder.rglob("*"):  # the server in the image is not root
        assert path.stat().st_mode & stat.S_IROTH
    dockerfile = (folder / "Dockerfile").read_text()
    assert "\nARG BASE_IMAGE=local/base\nARG BASE_VERSION=1\n" in dockerfile
    assert "\nFROM ${BASE_IMAGE}:${BASE_VERSION}\n" in dockerfile
    assert 'LABEL org.opencontainers.image.version="12"\n' in dockerfile
    assert r'description="blobs, \"quoted\" and \$HOME"' in dockerfile


def test_configuration_parses(blob_model, tmp_path):
    folder = write_context(blob_model / "3", tmp_path / "context", gpu=True)
    config = text_format.Parse((folder / "models.config").read_text(),
                               model_server_config_pb2.ModelServerConfig())
    model = config.model_config_list.config[0]
    assert (model.name, model.base_path) == ("crater", "/models/crater")
    assert list(model.model_version_policy.specific.versions) == [3]
    assert dict(model.version_labels) == {"stable": 3, "canary": 3}
    assert batching_of(folder / "batching.config").max_batch_size >= 8  # the client's batch
    options = options_of(folder)
    assert (options["port"], options["rest_api_port"], options["enable_batching"]) == (
        8500, 8501, True)
    assert default_base(gpu=True) == default_base() + "-gpu"
    name, version = default_base(gpu=True).split(":")
    assert f"\nARG BASE_IMAGE={name}\nARG BASE_VERSION={version}\n" in (
        folder / "Dockerfile").read_text()


@pytest.mark.parametrize("base, name, version", [
    ("127.0.0.1:5000/serving", "127.0.0.1:5000/serving", "latest"),
    ("127.0.0.1:5000/serving:2", "127.0.0.1:5000/serving", "2"),
    ("serving@sha256:" + 64 * "0", "serving@sha256", 64 * "0")])
def test_any_base_goes_into_the_two_arguments(blob_model, tmp_path, base, name, version):
    text = (write_context(blob_model, tmp_path / "context", base=base) / "Dockerfile").read_text()
    assert f"\nARG BASE_IMAGE={name}\nARG BASE_VERSION={version}\n" in text


@pytest.mark.parametrize("card, joined", [
    ({"inference_input_type": "image_tensor", "inference_input_shape": None}, False),
    ({"inference_input_type": "image_tensor", "inference_input_shape": [50, 80]}, True),
    ({"inference_input_type": "tf_example"}, True), ({}, True), ({"batching": False}, False)])
def test_batching_fits_the_export(blob_model, tmp_path, card, joined):
    """TF Serving fails all requests of a batch whose sizes differ: pixels of any size get none,
    also as a canary."""
    folder = shutil.copytree(blob_model / "3", tmp_path / "7")
    (folder / "assets.extra" / "model_card.json").write_text(json.dumps(card))
    alone = write_context(folder, tmp_path / "alone")
    canary = write_context(blob_model / "3", tmp_path / "canary", canary=folder)
    for context in (alone, canary):
        options = options_of(context)
        assert options["enable_batching"] is joined
        assert bool(options["batching_parameters_file"]) is joined
        assert options["port"] == 8500 and options["enable_grpc_healthcheck_service"] is True


def test_the_image_waits_as_long_as_its_client(blob_model, tmp_path):
    wait_s = inspect.signature(AsyncClient).parameters["timeout_s"].default
    options = options_of(write_context(blob_model, tmp_path / "context"))
    assert options["rest_api_timeout_in_ms"] >= wait_s * 1000
    assert flags.FLAGS["rest_api_timeout_in_ms"] < wait_s * 1000  # so it must be said
    assert options["enable_serialization_as_tensor_content"] is False


def test_a_canary_is_a_second_version(blob_model, tmp_path):
    folder = write_context(blob_model / "3", tmp_path / "context", canary=blob_model / "12")
    assert sorted(path.name for path in (folder / "model").iterdir()) == ["12", "3"]
    config = text_format.Parse((folder / "models.config").read_text(),
                               model_server_config_pb2.ModelServerConfig())
    model = config.model_config_list.config[0]
    assert list(model.model_version_policy.specific.versions) == [3, 12]
    assert dict(model.version_labels) == {"stable": 3, "canary": 12}
    labels = labels_of((3, blob_model / "3"), "base:1", (12, blob_model / "12"))
    assert labels["org.opencontainers.image.version"] == "3"
    assert labels["crater.canary.version"] == "12" and labels["crater.canary.data"] == "sha256:00ff"
    assert labels["crater.canary.sha256"] != labels["crater.model.sha256"]
    for key, value in labels.items():
        if "description" not in key and not value.startswith("{"):
            assert f'LABEL {key}="{value}"\n' in (folder / "Dockerfile").read_text().replace(
                default_base(), "base:1")
    with pytest.raises(ConfigError, match="canary has version 12, as the stable model"):
        write_context(blob_model, folder, canary=blob_model / "12")


def test_the_same_model_makes_the_same_context(blob_model, tmp_path, monkeypatch):
    """Contents, modes and times: the engine makes the same layers of them."""
    def shown(folder):
        return {str(path.relative_to(folder)): (
            path.stat().st_mode, path.stat().st_mtime,
            path.read_bytes() if path.is_file() else None) for path in folder.rglob("*")}

    assert (shown(write_context(blob_model, tmp_path / "one"))
            == shown(write_context(blob_model, tmp_path / "two")))
    assert "created" not in (tmp_path / "one" / "Dockerfile").read_text()
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "86400")
    assert labels_of((12, blob_model / "12"), "base:1")[
        "org.opencontainers.image.created"] == "1970-01-02T00:00:00+00:00"
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "today")
    with pytest.raises(ConfigError, match="SOURCE_DATE_EPOCH=today: expected whole seconds"):
        write_context(blob_model, tmp_path / "three")


def test_the_fingerprint_is_that_of_sha256sum(blob_model, tmp_path):
    folder = shutil.copytree(blob_model / "3", tmp_path / "3")
    listed = subprocess.run("find . -type f -printf '%P\\n' | LC_ALL=C sort | xargs sha256sum "
                            "| sha256sum", shell=True, cwd=folder, text=True, check=True,
                            capture_output=True).stdout.split()[0]
    assert fingerprint(folder) == f"sha256:{listed}"
    (folder / "variables" / "extra").write_bytes(b"")
    assert fingerprint(folder) != f"sha256:{listed}"


def test_a_card_without_a_revision_gets_that_of_this_code(blob_model, tmp_path):
    folder = shutil.copytree(blob_model / "3", tmp_path / "3")
    card = folder / "assets.extra" / "model_card.json"
    revision = "org.opencontainers.image.revision"
    assert labels_of((3, folder), "base:1")[revision] == "abc123"
    card.write_text(json.dumps({"metrics": {}}))
    assert labels_of((3, folder), "base:1")[revision] == source_revision()
    card.write_text("[]")
    with pytest.raises(ServingError, match="model_card.json: not a JSON object"):
        labels_of((3, folder), "base:1")


def test_flags_choose_versions_as_tf_serving_does(blob_model, tmp_path, capsys):
    def models(policy, labels="", labels_at_boot=True):
        file = tmp_path / "models.config"
        file.write_text('model_config_list { config { name: "m" base_path: "%s" '
                        'model_platform: "tensorflow" %s %s } }'
                        % (blob_model, policy, labels))
        return [number for number, *_ in models_of(file, labels_at_boot)[0].states()]

    assert models("") == [12]
    assert models("model_version_policy { all {} }") == [12, 3]
    assert models("model_version_policy { specific { versions: 3 } }") == [3]
    with pytest.raises(ServingError, match="has no version 4"):
        models("model_version_policy { specific { versions: 4 } }")
    with pytest.raises(ServingError, match="allow_version_labels"):
        models("", 'version_labels { key: "stable" value: 12 }', labels_at_boot=False)
    with pytest.raises(ServingError, match="names version 3, which is not among"):
        models("", 'version_labels { key: "stable" value: 3 }')
    assert main(["--model_config_file=/nowhere"]) == 1
    assert "/nowhere: no such file" in capsys.readouterr().err


def test_an_old_context_stays_when_the_new_one_fails(blob_model, tmp_path):
    folder = write_context(blob_model, tmp_path / "context")
    before = (folder / "Dockerfile").read_bytes()
    with pytest.raises(ServingError, match="holds no SavedModel"):
        write_context(tmp_path / "absent", folder)
    with pytest.raises(ConfigError, match="cannot name the base image"):
        write_context(blob_model, folder, base="two words")
    assert (folder / "Dockerfile").read_bytes() == before
    assert list(tmp_path.iterdir()) == [folder]


def test_no_engine_is_said_plainly(blob_model, monkeypatch, tmp_path):
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/nobody.sock")
    monkeypatch.setattr("shutil.which", lambda name: "/bin/docker" if name == "docker" else None)
    assert find_engine() is None
    with pytest.raises(EngineUnavailable, match="no image engine is available"):
        build_image(blob_model, "crater:12")
    with pytest.raises(EngineUnavailable, match="^buildah is not available"):
        build_image(blob_model, "crater:12", engine="buildah")
    with pytest.raises(ConfigError, match="'podman' is unknown"):
        build_image(blob_model, "crater:12", engine="podman")
    with pytest.raises(CraterError), run_image("crater:12", "buildah"):
        pass
