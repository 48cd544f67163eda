"""What is tried again, and what never is."""

from pathlib import Path

import dagster as dg
import pytest
import requests
from dagster._core.definitions.reconstruct import ReconstructableJob
from google.api_core.exceptions import Forbidden, NotFound, ServiceUnavailable

from crater_assets.assets import ASSETS
from crater_assets.faults import RETRY, GpuMissing, is_fault, require_gpu
from crater_assets.history import last_failure, plain_failures
from crater_model.errors import ConfigError, CraterError, DataError
from tests.assets.broken_steps import COUNT

ROOT = Path(__file__).resolve().parents[2]


class UnavailableError(Exception):
    """Has the name of TensorFlow's."""


def caused(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


FAULTS = [ConnectionResetError("reset"), TimeoutError("late"), ServiceUnavailable("503"),
          requests.ConnectionError("refused"), UnavailableError("socket closed"),
          GpuMissing("none"), caused(CraterError("gs://b/k: publish failed"),
                                     ServiceUnavailable("503"))]
OTHERS = [DataError("bad label"), ConfigError("no such setting"), ValueError("shape"),
          FileNotFoundError("gone"), MemoryError(),
          caused(CraterError("gs://b/k: fetch failed"), NotFound("404")),
          caused(CraterError("gs://b/k: fetch failed"), Forbidden("403"))]


@pytest.mark.parametrize("error", FAULTS + OTHERS, ids=lambda e: f"{type(e).__name__}-{e}")
def test_kinds_of_errors(error):
    assert is_fault(error) is (error in FAULTS)


@pytest.mark.parametrize("error, attempts", [
    (ConnectionError("storage gone"), 2), (caused(CraterError("publish failed"),
                                                  ServiceUnavailable("503")), 2),
    (DataError("scene_1.png: no pixels"), 1), (ValueError("cannot reshape"), 1)],
    ids=["network", "storage", "data", "unexpected"])
def test_only_faults_are_tried_again(instance, error, attempts):
    tried = []

    @dg.asset(retry_policy=dg.RetryPolicy(max_retries=RETRY.max_retries))
    def thing():
        with plain_failures():
            tried.append(1)
            raise error

    result = dg.materialize([thing], instance=instance, raise_on_error=False)
    assert not result.success and len(tried) == attempts
    assert len([e for e in result.all_events if e.is_step_up_for_retry]) == attempts - 1
    failed, = [e for e in result.all_events if e.is_step_failure]
    assert str(error) in str(failed.event_specific_data)


def test_a_fault_that_passes_is_no_failure(instance):
    tried = []

    @dg.asset(retry_policy=dg.RetryPolicy(max_retries=1))
    def thing():
        with plain_failures():
            tried.append(1)
            if len(tried) == 1:
                raise ConnectionError("storage gone")

    assert dg.materialize([thing], instance=instance).success
    assert len(tried) == 2


@pytest.mark.slow
def test_a_step_whose_process_is_killed_is_started_again(tmp_path, monkeypatch):
    monkeypatch.setenv(COUNT, str(tmp_path / "count"))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    job = ReconstructableJob.for_module("tests.assets.broken_steps", "job")
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        with dg.execute_job(job, instance=instance) as result:
            assert result.success
            assert [e.step_key for e in result.all_events if e.is_step_up_for_retry] == [
                "killed_once"]
            assert last_failure(instance, "killed_once", "any") == ""
    assert (tmp_path / "count").read_text() == "x\nx\n"


def test_every_asset_has_the_policy():
    assert {asset.op.name: asset.op.retry_policy for asset in ASSETS} == {
        asset.op.name: RETRY for asset in ASSETS}
    assert RETRY.max_retries == 1


def test_a_gpu_that_was_asked_for_and_is_not_there(monkeypatch):
    monkeypatch.delenv("CRATER_REQUIRE_GPU", raising=False)
    require_gpu()
    monkeypatch.setenv("CRATER_REQUIRE_GPU", "1")
    tf = pytest.importorskip("tensorflow")
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: [])
    with pytest.raises(GpuMissing, match="TensorFlow sees none"):
        require_gpu()
