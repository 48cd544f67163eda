"""The whole graph with tiny settings in a temporary instance, to a running image."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest
import yaml

from crater_assets.history import BLOCKING_CHECKS, last_failure, last_materialization
from crater_assets.partitions import hyperparameters
from crater_assets.promotion import SUMMARY, in_service
from crater_assets.resources import Crater
from crater_model.annotations.dataset import load_dataset
from crater_model.storage import open_storage
from tests.serving import container_engine
from tests.serving.conftest import docker_base  # noqa: F401 (a fixture)
from tests.tiny import TINY

pytestmark = pytest.mark.slow

STEPS = {"train_steps": 2}
SAME = "saved_model_matches_checkpoint"  # which loads and runs both; left out where others count
PARTITIONS = ("baseline", "gentle_learning_rate")


@pytest.fixture
def no_engine(monkeypatch):
    """Neither Docker nor buildah is to be found."""
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere/docker.sock")
    monkeypatch.setenv("PATH", "/nowhere")


@pytest.fixture(scope="module")
def chain(tmp_path_factory, make_dataset, tiny_experiment, run_assets):
    """Instance and resource after the chain has run: data, two checkpoints, the best of them."""
    folder = tmp_path_factory.mktemp("chain")
    # The third scene has no crater.
    data = make_dataset(folder / "data", craters=(4, 6, 0, 5, 3, 7, 5, 6))
    crater = Crater(dataset=str(data), storage=str(folder / "storage"),
                    experiment=str(tiny_experiment))
    with dg.DagsterInstance.local_temp(str(folder)) as instance:
        first = run_assets(instance, crater, "annotated_images", "tfrecords", "checkpoint",
                           partition=PARTITIONS[0], checkpoint=STEPS)
        assert first.success
        assert run_assets(instance, crater, "checkpoint", partition=PARTITIONS[1],
                          checkpoint=STEPS).success
        assert run_assets(instance, crater, "best_model", without=SAME).success
        yield instance, crater


def test_each_partition_was_trained_and_checked(chain):
    instance, crater = chain
    storage = open_storage(crater.storage)
    for name in PARTITIONS:
        made = last_materialization(instance, "checkpoint", name)
        assert made.check_passed is True
        assert made.metadata["steps"] == 2 and made.metadata["score"] >= 0
        assert made.metadata["loss"] > 0
        assert made.metadata["curves"].startswith(
            "![loss and metric over the steps](/logs/pictures/")
        assert (storage.fetch(made.artifact) / "result.json").is_file()
        assert made.metadata["reused"] is False and made.metadata["stopped_early"] is False
    overrides = last_materialization(instance, "checkpoint", PARTITIONS[1]).metadata
    assert overrides["hyperparameters"] == hyperparameters()[PARTITIONS[1]] != {}


AGAIN = """
import sys
import dagster as dg
from crater_assets.assets import ASSETS
from crater_assets.checks import CHECKS
from crater_assets.resources import Crater
with dg.DagsterInstance.local_temp(sys.argv[1]) as instance:
    done = dg.materialize(
        ASSETS + CHECKS, instance=instance, partition_key=sys.argv[3],
        resources={"crater": Crater.model_validate_json(sys.argv[2])},
        selection=dg.AssetSelection.assets("annotated_images", "tfrecords", "checkpoint"),
        run_config={"ops": {"checkpoint": {"config": {"train_steps": 2}}}})
    for name in ("tfrecords", "checkpoint"):
        made, = done.asset_materializations_for_node(name)
        print(name, made.metadata["reused"].value)
