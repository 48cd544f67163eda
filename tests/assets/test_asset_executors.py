"""How steps are run: which executor, and who gets a GPU."""

import os
import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest
import yaml

from crater_assets.assets import ASSETS
from crater_assets.executors import SETTINGS, chosen_executor, gpu_steps, read_settings
from crater_assets.executors.run_config import at_a_time
from crater_model.errors import ConfigError
from tests.assets.two_steps import two_steps

VARIABLES = ("CRATER_EXECUTOR", "CRATER_EXECUTOR_SETTINGS", "CRATER_IMAGE")
ROOT = Path(__file__).resolve().parents[2]
IMAGE = "registry.example/crater-code:1"


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def settings(tmp_path, monkeypatch):
    """settings(change): a changed copy of the settings' file, chosen by the environment."""
    def write(change) -> Path:
        values = yaml.safe_load(SETTINGS.read_text())
        change(values)
        path = tmp_path / "executors.yaml"
        path.write_text(yaml.safe_dump(values))
        monkeypatch.setenv("CRATER_EXECUTOR_SETTINGS", str(path))
        return path
    return write


def test_local_is_the_default(monkeypatch):
    assert chosen_executor(ASSETS).name == "local"
    monkeypatch.setenv("CRATER_EXECUTOR", "local")
    assert chosen_executor(ASSETS).name == "local"


def test_steps_of_this_machine_share_its_gpu_and_start_without_tensorflow():
    program = ("import crater_assets.executors.preloaded, os, sys;"
               "print(os.environ['TF_FORCE_GPU_ALLOW_GROWTH'], 'tensorflow' in sys.modules)")
    said = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True,
                          text=True, env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert said.stdout.split() == ["true", "False"]


@pytest.mark.parametrize("name", ["local", "docker", "kubernetes"])
def test_a_run_sets_how_many_steps_go_on_at_a_time(monkeypatch, name):
    monkeypatch.setenv("CRATER_EXECUTOR", name)
    monkeypatch.setenv("CRATER_IMAGE", IMAGE)
    executor = chosen_executor(ASSETS)

    @dg.asset
    def thing():
        """Anything."""

    job = dg.Definitions([thing], executor=executor, jobs=[dg.define_asset_job("all")]
                         ).resolve_job_def("all")
    assert dg.validate_run_config(job, {"execution": {"config": {"max_concurrent": 1}}})
    for wrong in ({"max_concurrent": "one"}, {"max_concurent": 1}):
        with pytest.raises(dg.DagsterInvalidConfigError):
            dg.validate_run_config(job, {"execution": {"config": wrong}})


@pytest.mark.slow
def test_one_step_at_a_time_is_one_at_a_time(tmp_path, monkeypatch):
    monkeypatch.setenv("CRATER_TEST_TIMES", str(tmp_path / "times"))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        with dg.execute_job(dg.reconstructable(two_steps), instance=instance, run_config={
                "execution": {"config": {"max_concurrent": 1}}}) as result:
            assert result.success
    assert (tmp_path / "times").read_text().split() == ["in", "out"] * 2


@pytest.mark.parametrize("most", [0, -1])
def test_a_number_of_steps_that_cannot_be(most):
    with pytest.raises(ConfigError, match=f"max_concurrent: got {most}, expected 1 or more"):
        at_a_time({"max_concurrent": most})


def test_an_unknown_executor_is_named(monkeypatch):
    monkeypatch.setenv("CRATER_EXECUTOR", "dokcer")
    with pytest.raises(ConfigError, match="got 'dokcer', expected one of local, docker, kub"):
        chosen_executor(ASSETS)


def test_a_package_that_is_missing_is_named(monkeypatch):
    monkeypatch.setenv("CRATER_EXECUTOR", "kubernetes")
    monkeypatch.setitem(sys.modules, "dagster_k8s", None)
    monkeypatch.delitem(sys.modules, "crater_assets.executors.cluster", raising=False)
    with pytest.raises(ConfigError, match=r"dagster_k8s is not installed; .*\[cluster\]"):
        chosen_executor(ASSETS)


def test_the_steps_in_the_pool_get_a_gpu():
    @dg.asset(pool="gpu")
    def pretrained():
        """Is there only where a hyperparameter set starts from it."""

    assert gpu_steps(ASSETS) == ["checkpoint"]
    assert gpu_steps([*ASSETS, pretrained]) == ["checkpoint", "pretrained"]
    assert gpu_steps(ASSETS, ["best_model"]) == ["checkpoint", "best_model"]
    with pytest.raises(ConfigError, match="there is no asset 'best', expected some of annotated"):
        gpu_steps(ASSETS, ["best"])


@pytest.mark.parametrize("change, words", [
    (lambda v: v.update(gpu_step=["best_model"]), "the file: got the key 'gpu_step'"),
    (lambda v: v["docker"].update(steps={}), "docker: got the key 'steps', expected every_step"),
    (lambda v: v.update(docker=[]), None), (lambda v: v.update(docker=[1]), r"got \[1\]"),
    (lambda v: v.update(gpu_steps="best_model"), "expected a list of assets")])
def test_the_form_of_the_settings(settings, change, words):
    path = settings(change)
    if words is None:
        assert read_settings(path)["docker"] == {"every_step": {}, "gpu_step": {}}
        return
    with pytest.raises(ConfigError, match=words):
        read_settings(path)


@pytest.mark.parametrize("text, words", [(None, "cannot be read"), ("a: [", "is not YAML")])
def test_settings_that_cannot_be_read(tmp_path, text, words):
    path = tmp_path / "settings.yaml"
    if text:
        path.write_text(text)
    with pytest.raises(ConfigError, match=words):
        read_settings(path)


@pytest.mark.parametrize("executor, change, words", [
    ("docker", lambda v: v["docker"]["every_step"].update(network="host"), "network"),
    ("docker", lambda v: v["docker"]["gpu_step"]["container_kwargs"].update(gpus="all"),
     "unexpected keyword argument 'gpus'"),
    ("kubernetes", lambda v: v["kubernetes"]["gpu_step"]["pod_spec_config"].update(
        node_selectr={}), "node_selectr"),
    ("kubernetes", lambda v: v["kubernetes"]["every_step"].update(pod_config={}), "pod_config")])
def test_wrong_settings_are_named_when_the_definitions_load(settings, monkeypatch, executor,
                                                            change, words):
    pytest.importorskip("dagster_docker" if executor == "docker" else "dagster_k8s")
    path = settings(change)
    monkeypatch.setenv("CRATER_EXECUTOR", executor)
    monkeypatch.setenv("CRATER_IMAGE", IMAGE)
    with pytest.raises(ConfigError) as error:
        chosen_executor(ASSETS)
    assert words in str(error.value) and "\n" not in str(error.value)
    assert str(path) in str(error.value) or executor in str(error.value)


def test_docker_wants_an_image(monkeypatch):
    monkeypatch.setenv("CRATER_EXECUTOR", "docker")
    with pytest.raises(ConfigError, match="set CRATER_IMAGE"):
        chosen_executor(ASSETS)
