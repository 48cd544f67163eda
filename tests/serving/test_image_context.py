"""What the build context holds; needs no engine."""

import re
import stat

import pytest
from google.protobuf import text_format
from tensorflow_serving.config import model_server_config_pb2

from crater_model.errors import ConfigError, CraterError, ServingError
from crater_model.serving.__main__ import main, models_of, parser
from crater_model.serving.image import (
    EngineUnavailable,
    build_image,
    default_base,
    find_engine,
    run_image,
    write_context,
)

# Fields of BatchingParameters in TF Serving's session_bundle_config.proto.
BATCHING = {"max_batch_size", "batch_timeout_micros", "max_enqueued_batches", "num_batch_threads"}


def entrypoint(dockerfile: str) -> list[str]:
    text = dockerfile[dockerfile.index("ENTRYPOINT"):dockerfile.index("CMD")]
    return re.findall(r'"([^"]+)"', text)


def test_context_is_complete(blob_model, tmp_path):
    folder = write_context(blob_model, tmp_path / "context", base="local/base:1")
    names = sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())
    assert [n for n in names if not n.startswith("model/12/variables/")] == [
        "Dockerfile", "batching.config", "model/12/assets.extra/model_card.json",
        "model/12/assets.extra/tf_serving_warmup_requests", "model/12/fingerprint.pb",
        "model/12/saved_model.pb", "models.config", "monitoring.config"]
    for path in folder.rglob("*"):  # the server in the image is not root
        assert path.stat().st_mode & stat.S_IROTH
    dockerfile = (folder / "Dockerfile").read_text()
    assert "\nARG BASE_IMAGE=local/base:1\nFROM ${BASE_IMAGE}\n" in dockerfile
    assert 'LABEL org.opencontainers.image.version="12"\n' in dockerfile
    assert r'description="blobs, \"quoted\" and \$HOME"' in dockerfile


def test_configuration_parses(blob_model, tmp_path):
    folder = write_context(blob_model / "3", tmp_path / "context", gpu=True)
    config = text_format.Parse((folder / "models.config").read_text(),
                               model_server_config_pb2.ModelServerConfig())
    model = config.model_config_list.config[0]
    assert (model.name, model.base_path) == ("crater", "/models/crater")
    assert list(model.model_version_policy.specific.versions) == [3]
    assert dict(model.version_labels) == {"stable": 3}
    lines = [line for line in (folder / "batching.config").read_text().splitlines()
             if line and not line.startswith("#")]
    found = dict(re.fullmatch(r"(\w+) \{ value: (\d+) \}", line).groups() for line in lines)
    assert set(found) == BATCHING and int(found["max_batch_size"]) >= 8  # the client's batch
    flags = parser().parse_args(entrypoint((folder / "Dockerfile").read_text())[1:])
    assert (flags.port, flags.rest_api_port, flags.enable_batching) == (8500, 8501, True)
    assert default_base(gpu=True) == default_base() + "-gpu"
    assert f"ARG BASE_IMAGE={default_base(gpu=True)}\n" in (folder / "Dockerfile").read_text()


def test_flags_choose_versions_as_tf_serving_does(blob_model, tmp_path, capsys):
    def models(policy, labels="", labels_at_boot=True):
        file = tmp_path / "models.config"
        file.write_text('model_config_list { config { name: "m" base_path: "%s" %s %s } }'
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