print("tensorflow" in sys.modules)
"""


def test_a_run_with_nothing_to_do_takes_no_tensorflow(chain, tmp_path):
    instance, crater = chain
    home = shutil.copytree(instance.root_directory, tmp_path / "home",
                           ignore=shutil.ignore_patterns("data", "storage"))
    done = subprocess.run(
        [sys.executable, "-c", AGAIN, str(home), crater.model_dump_json(), PARTITIONS[0]],
        capture_output=True, text=True, check=False, cwd=Path(__file__).resolve().parents[2])
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.splitlines() == ["tfrecords True", "checkpoint True", "False"]


def test_a_training_is_seen_while_it_goes_on(chain):
    instance, _ = chain
    made = last_materialization(instance, "checkpoint", PARTITIONS[0])
    found = instance.fetch_observations(dg.AssetRecordsFilter(
        asset_key=dg.AssetKey("checkpoint"), asset_partitions=[PARTITIONS[0]]), limit=10).records
    assert all(record.timestamp < made.timestamp for record in found)
    shown = [{name: value.value for name, value in record.asset_observation.metadata.items()}
             for record in reversed(found)]
    assert [each["stage"] for each in shown] == ["started", "training", "validated"]
    for place in ("run", "log", "model_dir", "tensorboard"):  # known also if it fails later
        assert shown[0][place] == made.metadata[place]
    assert made.metadata["run"] == made.run_id and Path(made.metadata["log"]).is_file()
    assert shown[1]["steps_per_second"] > 0 and shown[1]["loss"] == made.metadata["loss"]
    for name in ("score", "mask_AP", "mask_AP50", "steps", "curves", "rims"):
        assert shown[2][name] == made.metadata[name]
    page = last_materialization(instance, "training_progress", PARTITIONS[0])
    assert page.timestamp < made.timestamp and page.run_id == made.run_id
    for name in ("score", "loss", "mask_AP50", "curves", "rims", "log", "tensorboard"):
        assert page.metadata[name] == made.metadata[name]


def test_the_pages_begin_with_what_came_out(chain):
    instance, _ = chain
    trained = last_materialization(instance, "checkpoint", PARTITIONS[0])
    said = trained.metadata["summary"]
    assert said.startswith(f"**Validation mask_AP {trained.metadata['score']:.4f}** after 2 steps ")
    assert f"(/runs/{trained.run_id}?logType=stderr" in said
    best = last_materialization(instance, "best_model").metadata
    test = best["test_metrics"]
    assert best["summary"].startswith(
        f"**{best['partition']}** is the best of 2 sets (validation mask_AP "
        f"{best['validation_score']:.4f}); on 1 test scenes **mask_AP {test['mask_AP']:.4f}**")
    for name in ("annotated_images", "tfrecords", "checkpoint", "best_model"):
        made = last_materialization(instance, name, PARTITIONS[0] if name == "checkpoint" else None)
        assert list(made.metadata)[0] == "summary" and "\n\nNext: " in made.metadata["summary"]
        # In line are those below 1,000 characters, pictures and tables too.
        assert not [key for key, value in made.metadata.items()
                    if isinstance(value, str) and len(value) >= 1000]


def test_best_model_is_exported_and_scored_on_unseen_scenes(chain):
    instance, crater = chain
    made = last_materialization(instance, "best_model")
    scores = {name: last_materialization(instance, "checkpoint", name).metadata["score"]
              for name in PARTITIONS}
    best = max(sorted(scores), key=scores.get)
    assert made.metadata["partition"] == best
    assert made.metadata["validation_score"] == scores[best]
    assert [entry["partition"] for entry in made.metadata["ranking"]][0] == best
    first = made.metadata["leaderboard"].records[0].data
    assert (first["rank"], first["hyperparameters"], first["mask_AP"]) == (
        "1", best, f"{scores[best]:.4g}")
    records = last_materialization(instance, "tfrecords")
    manifest = json.loads((open_storage(crater.storage).fetch(records.artifact)
                           / "manifest.json").read_text())
    tested = set(manifest["splits"]["test"]["scenes"])
    assert made.metadata["test_scenes"] == len(tested) == 1
    truth = [scene for scene in load_dataset(crater.dataset).scenes if scene.scene in tested]
    assert made.metadata["test_metrics"]["instances"] == len(truth[0].instances)
    saved = Path(made.metadata["saved_model"])
    assert saved.name == "1" and (saved / "saved_model.pb").is_file()
    card = json.loads((saved / "assets.extra" / "model_card.json").read_text())
    assert "mask_AP" in json.dumps(card)


def test_the_same_again_is_reused(chain, run_assets):
    instance, crater = chain
    before = last_materialization(instance, "best_model")
    files = {p: p.stat().st_mtime_ns for p in Path(crater.storage).rglob("*.pb")}
    trained = last_materialization(instance, "checkpoint", PARTITIONS[0])
    result = run_assets(instance, crater, "checkpoint", partition=PARTITIONS[0], checkpoint=STEPS)
    assert result.success
    assert run_assets(instance, crater, "best_model", without=SAME).success
    again = last_materialization(instance, "checkpoint", PARTITIONS[0])
    assert again.metadata["reused"] is True and again.run_id == result.run_id
    assert again.metadata == {**trained.metadata, "reused": True}  # the run that trained it, too
    after = last_materialization(instance, "best_model")
    assert after.artifact == before.artifact and after.metadata["version"] == 1
    assert {p: p.stat().st_mtime_ns for p in Path(crater.storage).rglob("*.pb")} == files


def test_saved_model_check_passes_and_fails(chain, run_check):
    instance, crater = chain
    found = run_check(instance, crater, SAME)
    assert found.passed, found.description
    assert found.metadata["detections"].value > 0
    made = last_materialization(instance, "best_model")
    other = next(name for name in PARTITIONS if name != made.metadata["partition"])
    lie = last_materialization(instance, "checkpoint", other).artifact
    instance.report_runless_asset_event(dg.AssetMaterialization(
        "best_model", metadata={**made.metadata, "checkpoint": lie}))
    found = run_check(instance, crater, SAME)
    instance.report_runless_asset_event(dg.AssetMaterialization(
        "best_model", metadata=made.metadata))
    assert not found.passed and "SavedModel's" in found.description


def test_without_an_engine_the_context_is_written(chain, run_assets, no_engine):
    instance, crater = chain
    result = run_assets(instance, crater, "serving_image")
    assert result.success
    made = last_materialization(instance, "serving_image").metadata
    assert made["built"] is False and "No container engine answers here" in made["no_image"]
    context = Path(made["context"])
    assert (context / "Dockerfile").is_file()
    assert (context / "model" / "1" / "saved_model.pb").is_file()
    check = answer_of(result)
    assert not check.passed and check.severity == dg.AssetCheckSeverity.WARN
    assert check.description.startswith("No image was built.")


def test_the_image_is_built_pushed_and_answers(chain, docker_base, run_assets,  # noqa: F811
                                               tmp_path):
    instance, crater = chain
    crater = Crater(dataset=crater.dataset, storage=crater.storage,
                    experiment=crater.experiment, serving_base=docker_base)
    with container_engine.registry(tmp_path) as address:
        result = run_assets(instance, crater, "serving_image", serving_image={
            "repository": f"{address}/crater-serving", "push": True})
    assert result.success
    made = last_materialization(instance, "serving_image").metadata
    assert made["built"] is True and made["engine"] == "docker"
    assert made["image"].startswith(f"{address}/crater-serving:1-")
    assert made["digest"].startswith("sha256:") and made["image_id"] != made["digest"]
    assert made["pushed"] == f"{address}/crater-serving@{made['digest']}"
    assert made["labels"]["org.opencontainers.image.version"] == "1"
    assert made["labels"]["crater.model.sha256"].startswith("sha256:")
    check = answer_of(result)
    assert check.passed, check.description
    assert check.metadata["detections"].value > 0


def test_a_base_that_cannot_be_had_is_said_plainly(chain, docker_base, run_assets):  # noqa: F811
    instance, crater = chain
    crater = Crater(dataset=crater.dataset, storage=crater.storage,
                    experiment=crater.experiment, serving_base="127.0.0.1:1/nothing/here:1")
    result = run_assets(instance, crater, "serving_image")
    assert result.success
    made = last_materialization(instance, "serving_image").metadata
    assert made["built"] is False and "127.0.0.1:1/nothing/here:1" in made["no_image"]
    assert (Path(made["context"]) / "Dockerfile").is_file()
    check = answer_of(result)
    assert not check.passed and check.severity == dg.AssetCheckSeverity.WARN


def test_nothing_to_choose_from_is_one_line(instance, crater, run_assets):
    assert run_assets(instance, crater, "annotated_images", "tfrecords").success
    result = run_assets(instance, crater, "best_model")
    assert failure_of(result) == (
        "no checkpoint can be chosen: baseline: not trained; gentle_learning_rate: not trained")


def test_a_model_worse_than_the_one_in_service_is_refused(chain, run_assets, no_engine):
    instance, crater = chain
    storage, name = open_storage(crater.storage), BLOCKING_CHECKS["best_model"]
    assert run_assets(instance, crater, "best_model", "serving_image", without=SAME).success
    served = last_materialization(instance, "best_model")
    assert served.metadata["in_service"] in ("none", served.artifact) and served.check_passed
    assert in_service(instance) == served.artifact
    # Once the check of its training has failed, the other model wins.
    instance.report_runless_asset_event(dg.AssetCheckEvaluation(
        asset_key=dg.AssetKey("checkpoint"), check_name=BLOCKING_CHECKS["checkpoint"],
        passed=False, blocking=True, partition=served.metadata["partition"]))
    # What is in service was scored on other scenes, so it is scored on these, once.
    summary = json.loads((storage.path(served.artifact) / SUMMARY).read_text())
    scores = summary["test"]
    summary["test"] = {**scores, "scenes": ["another"]}
    (storage.path(served.artifact) / SUMMARY).write_text(json.dumps(summary))
    for _ in range(2):
        assert run_assets(instance, crater, "best_model", without=SAME).success
        stored, = storage.path("scores").iterdir()
        made = last_materialization(instance, "best_model")
        assert made.metadata["partition"] != served.metadata["partition"]
        assert made.metadata["in_service"] == served.artifact and made.check_passed
        assert made.metadata["in_service_score"] == pytest.approx(scores["mask_AP"], abs=1e-3)
        assert made.metadata["comparison"].records[0].data["score"] == "mask_AP"
    # A better one in service: refused in the same run, and in one of its own.
    (stored / "metrics.json").write_text(json.dumps({**scores, "mask_AP": 0.9}))
    result = run_assets(instance, crater, "best_model", "serving_image", without=SAME)
    assert not result.success
    made = {e.asset_key.to_user_string() for e in result.get_asset_materialization_events()}
    assert made == {"best_model"}
    check, = [e for e in result.get_asset_check_evaluations() if e.check_name == name]
    assert not check.passed and "the model in service has 0.9000" in check.description
    result = run_assets(instance, crater, "serving_image")
    assert f"best_model failed its check: {check.description}" == failure_of(result)
    assert in_service(instance) == served.artifact
    # With a tolerance it may go into service.
    assert run_assets(instance, crater, "best_model", "serving_image", without=SAME,
                      best_model={"tolerance": 0.95}).success
    new = last_materialization(instance, "best_model")
    assert in_service(instance) == new.artifact != served.artifact
    assert new.metadata["version"] == served.metadata["version"] + 1


def test_a_training_that_breaks_says_why_in_one_line(instance, crater, run_assets, tmp_path,
                                                           monkeypatch):
    # Compiled, which says more of an error than is to be seen.
    experiment = tmp_path / "tiny.yaml"
    experiment.write_text(yaml.safe_dump({"experiment": "demo", **TINY}))
    crater = Crater(dataset=crater.dataset, storage=crater.storage, experiment=str(experiment))
    assert run_assets(instance, crater, "annotated_images", "tfrecords").success
    records = last_materialization(instance, "tfrecords").artifact
    for file in open_storage(crater.storage).path(records).glob("train-*"):
        file.write_bytes(file.read_bytes()[:-5])
    result = run_assets(instance, crater, "checkpoint", partition="baseline", checkpoint=STEPS)
    assert re.fullmatch(r"\S+/train-\S+: has \d+ bytes, expected \d+; write the records again",
                        failure_of(result))
    # Damage that comes after that look.
    monkeypatch.setattr("crater_model.training.verify_manifest", lambda folder: [])
    result = run_assets(instance, crater, "checkpoint", partition="baseline", checkpoint=STEPS)
    line = failure_of(result)
    assert line.startswith("baseline: training failed: DataLossError: truncated record at ")
    assert "\n" not in line and "[[" not in line
    assert last_failure(instance, "checkpoint", "baseline") == line
    # Its log is found from the asset's page all the same.
    start = instance.fetch_observations(dg.AssetKey("checkpoint"), limit=1).records[0]
    assert start.asset_observation.metadata["run"].value == result.run_id
    assert Path(start.asset_observation.metadata["log"].value).is_file()
    page = last_materialization(instance, "training_progress", "baseline")
    assert page.run_id == result.run_id and page.metadata["stage"] == "failed"
    assert page.metadata["summary"].startswith("**failed: DataLossError: truncated record at ")


def answer_of(result) -> dg.AssetCheckEvaluation:
    """What the check says that asks the image."""
    return next(check for check in result.get_asset_check_evaluations()
                if check.check_name == "image_answers")


def failure_of(result) -> str:
    """The failure text of the one step that failed."""
    failed, = [event for event in result.all_events if event.is_step_failure]
    return failed.event_specific_data.user_failure_data.description


def test_it_is_exported_as_the_run_says(chain, run_assets):
    """Another export of the same training is another artifact, scored as it is exported."""
    instance, crater = chain
    before = last_materialization(instance, "best_model")
    result = run_assets(instance, crater, "best_model", best_model={
        "inference_input_type": "image_tensor", "score_threshold": 0.2, "tolerance": None})
    assert result.success
    made = last_materialization(instance, "best_model")
    assert made.metadata["inference_input_type"] == "image_tensor"
    assert made.metadata["score_threshold"] == 0.2 and "nms_iou_threshold" not in made.metadata
    assert made.artifact.startswith(f"{before.artifact}-")
    assert made.metadata["version"] == before.metadata["version"] + 1
    card = json.loads((Path(made.metadata["saved_model"]) / "assets.extra" / "model_card.json")
                      .read_text())
    assert card["inference_input_type"] == "image_tensor" and card["score_threshold"] == 0.2
    same, = [check for check in result.get_asset_check_evaluations()
             if check.check_name == SAME]
    assert same.passed, same.description
