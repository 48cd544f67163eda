"""What each benchmark measures is right, on the smallest cases, in this process; one real run."""

from __future__ import annotations

import json
import shutil
import signal
import time
from pathlib import Path

import pytest

from crater_model.training import read_history, read_result
from tests.tiny import TINY

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"


@pytest.fixture
def benchmark(monkeypatch):
    """benchmark(name): the module of that name."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    return lambda name: __import__(name)


def positive(values: dict, *names: str) -> None:
    for name in names:
        assert isinstance(values[name], (int, float)) and values[name] > 0, (name, values)


def test_a_rate_counts_after_the_first_batches(benchmark):
    pipeline, seen = benchmark("input_pipeline"), []
    found = pipeline.rate(iter(range(100)), 0.0, work=seen.append)
    assert seen == [0, 1, 2, 3, 4] and found["images"] == 2 * pipeline.BATCH
    positive(found, "images_per_second")


def test_the_full_buffer_names_its_files_again(benchmark, tmp_path):
    manifest = tmp_path / "manifest.json"
    manifest.write_text(json.dumps({"splits": {"train": {"images": 300, "files": ["a", "b"]}}}))
    benchmark("input_pipeline").fill_buffer(tmp_path)
    train = json.loads(manifest.read_text())["splits"]["train"]
    assert train == {"images": 1200, "files": ["a", "b"] * 4}


@pytest.mark.slow
def test_both_converters_write_the_same_craters(benchmark, tmp_path):
    records, found = benchmark("records"), {}
    records.prepare(str(tmp_path / "data"), 64, 5, 3)
    for side in (records.ours, records.ours_full_masks, records.model_garden):
        found[side.__name__] = side(str(tmp_path / "data"), str(tmp_path / side.__name__))
        positive(found[side.__name__], "seconds", "bytes", "size", "images_per_second")
    assert found["ours"]["instances"] == found["ours_full_masks"]["instances"] == 15
    assert 0 < found["model_garden"]["instances"] <= 15  # without what touches the border
    assert found["ours"]["bytes"] < found["ours_full_masks"]["bytes"]


@pytest.mark.slow
def test_all_evaluators_agree(benchmark):
    evaluation = benchmark("evaluation")
    ours, garden = evaluation.ours(3, 10)["scores"], evaluation.model_garden(3, 10)["scores"]
    plain = benchmark("common").in_child(evaluation.__file__, "pycocotools", images=3, craters=10)
    positive(plain, "seconds", "peak_mb")
    positive(ours, "box_AP", "mask_AP", "mask_AP50")
    assert evaluation._differences(ours, plain["scores"]) == dict.fromkeys(ours, 0.0)
    assert evaluation._differences(ours, garden)["box_AP"] == pytest.approx(0, abs=1e-4)


@pytest.mark.slow
def test_a_killed_training_goes_on(benchmark, tmp_path, tiny_records, tiny_model):
    """SIGKILL: the same command goes on from its checkpoint, and ends where it would have."""
    bench, model = benchmark("kill_and_resume"), tmp_path / "model"
    shutil.copytree(tiny_records, tmp_path / "records")
    process = bench.start({"settings": TINY}, 0, model)
    while process.poll() is None and not (model / "checkpoint").exists():
        time.sleep(0.02)
    assert process.poll() is None
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert bench.inspect(model)["step"] == 2
    found = bench.summary(bench.finish(bench.start({"settings": TINY}, 0, model)))
    assert found["steps"] == 4
    assert found["loss"] == pytest.approx(read_result(tiny_model)["loss"], rel=0.25)
    assert [row["step"] for row in read_history(model) if row["kind"] == "validation"] == [2, 4]
    left = bench.inspect(model)
    assert left["step"] == 4 and left["half_written"] == [] and left["rows"] == 4
    (model / "best" / ".half").touch()
    assert bench.inspect(model)["half_written"] == [".half"]


def test_mapping_loses_and_doubles_nothing(benchmark, tmp_path):
    mapping, case = benchmark("mapping"), {"side": 768, "craters": 175}
    path = str(tmp_path / "scene.tif")
    mapping.prepare(path, 768)
    mapped = mapping.scene(path, folder=str(tmp_path), **case)
    positive(mapped, "seconds", "streamed_peak_mb", "megapixels_per_second", "tiles", "found")
    scored = mapping.score(str(tmp_path), **case)
    assert scored["lost"] == scored["doubled"] == scored["nested_lost"] == 0
    assert scored["wrong_percent"] <= 0.6 and scored["nested"] > 0
    both = [side(path, **case) for side in (mapping.ours, mapping.old_way)]
    assert both[0]["detections"] == both[1]["detections"] > 175
    assert both[0]["lost"] + both[0]["doubled"] <= both[1]["lost"] + both[1]["doubled"]


def test_all_pairs_are_extrapolated_from_those_compared(benchmark):
    mapping = benchmark("mapping")
    found = mapping.merging(400, 768, 175, seconds=0.0)
    assert found["detections"] == 400 and 0 < found["kept"] < 400
    for name in ("all_pairs", "all_pairs_in_rows"):
        pairs = found[name]
        assert (pairs["measured_pairs"], pairs["pairs"]) == (400, 400 * 399 // 2)
        assert found[f"times_{name}"] > 1


def test_a_failed_side_says_why(benchmark):
    found = benchmark("common").in_child(str(BENCHMARKS / "records.py"), "prepare",
                                         folder="/nowhere", size=4, craters=3, images=1)
    assert set(found) == {"failed"} and "4" in found["failed"]


def test_ratios_need_both(benchmark):
    common = benchmark("common")
    assert common.ratio(3.0, 2.0) == 1.5
    assert common.ratio(None, 2.0) is None and common.ratio(3.0, 0.0) is None
    assert common.machine()["cores"] >= 1 and common.machine()["packages"]["tensorflow"]
